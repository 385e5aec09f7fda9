from __future__ import annotations

import pytest
import torch
from torch import nn

from ctgi.encoders.loading import load_encoder
from ctgi.errors import CtgiError
from ctgi.training.config import TrainConfig
from ctgi.training.model import Model
from ctgi.training.objectives.build import build_encoder, build_objective
from ctgi.training.optimiser import make_optimiser, rate_and_decay
from tests.training.runs import TINY


@pytest.mark.parametrize(
    ("name", "rate", "decay"),
    # A dump of the groups of IRRA's published optimiser, base 1e-5.
    [
        ("encoder.clip.visual.conv1.weight", 1e-5, 4e-5),
        ("encoder.clip.ln_final.weight", 1e-5, 4e-5),
        ("encoder.clip.ln_final.bias", 2e-5, 0),
        ("encoder.clip.visual.transformer.resblocks.0.attn.in_proj_bias", 2e-5, 0),
        ("objective.cross_attn.in_proj_weight", 5e-5, 4e-5),
        ("objective.cross_attn.in_proj_bias", 2e-5, 0),
        ("objective.ln_pre_t.weight", 1e-5, 4e-5),
        ("objective.classifier.weight", 5e-5, 4e-5),
        ("objective.classifier.bias", 5e-5, 0),
        ("objective.mlm_head.dense.bias", 5e-5, 0),
    ],
)
def test_published_groups(name: str, rate: float, decay: float) -> None:
    got = rate_and_decay(name, TrainConfig())
    assert got == pytest.approx((rate, decay))


def test_grouped_steps_equal_one_group_per_parameter() -> None:
    config = TrainConfig(base_lr=0.01)

    def model() -> nn.Module:
        torch.manual_seed(0)
        return nn.ModuleDict(
            {"classifier": nn.Linear(4, 3), "cross": nn.Linear(3, 3), "other": nn.Linear(3, 2)}
        )

    ours, plain = model(), model()
    optimiser = make_optimiser(ours, config)
    reference = torch.optim.Adam(
        [
            {"params": [p], "lr": rate_and_decay(n, config)[0], "weight_decay": rate_and_decay(n, config)[1]}
            for n, p in plain.named_parameters()
        ],
        eps=1e-3,
        foreach=False,
    )
    for seed in range(3):
        for each, steps in ((ours, optimiser), (plain, reference)):
            torch.manual_seed(seed)
            steps.zero_grad()
            each["other"](each["cross"](each["classifier"](torch.randn(5, 4)))).square().sum().backward()
            steps.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


class Layer(nn.Module):
    """A layer with something of its own inside, of a role or of none."""

    def __init__(self, role: str | None = None) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.ones(2))
        if role is not None:
            self.lr_role = role


def test_a_role_reaches_down_to_the_next_module_that_has_one() -> None:
    model = nn.Module()
    model.plain, model.new, model.selection = Layer(), Layer("new"), Layer("rde_new")
    model.selection.deep = Layer("new")
    config = TrainConfig(rde_new_lr=2e-3)
    by_shape = {id(p): group for group in make_optimiser(model, config).param_groups for p in group["params"]}
    got = {
        name: (by_shape[id(p)]["full_lr"], by_shape[id(p)]["weight_decay"])
        for name, p in model.named_parameters()
    }
    expected = {
        "plain.inner.weight": (1e-5, 4e-5),
        "plain.inner.bias": (2e-5, 0),
        "plain.scale": (1e-5, 4e-5),
        "new.inner.weight": (5e-5, 4e-5),
        "new.inner.bias": (2e-5, 0),
        "new.scale": (5e-5, 4e-5),
        # RDE: weights and biases of the token selection alike, biases without decay.
        "selection.inner.weight": (2e-3, 4e-5),
        "selection.inner.bias": (2e-3, 0),
        "selection.scale": (2e-3, 4e-5),
        "selection.deep.inner.weight": (5e-5, 4e-5),
        "selection.deep.inner.bias": (2e-5, 0),
        "selection.deep.scale": (5e-5, 4e-5),
    }
    assert got.keys() == expected.keys()
    for name, pair in expected.items():
        assert got[name] == pytest.approx(pair), name


def test_rdes_own_layers_have_its_own_rate() -> None:
    config = TrainConfig()
    torch.manual_seed(0)
    encoder = build_encoder("rde", load_encoder(TINY, None), config)
    model = Model(encoder, build_objective("rde", encoder, config, identities=3, pairs=4))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[tuple[float, float], set[str]] = {}
    for group in make_optimiser(model, config).param_groups:
        assert group["lr"] == group["full_lr"]
        rates = (group["full_lr"], group["weight_decay"])
        found.setdefault(rates, set()).update(names[id(parameter)] for parameter in group["params"])
    assert found.keys() == {(1e-5, 4e-5), (2e-5, 0.0), (1e-3, 4e-5), (1e-3, 0.0)}
    for (rate, decay), members in found.items():
        for name in members:
            assert ("_selection." in name) == (rate == 1e-3) and ("bias" in name) == (decay == 0), name


def test_an_unknown_role_is_named() -> None:
    with pytest.raises(CtgiError, match="0: lr_role 'fast' is not one of"):
        make_optimiser(nn.Sequential(Layer("fast")), TrainConfig())


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    groups = make_optimiser(model, TrainConfig()).param_groups
    assert [p.shape for group in groups for p in group["params"]] == [model.weight.shape]
