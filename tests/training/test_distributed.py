"""Two processes are one run: the same gradients, the same metrics, the same bits after any death.

SIGKILL, as a spot machine or an impatient person sends it, comes while a run works.
"""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ctgi.datasets.annotations import Sample
from ctgi.training.distributed import process_group
from tests.training import runs, together

Sets = tuple[tuple[Sample, ...], tuple[Sample, ...]]


@pytest.fixture
def pictures(samples: Sets) -> Path:
    return samples[0][0].picture.parent


def test_processes_wait_for_one_that_decodes_a_large_set(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked(Exception):
        pass

    def init(backend: str, timeout: timedelta, **_: Any) -> None:
        assert timeout >= timedelta(hours=1)
        raise Asked

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.distributed.init_process_group", init)
    monkeypatch.setattr("torch.cuda.set_device", lambda device: None)
    for device in ("cpu", "cuda"):
        with pytest.raises(Asked), process_group(torch.device(device)):
            pass


def test_gather_and_total_add_up_what_all_processes_made_of_a_row(tmp_path: Path) -> None:
    together.run(2, runs.collectives, tmp_path)
    whole = torch.tensor([[0.0, 1.0], [2.0, 3.0], [10.0, 11.0], [12.0, 13.0]])
    for rank in range(2):
        every, grad, summed, grad_of_sum, flags = torch.load(tmp_path / f"{rank}.pt")
        assert torch.equal(every, whole)
        # d/dx of (1 + 2) x^2, since the two losses weigh the same rows 1 and 2.
        assert torch.equal(grad, 6 * whole[2 * rank : 2 * rank + 2])
        assert summed.item() == 3 and grad_of_sum.item() == (1 + 2) * 2 * 3
        assert flags.tolist() == [True, True, False, True]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sdm", {}),
        ("irra", {}),
        ("irra", {"sampler": "identity", "instances": 2, "irra_captions": "clean"}),
        ("rde", {}),
    ],
)
def test_two_processes_have_the_gradients_of_one(
    name: str, changes: dict[str, Any], pictures: Path, tmp_path: Path
) -> None:
    for count in (1, 2):
        together.run(count, runs.gradients, name, pictures, tmp_path, changes)
    one, two = (torch.load(tmp_path / f"{count}.pt") for count in (1, 2))
    assert one.keys() == two.keys() and any(" d " in key for key in one)
    for key, expected in one.items():
        scale = max(1.0, float(expected.abs().max())) if expected.is_floating_point() else 1.0
        torch.testing.assert_close(two[key], expected, rtol=1e-5, atol=1e-5 * scale, msg=key)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(pictures: Path, tmp_path: Path) -> None:
    for count in (1, 2):
        together.run(count, runs.train, "sdm", pictures, tmp_path / str(count), {"base_lr": 1e-4})
    one, two = (records(tmp_path / str(count)) for count in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert b["losses"]["sdm"] == pytest.approx(a["losses"]["sdm"], rel=1e-3)
        assert b["metrics"]["mAP"] == pytest.approx(a["metrics"]["mAP"], abs=3)
    steps = [json.loads(line) for line in (tmp_path / "2" / "steps.jsonl").read_text().splitlines()]
    assert [(s["epoch"], s["step"]) for s in steps] == [(e, s) for e in range(2) for s in range(4)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "name", "changes"),
    [
        (1, "sdm", {"epochs": 3}),
        (1, "rde", {"accumulation": 3, "recompute": True}),
        (2, "rde", {"accumulation": 2}),
        (2, "irra", {"sampler": "identity", "instances": 2, "accumulation": 2, "checkpoint_steps": 2}),
    ],
)
def test_killed_at_any_step_it_ends_with_the_same_bits(
    count: int, name: str, changes: dict[str, Any], pictures: Path, tmp_path: Path
) -> None:
    together.run(count, runs.train, name, pictures, tmp_path / "whole", changes)
    cut, kills = tmp_path / "cut", 0
    for target in [(0, 2), (1, 1)]:
        processes = together.start(count, runs.train, name, pictures, cut, changes)
        while all(process.is_alive() for process in processes):
            if reached(cut / "last.safetensors") >= target:
                processes[-1].kill()  # one of them dies; torchrun ends the others
                break
            time.sleep(0.001)
        processes[-1].join()
        for process in processes[:-1]:
            process.kill()
            process.join()
        kills += processes[-1].exitcode == -9
    assert kills == 2
    together.run(count, runs.train, name, pictures, cut, changes)
    assert same_bits(tmp_path / "whole", cut)
    kept = ("epoch", "losses", "lr", "metrics")
    assert [[r[k] for k in kept] for r in records(cut)] == [
        [r[k] for k in kept] for r in records(tmp_path / "whole")
    ]
    assert (cut / "steps.jsonl").read_text() == (tmp_path / "whole" / "steps.jsonl").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["irra", "rde"])
def test_an_epoch_may_end_in_more_processes_than_its_last_batch_has_pairs(
    name: str, pictures: Path, tmp_path: Path
) -> None:
    """32 pairs in batches of 6: one process takes five steps, three take the sixth, with two pairs."""
    changes = {"epochs": 1, "batch_size": 6, "adam_eps": 1e-3}
    together.run(1, runs.train, name, pictures, tmp_path / "whole", changes)
    together.run(1, runs.train_up_to, 5, name, pictures, tmp_path / "parts", changes)
    assert reached(tmp_path / "parts" / "last.safetensors") == (0, 5)
    together.run(3, runs.train, name, pictures, tmp_path / "parts", changes)
    one, three = (load_file(tmp_path / run / "last.safetensors") for run in ("whole", "parts"))
    assert one.keys() == three.keys()
    for key, expected in one.items():
        torch.testing.assert_close(three[key], expected, rtol=1e-5, atol=1e-6, msg=key)
    a, b = ([json.loads(x) for x in (tmp_path / run / "steps.jsonl").open()] for run in ("whole", "parts"))
    assert [line["step"] for line in b] == list(range(6))
    assert b[5]["losses"] == pytest.approx(a[5]["losses"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [8, 64])  # in the second, one batch for two processes
def test_every_pair_is_observed_before_each_epoch_whoever_shares_the_work(
    batch_size: int, pictures: Path, tmp_path: Path
) -> None:
    for count in (1, 2):
        together.run(count, runs.observe, pictures, tmp_path / str(count), batch_size)
    one, two = (load_file(tmp_path / str(count) / "last.safetensors") for count in (1, 2))
    for state in (one, two):
        assert state["model.objective.times"].item() == 1 + 11
        assert state["model.objective.seen"][:, 0].tolist() == list(range(32))
    assert torch.equal(one["model.objective.seen"], two["model.objective.seen"])


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def reached(path: Path) -> tuple[int, int]:
    """Epoch and step in a checkpoint's header, through one open file: it may be replaced at any moment."""
    if not path.exists():
        return -1, -1
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    state = json.loads(header["__metadata__"]["state"])
    return state["epoch"], state["step"]


def same_bits(a: Path, b: Path) -> bool:
    for file in ("last.safetensors", "best/model.safetensors"):
        first: dict[str, Tensor] = load_file(a / file)
        second = load_file(b / file)
        if first.keys() != second.keys() or not all(torch.equal(first[n], second[n]) for n in first):
            return False
    return True
