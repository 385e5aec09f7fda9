"""An objective that trusts its pairs as far as the losses and the other signals let it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ctgi.datasets.annotations import Sample
from ctgi.encoders.dual import DualEncoder
from ctgi.errors import CtgiError
from ctgi.training import engine
from ctgi.training.config import TrainConfig
from ctgi.training.loader import Batch
from ctgi.training.objectives.sdm import SDM
from ctgi.training.objectives.tal import mismatched_losses, tal_losses
from ctgi.training.trust.encoded import encoded_signal
from ctgi.training.trust.join import Signal, joined, weights
from ctgi.training.trust.losses import loss_signal
from ctgi.training.trust.weighed import Weighed

CONFIG = TrainConfig(epochs=2, batch_size=8, device="cpu", base_lr=1e-3, adam_eps=1e-8, warmup_epochs=0)


class Echo(nn.Module):
    """Says which weights it was given."""

    def forward(self, encoder: DualEncoder, batch: Batch) -> dict[str, Tensor]:
        return {"weight": batch.weight.sum()}


def batch(pairs: list[int]) -> Batch:
    rows = torch.tensor(pairs)
    ids = torch.ones(len(pairs), 4, dtype=torch.int64)
    return Batch(torch.zeros(len(pairs), 3, 384, 128), ids, rows, rows, torch.full((len(pairs),), 0.5))


def test_weights_are_the_batchs_times_the_trust() -> None:
    p = np.linspace(0.05, 0.95, 10)
    objective = Weighed(Echo(), 10, [Signal("a", p)])
    expected = weights(joined([Signal("a", p)], 10))
    assert expected[0] == 0
    given = objective(None, batch([0, 3, 9]))["weight"]
    assert given.item() == pytest.approx(0.5 * expected[[0, 3, 9]].sum(), rel=1e-6)


def test_losses_are_joined_with_the_fixed_signals_anew_each_epoch() -> None:
    rng = np.random.default_rng(0)
    own = np.concatenate([rng.normal(0.2, 0.05, 300), rng.normal(1.0, 0.1, 100)])
    losses = np.stack([own, rng.normal(1.0, 0.1, 400)], axis=1)
    a = Signal("a", rng.uniform(0.3, 1, 400))
    objective = Weighed(Echo(), 400, [a])
    objective.observe(torch.from_numpy(losses), 0)
    expected = weights(joined([a, loss_signal(losses)], 400))
    assert objective.trust.numpy() == pytest.approx(expected, abs=1e-6)
    objective.observe(torch.ones(400, 2), 1)  # the losses say nothing any more
    assert objective.trust.numpy() == pytest.approx(weights(joined([a], 400)), abs=1e-6)


def test_nothing_to_trust_is_one_line() -> None:
    with pytest.raises(CtgiError, match="no caption is trusted"):
        Weighed(Echo(), 3, [Signal("a", np.array([0.02, 0.03, 0.01]))])


def test_losses_without_an_own_kind_are_tal(make_encoder: Callable[[], DualEncoder]) -> None:
    encoder = make_encoder().eval()
    some = Batch(torch.rand(4, 3, 384, 128), torch.randint(1, 1000, (4, 6)), torch.tensor([0, 0, 1, 2]),
                 torch.arange(4), torch.ones(4))  # fmt: skip
    found = Weighed(SDM(), 4).pair_losses(encoder, some)
    with torch.no_grad():
        embedded = encoder.encode_text(some.ids), encoder.encode_image(some.pixels), some.identity
        expected = [tal_losses(*embedded), mismatched_losses(*embedded)]
    assert torch.equal(found, torch.stack(expected, dim=1))


def test_a_run_weighs_stores_and_continues(
    samples: tuple[tuple[Sample, ...], tuple[Sample, ...]],
    make_encoder: Callable[[], DualEncoder],
    tmp_path: Path,
) -> None:
    """Stopped after an epoch and started again, weights and trust are those of the uninterrupted run."""
    train, val = samples
    pairs = sum(len(sample.captions) for sample in train)
    seen = encoded_signal(CONFIG, train, make_encoder(), tmp_path / "spill")
    assert len(seen.probability) == pairs and np.isfinite(seen.probability).all()

    def run(out: str, stop: bool = False) -> dict[str, Tensor]:
        objective = Weighed(SDM(), pairs, [seen], least=0.0)
        if stop:
            watch = objective.observe

            def observe(losses: Tensor, epoch: int) -> None:
                if epoch == 1:
                    raise KeyboardInterrupt
                watch(losses, epoch)

            objective.observe = observe  # type: ignore[method-assign]
        encoder = make_encoder()
        engine.train(CONFIG, train, val, encoder, tmp_path / out, objective=objective, progress=False)
        return {**encoder.state_dict(), "trust": objective.trust}

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("broken", stop=True)
    again = run("broken")
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())
    assert not list(tmp_path.glob("spill*"))


def test_losses_alone_are_enough(
    samples: tuple[tuple[Sample, ...], tuple[Sample, ...]],
    make_encoder: Callable[[], DualEncoder],
    tmp_path: Path,
) -> None:
    train, val = samples
    objective = Weighed(SDM(), sum(len(sample.captions) for sample in train))
    config = dataclasses.replace(CONFIG, epochs=1)
    engine.train(config, train, val, make_encoder(), tmp_path / "run", objective=objective, progress=False)
    assert objective.trust.min() > 0 and objective.trust.isfinite().all()
