"""Being cut off, and going on: the same bits, no step twice, and never in another run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ctgi.datasets.annotations import Sample
from ctgi.encoders.dual import DualEncoder
from ctgi.errors import CtgiError
from ctgi.training import engine
from ctgi.training.config import TrainConfig
from ctgi.training.engine import TrainResult
from ctgi.training.loader import Batch
from ctgi.training.objectives.sdm import SDM
from tests.training.short import SHORT, Died, Make, Sets, dying, run, same, tensors


def timeless(result: TrainResult) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in record.items() if name not in ("seconds", "loader_wait_seconds")}
        for record in result.history
    ]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("place", "call"),
    [
        ("save_state", 1),
        ("save_state", 3),
        ("save_state", 6),
        ("keep", 1),
        ("observe", 2),
        ("validate", 2),
    ],
)
def test_cut_off_anywhere_it_goes_on_to_the_same_bits(
    samples: Sets,
    make_encoder: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    call: int,
    after: bool,
) -> None:
    whole = run(samples, make_encoder(), tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(engine, place, dying(getattr(engine, place), call, after))
        with pytest.raises(Died):
            run(samples, make_encoder(), tmp_path / "cut")
    again = run(samples, make_encoder(), tmp_path / "cut")
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "cut"))
    assert timeless(again) == timeless(whole)
    assert (again.best_epoch, again.metrics) == (whole.best_epoch, whole.metrics)
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "cut")]
    assert len(logs[0]) == len(logs[1]) == len(whole.history)


def test_steps_before_the_last_checkpoint_are_not_taken_again(
    samples: Sets, make_encoder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 4  # 32 pairs in batches of 8
    with monkeypatch.context() as patch:
        patch.setattr(engine, "save_state", dying(engine.save_state, 3, True))  # in epoch 2, after step 2
        with pytest.raises(Died):
            run(samples, make_encoder(), tmp_path / "run")
    seen: list[int] = []

    class Counting(SDM):
        def forward(self, encoder: DualEncoder, batch: Batch) -> dict[str, Tensor]:
            seen.append(len(batch.pair))
            return super().forward(encoder, batch)

    run(samples, make_encoder(), tmp_path / "run", objective=Counting(50.0))
    assert len(seen) == 3 * steps - (steps + 2)


def test_a_finished_run_returns_at_once(samples: Sets, make_encoder: Make, tmp_path: Path) -> None:
    first = run(samples, make_encoder(), tmp_path / "run")

    def untouchable(*_: Any) -> dict[str, float]:
        raise AssertionError("nothing is left to validate")

    assert run(samples, make_encoder(), tmp_path / "run", metrics=untouchable) == first


def test_a_folder_of_another_run_is_refused(samples: Sets, make_encoder: Make, tmp_path: Path) -> None:
    run(samples, make_encoder(), tmp_path / "run")
    changed = TrainConfig(**{**SHORT.__dict__, "base_lr": 1e-3, "seed": 9})
    with pytest.raises(CtgiError, match="holds a run with other base_lr, seed;"):
        run(samples, make_encoder(), tmp_path / "run", changed)
    with pytest.raises(CtgiError, match="other training set;"):
        run((samples[0][:-1], samples[1]), make_encoder(), tmp_path / "run")
    with pytest.raises(CtgiError, match="other validation set;"):
        run((samples[0], samples[1][:-1]), make_encoder(), tmp_path / "run")
    different = make_encoder()
    with torch.no_grad():
        different.clip.ln_final.bias.add_(1)
    with pytest.raises(CtgiError, match="other initial weights;"):
        run(samples, different, tmp_path / "run")
    quicker = TrainConfig(**{**SHORT.__dict__, "checkpoint_steps": 0, "cache_gb": 0.0})
    assert run(samples, make_encoder(), tmp_path / "run", quicker).best_epoch  # how, not what


def test_a_run_that_failed_before_its_first_checkpoint_binds_nobody(
    samples: Sets, make_encoder: Make, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("not a picture")
    with pytest.raises(CtgiError, match="bad.png: not a picture"):
        run(((*samples[0], Sample(bad, 0, ("x",))), samples[1]), make_encoder(), tmp_path / "run")
    assert run(samples, make_encoder(), tmp_path / "run").best_epoch
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(CtgiError, match="a checkpoint without run.json"):
        run(samples, make_encoder(), tmp_path / "run")


def test_a_damaged_checkpoint_is_one_line(samples: Sets, make_encoder: Make, tmp_path: Path) -> None:
    run(samples, make_encoder(), tmp_path / "run")
    (tmp_path / "run" / "last.safetensors").write_bytes(b"torn")
    with pytest.raises(CtgiError, match="last.safetensors: damaged checkpoint"):
        run(samples, make_encoder(), tmp_path / "run")
