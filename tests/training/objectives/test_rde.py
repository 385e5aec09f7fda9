from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ctgi.encoders.dual import DualEncoder
from ctgi.training.config import TrainConfig
from ctgi.training.consensus import judge
from ctgi.training.loader import Batch
from ctgi.training.model import Model
from ctgi.training.objectives.rde import RDE
from ctgi.training.objectives.tal import tal_losses
from ctgi.training.observe import observe

CAPTIONS = ["a man in a red jacket", "a woman with a large black bag over her shoulder", "a man", "a dog"]
Towers, MakeBatch = Callable[..., DualEncoder], Callable[..., Batch]


def losses(objective: RDE, encoder: DualEncoder, batch: Batch) -> dict[str, Tensor]:
    torch.manual_seed(0)
    out: dict[str, Tensor] = objective(encoder, batch)
    return out


def test_it_is_the_sum_of_both_embeddings_tal(towers: Towers, make_batch: MakeBatch) -> None:
    encoder: Any = towers(rde=True)
    batch = make_batch(CAPTIONS, [0, 1, 0, 2])
    text, image = encoder.text_parts(batch.ids), encoder.image_parts(batch.pixels)
    got = losses(RDE(4, augment=False), encoder, batch)
    for name, t, v in zip(("bge", "tse"), text, image, strict=True):
        torch.testing.assert_close(got[name], tal_losses(t, v, batch.identity).sum())


def test_captions_are_augmented_for_learning_and_not_for_judging(
    towers: Towers, make_batch: MakeBatch
) -> None:
    encoder, batch = towers(rde=True).eval(), make_batch(CAPTIONS * 4)
    plain, noisy = RDE(16, augment=False), RDE(16)
    with torch.no_grad():
        assert losses(plain, encoder, batch) != losses(noisy, encoder, batch)
        per_pair = noisy.pair_losses(encoder, batch)
        total = losses(plain, encoder, batch)
    assert per_pair.shape == (16, 4)
    torch.testing.assert_close(per_pair[:, :2].sum(0), torch.stack([total["bge"], total["tse"]]))


def test_trust_comes_from_the_batch_and_from_the_consensus(towers: Towers, make_batch: MakeBatch) -> None:
    encoder, batch = towers(rde=True).eval(), make_batch(CAPTIONS)
    objective = RDE(10, augment=False)
    batch = dataclasses.replace(batch, pair=torch.tensor([7, 2, 9, 0]), weight=torch.tensor([1, 0.5, 2, 1]))
    objective.trust[7], objective.trust[9] = 0.0, 0.25
    with torch.no_grad():
        got = losses(objective, encoder, batch)
        each = objective.pair_losses(encoder, batch)[:, :2]
    expected = torch.tensor([0.0, 0.5, 0.5, 1.0]) @ each
    torch.testing.assert_close(torch.stack([got["bge"], got["tse"]]), expected)


@pytest.mark.parametrize("rule", ["monotone", "published", "published-loose"])
def test_what_was_observed_is_kept_in_buffers(rule: str) -> None:
    chance = np.random.default_rng(0)
    right, wrong = chance.normal(0.2, 0.05, (600, 2)), chance.normal(0.9, 0.05, (200, 2))
    certain = chance.normal(0.9, 0.05, (800, 2))
    seen = torch.from_numpy(np.concatenate([np.concatenate([right, wrong]), certain], axis=1)).float()
    objective = RDE(800, consensus=rule, seed=5)
    assert bool((objective.trust == 1).all())
    objective.observe(seen, epoch=3)
    assert objective.trust[:600].mean() > 0.97 and objective.trust[600:].mean() < 0.1
    verdict = judge(*np.hsplit(seen.double().numpy(), 2), rule, seed=(5, 3))
    assert np.array_equal(objective.trust.numpy(), verdict.trust)
    again = RDE(800, consensus=rule)
    again.load_state_dict(objective.state_dict())
    assert torch.equal(again.trust, objective.trust) and torch.equal(again.clean, objective.clean)


def test_the_consensus_can_be_left_out() -> None:
    """Then the engine takes no losses before an epoch: it does not even look at the pairs."""
    nothing: Any = None
    cpu = torch.device("cpu")
    observe(Model(nothing, RDE(4, consensus="off")), nothing, TrainConfig(), 0, cpu, None)
    with pytest.raises(TypeError):
        observe(Model(nothing, RDE(4)), nothing, TrainConfig(), 0, cpu, None)


@pytest.mark.parametrize("people", ["all alike", "all different"])
@pytest.mark.parametrize("of", ["valid", "context"])
def test_gradients_are_finite(
    towers: Towers, make_batch: MakeBatch, degenerate: list[str], people: str, of: str
) -> None:
    encoder, objective = towers(rde=True, of=of), RDE(len(degenerate))
    who = [0] * len(degenerate) if people == "all alike" else None
    batch = make_batch(degenerate, who)
    got = losses(objective, encoder, batch)
    torch.stack(list(got.values())).sum().backward()
    assert all(bool(value.isfinite()) for value in got.values())
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name
    seen = objective.pair_losses(encoder.eval(), batch)
    assert bool(seen[:, :2].isfinite().all())
    assert bool(seen[:, 2:].isfinite().all()) == (who is None and len(degenerate) > 1)
    objective.observe(seen, epoch=0)
    assert bool(objective.trust.isfinite().all())


def test_an_empty_caption_does_not_change_what_others_get(towers: Towers, make_batch: MakeBatch) -> None:
    """In the published code it makes itself and every later row of the batch NaN."""
    encoder: Any = towers(rde=True).eval()
    with torch.no_grad():
        with_it = encoder.text_parts(make_batch(["a man", "", "a woman", "a dog"]).ids)
        without = encoder.text_parts(make_batch(["a man", "a woman", "a dog"]).ids)
    for a, b in zip(with_it, without, strict=True):
        torch.testing.assert_close(a[[0, 2, 3]], b)
