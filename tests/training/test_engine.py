from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ctgi.datasets.annotations import Sample
from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.loading import load_checkpoint
from ctgi.errors import CtgiError
from ctgi.training.config import TrainConfig
from ctgi.training.loader import Batch, load_pairs
from ctgi.training.objectives.sdm import SDM
from ctgi.training.validation import embed, protocol_metrics
from tests.training.short import SHORT, Make, Sets, run, same, tensors


def test_it_learns_and_keeps_the_best_epoch(samples: Sets, make_encoder: Make, tmp_path: Path) -> None:
    config = TrainConfig(
        **{**SHORT.__dict__, "epochs": 25, "batch_size": 6, "lr_step": "step", "augment": False}
    )
    clear = tuple(Sample(sample.picture, sample.identity, sample.captions[:1]) for sample in samples[0])
    result = run((clear, samples[1]), make_encoder(), tmp_path / "run", config)
    losses = [record["losses"]["sdm"] for record in result.history]
    assert losses[-1] < 0.3 * losses[0]
    # Pairings of colours it has never seen; chance is a quarter.
    assert result.metrics["R@1"] >= 50
    values = [(record["metrics"]["R@1"], record["metrics"]["mAP"]) for record in result.history]
    assert result.best_epoch == 1 + values.index(max(values))
    best = load_checkpoint(result.best)
    pairs = load_pairs(samples[1], 77, 1.0, tmp_path / "spill")
    texts, pictures = embed(best, pairs, torch.device("cpu"))
    assert protocol_metrics(texts, pictures, pairs.identity.numpy(), pairs.owner.numpy()) == result.metrics
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert tuple(lines) == result.history
    with safe_open(result.best / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["metrics"]) == result.metrics


def test_the_seed_decides_everything(samples: Sets, make_encoder: Make, tmp_path: Path) -> None:
    run(samples, make_encoder(), tmp_path / "a")
    torch.rand(3)  # the caller's own use of the generators does not matter
    np.random.rand(3)
    run(samples, make_encoder(), tmp_path / "b")
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))
    other = TrainConfig(**{**SHORT.__dict__, "seed": 2})
    run(samples, make_encoder(), tmp_path / "c", other)
    assert not same(tensors(tmp_path / "a"), tensors(tmp_path / "c"))


def test_further_losses_and_layers_train_along(samples: Sets, make_encoder: Make, tmp_path: Path) -> None:
    class WithClassifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.sdm, self.classifier = SDM(50.0), nn.Linear(16, 32)

        def forward(self, encoder: DualEncoder, batch: Batch) -> dict[str, Tensor]:
            logits = self.classifier(encoder.encode_image(batch.pixels))
            return self.sdm(encoder, batch) | {"id": nn.functional.cross_entropy(logits, batch.identity)}

    result = run(samples, make_encoder(), tmp_path / "run", objective=WithClassifier())
    assert set(result.history[0]["losses"]) == {"sdm", "id"}
    saved = load_file(tmp_path / "run" / "last.safetensors")
    assert not torch.equal(saved["model.objective.classifier.weight"], WithClassifier().classifier.weight)
    assert "adam.exp_avg.objective.classifier.weight" in saved
    assert "classifier.weight" not in load_file(result.best / "model.safetensors")


def test_faults_come_before_the_work(samples: Sets, make_encoder: Make, tmp_path: Path) -> None:
    train_set, val = samples
    with pytest.raises(CtgiError, match="caption set is empty"):
        run(((), val), make_encoder(), tmp_path / "a")
    with pytest.raises(CtgiError, match="validation set is empty"):
        run((train_set, ()), make_encoder(), tmp_path / "a")
    with pytest.raises(CtgiError, match="one identity only"):
        run((train_set[:2], val), make_encoder(), tmp_path / "a")
    with pytest.raises(CtgiError, match="in the caption set and in the validation set"):
        run((train_set + val[:1], val), make_encoder(), tmp_path / "a")
    with pytest.raises(CtgiError, match="device 'tpu9' cannot be used"):
        run(samples, make_encoder(), tmp_path / "a", TrainConfig(device="tpu9"))
    with pytest.raises(CtgiError, match="fp16 needs a GPU"):
        run(samples, make_encoder(), tmp_path / "a", TrainConfig(device="cpu", precision="fp16"))
    assert not (tmp_path / "a").exists()
    with pytest.raises(CtgiError, match="select='R@3' is not a metric; choose one of R@1"):
        run(samples, make_encoder(), tmp_path / "b", TrainConfig(epochs=1, select="R@3", device="cpu"))


def test_a_diverged_loss_stops_the_run(samples: Sets, make_encoder: Make, tmp_path: Path) -> None:
    class Broken(nn.Module):
        def forward(self, encoder: DualEncoder, batch: Batch) -> dict[str, Tensor]:
            return {"sdm": encoder.encode_text(batch.ids).sum() * float("nan")}

    with pytest.raises(CtgiError, match="loss became .*nan.* in epoch 1; lower base_lr"):
        run(samples, make_encoder(), tmp_path / "run", objective=Broken())


def test_half_precision_towers_train(samples: Sets, make_encoder: Make, tmp_path: Path) -> None:
    full = run(samples, make_encoder(), tmp_path / "full")
    half = run(
        samples, make_encoder(), tmp_path / "half", TrainConfig(**{**SHORT.__dict__, "precision": "bf16"})
    )
    assert half.history[0]["losses"]["sdm"] == pytest.approx(full.history[0]["losses"]["sdm"], rel=0.1)
    assert load_file(half.best / "model.safetensors")["text_projection"].dtype == torch.float32


def test_it_stops_when_nothing_gets_better(samples: Sets, make_encoder: Make, tmp_path: Path) -> None:
    values = iter([40.0, 60.0, 60.0, 50.0, 99.0])

    def metrics(*_: Any) -> dict[str, float]:
        return {"R@1": next(values)}

    config = TrainConfig(**{**SHORT.__dict__, "epochs": 9, "patience": 2})
    result = run(samples, make_encoder(), tmp_path / "run", config, metrics=metrics)
    assert (result.best_epoch, len(result.history)) == (2, 4)
    assert run(samples, make_encoder(), tmp_path / "run", config, metrics=metrics) == result
    assert next(values) == 99


def test_what_was_chosen_on_test_is_marked(samples: Sets, make_encoder: Make, tmp_path: Path) -> None:
    for on in ("val", "test"):
        config = TrainConfig(**{**SHORT.__dict__, "epochs": 1, "select_on": on})
        result = run(samples, make_encoder(), tmp_path / on, config)
        with safe_open(result.best / "model.safetensors", "pt") as file:
            assert file.metadata()["selected_on"] == on
        assert json.loads((tmp_path / on / "run.json").read_text())["options"]["select_on"] == on
        assert result.history[0]["selected_on"] == on
    with pytest.raises(CtgiError, match="other select_on;"):
        run(samples, make_encoder(), tmp_path / "val", config)


def test_every_step_is_on_record(samples: Sets, make_encoder: Make, tmp_path: Path) -> None:
    result = run(samples, make_encoder(), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [(e, s) for e in range(3) for s in range(4)]
    for record in result.history:
        own = [line for line in lines if line["epoch"] == record["epoch"] - 1]
        assert np.mean([line["losses"]["sdm"] for line in own]) == pytest.approx(record["losses"]["sdm"])
        assert {line["lr"] for line in own} == {record["lr"]}


@pytest.mark.parametrize(
    ("options", "warmup"),
    # Without a word about it 5 epochs of 60, so a quarter of an epoch of 3.
    [({}, 0.25), ({"warmup_epochs": 2}, 2), ({"lr_step": "step"}, 0.25), ({"warmup_epochs": 0}, 0)],
)
def test_the_rate_on_record_is_the_published_schedule(
    samples: Sets, make_encoder: Make, tmp_path: Path, options: dict[str, Any], warmup: float
) -> None:
    """IRRA's LRSchedulerWithWarmup: linear from a tenth, then half a cosine to 0."""
    config = TrainConfig(**{**SHORT.__dict__, **options})
    result = run(samples, make_encoder(), tmp_path / "run", config)
    lines = [json.loads(line) for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]
    for line in lines:
        moment = line["epoch"] + (line["step"] / 4 if "lr_step" in options else 0)
        factor = (
            np.interp(moment, [0, warmup], [0.1, 1])
            if moment < warmup
            else np.cos(np.pi / 2 * (moment - warmup) / (3 - warmup)) ** 2
        )
        assert line["lr"] == pytest.approx(3e-3 * factor, rel=1e-9)
    last = {line["epoch"]: line["lr"] for line in lines}
    assert [record["lr"] for record in result.history] == list(last.values())


def test_accumulation_and_recomputation_reach_the_towers(
    samples: Sets, make_encoder: Make, tmp_path: Path
) -> None:
    class Looking(SDM):
        def forward(self, encoder: DualEncoder, batch: Batch) -> dict[str, Tensor]:
            recomputed.add(encoder.clip.visual.transformer.grad_checkpointing)
            with encoder.clip.visual.conv1.register_forward_pre_hook(
                lambda _, given: parts.add(len(given[0]))
            ):
                return super().forward(encoder, batch)

    for options, sizes, wanted in (({}, {8}, {False}), ({"accumulation": 4, "recompute": True}, {2}, {True})):
        parts: set[int] = set()
        recomputed: set[bool] = set()
        config = TrainConfig(**{**SHORT.__dict__, "epochs": 1, **options})
        run(samples, make_encoder(), tmp_path / str(len(options)), config, objective=Looking(50.0))
        assert (parts, recomputed) == (sizes, wanted)


def test_tensorboard_where_it_is_wanted(samples: Sets, make_encoder: Make, tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    config = TrainConfig(**{**SHORT.__dict__, "tensorboard": True})
    result = run(samples, make_encoder(), tmp_path / "run", config)
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/sdm")] == list(range(12))
    expected = [record["metrics"]["R@1"] for record in result.history]
    assert [event.value for event in events.Scalars("val/R@1")] == pytest.approx(expected)


def test_tensorboard_that_is_missing_is_one_line(
    samples: Sets, make_encoder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    config = TrainConfig(**{**SHORT.__dict__, "tensorboard": True})
    with pytest.raises(CtgiError, match=r"tensorboard is not installed: pip install 'ctgi\[tensorboard\]'"):
        run(samples, make_encoder(), tmp_path / "run", config)


def test_trust_weighs_the_pairs_and_belongs_to_the_run(
    samples: Sets, make_encoder: Make, tmp_path: Path
) -> None:
    class Weighed(nn.Module):
        def forward(self, encoder: DualEncoder, batch: Batch) -> dict[str, Tensor]:
            seen.update(zip(batch.pair.tolist(), batch.weight.tolist(), strict=True))
            people.update(batch.identity.tolist())
            return {"sdm": encoder.encode_text(batch.ids).sum() * batch.weight.sum()}

    seen: dict[int, float] = {}
    people: set[int] = set()
    trust = [n / 32 for n in range(32)]
    run(samples, make_encoder(), tmp_path / "run", objective=Weighed(), trust=trust)
    assert [seen[n] for n in range(32)] == pytest.approx(trust)
    assert people == set(range(12))  # though the samples' own numbers have gaps
    for other in ([1.0] * 32, None):
        with pytest.raises(CtgiError, match="other trust in pairs;"):
            run(samples, make_encoder(), tmp_path / "run", objective=Weighed(), trust=other)
    for bad, said in (([1.0], "1 numbers for 32"), ([-1.0] * 32, "trust -1.0"), ([0.0] * 32, "0 everywhere")):
        with pytest.raises(CtgiError, match=said):
            run(samples, make_encoder(), tmp_path / "new", trust=bad)


def test_the_identity_sampler_trains(samples: Sets, make_encoder: Make, tmp_path: Path) -> None:
    class Counting(SDM):
        def forward(self, encoder: DualEncoder, batch: Batch) -> dict[str, Tensor]:
            counts.append(batch.identity.bincount().unique().tolist())
            return super().forward(encoder, batch)

    counts: list[list[int]] = []
    options = {**SHORT.__dict__, "sampler": "identity", "instances": 2}
    run(samples, make_encoder(), tmp_path / "run", TrainConfig(**options), objective=Counting(50.0))
    assert counts and all(count in ([0, 2], [2]) for count in counts)
    with pytest.raises(CtgiError, match="wants 16 people in a batch and the set has 12"):
        big = TrainConfig(**{**options, "batch_size": 32})
        run(samples, make_encoder(), tmp_path / "big", big)
