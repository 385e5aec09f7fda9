from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ctgi.training.config import TrainConfig
from ctgi.training.objectives.cross_modal import CrossModalEncoder, WordLoss
from ctgi.training.objectives.irra import IRRA
from ctgi.training.optimiser import rate_and_decay, roles
from tests.numpy_transformer import attention, block, layer_norm, linear, quick_gelu


def standard_deviations(dim: int) -> dict[str, float]:
    """IRRA, model/build.py: by part of the parameter's name."""
    return {
        "in_proj_weight": dim**-0.5,
        "out_proj.weight": dim**-0.5 * (2 * 4) ** -0.5,
        "c_fc.weight": (2 * dim) ** -0.5,
        "c_proj.weight": dim**-0.5 * (2 * 4) ** -0.5,
        "mlm_head.0.weight": (2 * dim) ** -0.5,
        "mlm_head.3.weight": dim**-0.5 * (2 * 4) ** -0.5,
    }


def test_it_starts_as_published() -> None:
    torch.manual_seed(0)
    words = WordLoss(512, 400)
    seen = set()
    for name, parameter in words.named_parameters():
        for part, wanted in standard_deviations(512).items():
            if part in name:
                seen.add(name)
                spread = 5 / (2 * parameter.numel()) ** 0.5
                assert abs(parameter.detach().std().item() / wanted - 1) < spread, name
    assert len(seen) == 2 + 4 * 4 + 2
    assert len(words.relation.cross_modal_transformer.resblocks) == 4
    assert words.relation.cross_attn.num_heads == 8
    assert all(b.attn.num_heads == 8 for b in words.relation.cross_modal_transformer.resblocks)


@pytest.mark.parametrize("padded", [False, True])
@torch.no_grad()
def test_it_is_irras_cross_former_and_head(padded: bool) -> None:
    """One cross-attention without a residual, four blocks, post-norm, head, cross-entropy; numpy float64."""
    torch.manual_seed(1)
    words = WordLoss(64, 50)
    for parameter in words.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    text, image = torch.randn(2, 7, 64), torch.randn(2, 5, 64)
    picked = torch.zeros(2, 7, dtype=torch.bool)
    picked[0, 1] = picked[0, 3] = picked[1, 2] = True
    truth = torch.randint(0, 50, (2, 7))
    weight = torch.tensor([1.0, 0.25])
    padding = torch.arange(7) > torch.tensor([[6], [4]])
    loss, count = words(text, image, padding if padded else None, picked, truth, weight)
    assert count == 3

    cross, expected = words.relation, 0.0
    for row, (t, v) in enumerate(zip(text.double().numpy(), image.double().numpy(), strict=True)):
        seen = np.ones((7, 7), bool)
        if padded:
            seen[:, padding[row].numpy()] = False
        x, _ = attention(
            layer_norm(t, cross.ln_pre_t),
            layer_norm(v, cross.ln_pre_i),
            cross.cross_attn,
            np.ones((7, 5), bool),
        )
        for layer in cross.cross_modal_transformer.resblocks:
            x, _ = block(x, layer, seen, quick_gelu)
        x = layer_norm(x, cross.ln_post)
        head = words.mlm_head
        scores = linear(layer_norm(quick_gelu(linear(x, head[0])), head[2]), head[3])
        log = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
        for place in np.flatnonzero(picked[row].numpy()):
            expected -= float(weight[row]) * log[place, truth[row, place]]
    assert np.isclose(loss.item(), expected, rtol=1e-5)


@torch.no_grad()
def test_padding_is_not_looked_at_unless_it_is_asked_for() -> None:
    torch.manual_seed(2)
    encoder = CrossModalEncoder(64)
    text, image = torch.randn(1, 6, 64), torch.randn(1, 5, 64)
    longer = torch.cat([text, torch.randn(1, 3, 64)], dim=1)
    padding = torch.arange(9) >= 6
    exact = encoder(text, image, None)
    torch.testing.assert_close(encoder(longer, image, padding.unsqueeze(0))[:, :6], exact)
    assert (encoder(longer, image, None)[:, :6] - exact).abs().max() > 1e-3


def test_learning_rates_are_the_published_ones() -> None:
    """IRRA's groups (solver/build.py): weights of cross_* 5 times the base rate, its biases twice, head and
    classifier 5 times in all, the three outer norms at the base rate."""
    config = TrainConfig(base_lr=1e-5)
    model = nn.ModuleDict({"objective": IRRA(dim=64, identities=3, vocabulary=50)})
    role_of = roles(model)
    seen = set()
    for name, _ in model.named_parameters():
        bias = "bias" in name
        if "mlm_head" in name or "classifier" in name:
            kind, wanted = "head", 5e-5
        elif "cross_" in name:
            kind, wanted = "cross", 2e-5 if bias else 5e-5
        else:
            kind, wanted = "norm", 2e-5 if bias else 1e-5
            assert ".ln_p" in name
        seen.add((kind, bias))
        rate, decay = rate_and_decay(name, config, role_of[name])
        assert rate == pytest.approx(wanted) and decay == (0 if bias else 4e-5), name
    assert len(seen) == 6
