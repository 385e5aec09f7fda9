"""Checkpoints: training goes on from them as if nothing had been, whenever the writing was interrupted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from demo.models import checkpoint
from demo.models.checkpoint import load_checkpoint, save_checkpoint


def learner() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    modules = nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.LayerNorm(4)})
    return modules, torch.optim.AdamW(modules.parameters(), lr=0.1)


def step(modules: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad()
    modules["b"](modules["a"](x)).pow(3).sum().backward()  # type: ignore[index]
    optimizer.step()


def weights(modules: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in modules.state_dict().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_continued_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    whole, optimizer = learner()
    for number in range(6):
        step(whole, optimizer, number)
    first, optimizer = learner()
    for number in range(3):
        step(first, optimizer, number)
    save_checkpoint(tmp_path, first, optimizer, 3)
    second, optimizer = learner()
    assert load_checkpoint(tmp_path, second, optimizer) == 3
    for number in range(3, 6):
        step(second, optimizer, number)
    assert_same(weights(second), weights(whole))


def test_without_a_checkpoint_nothing_changes(tmp_path: Path) -> None:
    modules, optimizer = learner()
    before = weights(modules)
    assert load_checkpoint(tmp_path, modules, optimizer) == 0
    assert_same(weights(modules), before)


@pytest.mark.parametrize("again", [None, 3, 4, 5])
@pytest.mark.parametrize("stop", range(8))
def test_an_interrupted_write_leaves_the_old_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int, again: int | None
) -> None:
    """The write is cut off before its `stop`-th action on the disk; `again`: the next attempt as well,
    before that action."""
    modules, optimizer = learner()
    step(modules, optimizer, 0)
    save_checkpoint(tmp_path, modules, optimizer, 1)
    old = weights(modules)
    step(modules, optimizer, 1)
    new = weights(modules)
    for cut in (stop,) if again is None else (stop, again):
        left = [cut]

        def counted(action, left=left):  # type: ignore[no-untyped-def]
            def run(*given, **more):  # type: ignore[no-untyped-def]
                if left[0] == 0:
                    raise KeyboardInterrupt
                left[0] -= 1
                return action(*given, **more)

            return run

        with monkeypatch.context() as patched:
            patched.setattr(checkpoint, "save_file", counted(checkpoint.save_file))
            patched.setattr(checkpoint.os, "replace", counted(checkpoint.os.replace))
            patched.setattr(checkpoint.shutil, "rmtree", counted(shutil.rmtree))
            try:
                save_checkpoint(tmp_path, modules, optimizer, 2)
            except KeyboardInterrupt:
                pass
        read, other = learner()
        number = load_checkpoint(tmp_path, read, other)
        assert number in (1, 2)
        assert_same(weights(read), {1: old, 2: new}[number])
    save_checkpoint(tmp_path, modules, optimizer, 2)
    read, other = learner()
    assert load_checkpoint(tmp_path, read, other) == 2
    assert_same(weights(read), new)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_weights_can_be_read_without_an_optimiser(tmp_path: Path) -> None:
    modules, optimizer = learner()
    step(modules, optimizer, 0)
    save_checkpoint(tmp_path, modules, optimizer, 1)
    read, _ = learner()
    assert load_checkpoint(tmp_path, read, None) == 1
    assert_same(weights(read), weights(modules))
