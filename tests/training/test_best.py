"""best/ after a cut: of the epoch that the checkpoint calls the best, never of one that was lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ctgi.encoders.loading import save_tensors
from ctgi.errors import CtgiError
from ctgi.training import engine
from ctgi.training.objectives.sdm import SDM
from tests.training.short import Died, Make, Sets, best_of, dying, run, same, scored, tensors


def test_best_holds_no_epoch_that_was_lost(
    samples: Sets, make_encoder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch better than all before is cut off ahead of its checkpoint, and is not as good when done again,
    as happens on a GPU or with another number of processes."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(engine, "save_state", dying(engine.save_state, 4, False))  # that of epoch 2's end
        with pytest.raises(Died):
            run(samples, make_encoder(), out, metrics=scored(40, 60))
    epoch, weights = best_of(out)
    assert epoch == "1"
    again = run(samples, make_encoder(), out, metrics=scored(30, 20))
    assert (again.best_epoch, again.metrics) == (1, {"R@1": 40})
    epoch, kept = best_of(out)
    assert epoch == "1" and same(kept, weights)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("values", [(10, 20, 30), (10, 20, 15)])
def test_best_is_made_up_for_by_whoever_comes_next(
    samples: Sets,
    make_encoder: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    values: tuple[float, ...],
    after: bool,
) -> None:
    """Cut off between a checkpoint and the weights of the best epoch, also where nothing is left to train."""
    out, cut = tmp_path / "run", 1 + values.index(max(values))
    whole = run(samples, make_encoder(), tmp_path / "whole", metrics=scored(*values), trained_on="colours")
    with monkeypatch.context() as patch:
        patch.setattr(engine, "keep", dying(engine.keep, cut, after))
        with pytest.raises(Died):
            run(samples, make_encoder(), out, metrics=scored(*values), trained_on="colours")
    assert best_of(out)[0] == str(cut if after else cut - 1)
    again = run(samples, make_encoder(), out, metrics=scored(*values[cut:]), trained_on="colours")
    assert (again.best_epoch, again.metrics) == (whole.best_epoch, whole.metrics)
    assert same(tensors(out), tensors(tmp_path / "whole"))
    headers = []
    for place in (out, tmp_path / "whole"):
        with safe_open(place / "best" / "model.safetensors", "pt") as file:
            headers.append(file.metadata())
    assert headers[0] == headers[1] and headers[0]["trained_on"] == "colours"


def test_weights_of_another_epoch_never_pass_for_the_best(
    samples: Sets, make_encoder: Make, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run(samples, make_encoder(), out, metrics=scored(10, 20, 15))
    weights, [aside] = best_of(out)[1], out.glob("best-*.safetensors")
    (out / "best" / "model.safetensors").unlink()  # its epoch is not the last, but its weights have two names
    assert run(samples, make_encoder(), out, metrics=scored()).best_epoch == 2
    assert best_of(out)[0] == "2" and same(best_of(out)[1], weights)
    for file in (out / "best" / "model.safetensors", aside):
        file.unlink()  # nobody has them now
    assert run(samples, make_encoder(), out, metrics=scored()).best_epoch == 2
    assert not (out / "best" / "model.safetensors").exists()


def torn(out: Path, kept: Path) -> None:
    """What a copy of the run holds that is sent file by file, the checkpoint after the others and removals at
    the end, cut off before the checkpoint: `kept` of an earlier moment, and over it all of now but that."""
    last = (kept / "last.safetensors").read_bytes()
    shutil.copytree(out, kept, dirs_exist_ok=True)
    (kept / "last.safetensors").write_bytes(last)


@pytest.fixture
def ahead(
    samples: Sets, make_encoder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, Tensor]]:
    """A run whose best/ is of epoch 2 and whose checkpoint of the middle of that epoch, with epoch 1 as the
    best; and the weights of that."""
    out, kept = tmp_path / "run", tmp_path / "kept"
    with monkeypatch.context() as patch:
        patch.setattr(engine, "save_state", dying(engine.save_state, 3, True))
        with pytest.raises(Died):
            run(samples, make_encoder(), out, metrics=scored(40))
    shutil.copytree(out, kept)
    epoch, weights = best_of(out)
    assert epoch == "1"
    with monkeypatch.context() as patch:
        patch.setattr(engine, "keep", dying(engine.keep, 1, True))
        with pytest.raises(Died):
            run(samples, make_encoder(), out, metrics=scored(60))
    torn(out, kept)
    assert best_of(kept)[0] == "2"
    return kept, weights


def test_a_best_epoch_ahead_of_the_checkpoint_gives_way_to_what_was_the_best(
    ahead: tuple[Path, dict[str, Tensor]], samples: Sets, make_encoder: Make
) -> None:
    """The epoch comes out worse when it is done again; no other one is better than the first."""
    out, weights = ahead
    again = run(samples, make_encoder(), out, metrics=scored(30, 20), objective=SDM(30.0))
    assert (again.best_epoch, again.metrics) == (1, {"R@1": 40})
    epoch, kept = best_of(out)
    assert epoch == "1" and same(kept, weights)
    assert len(list(out.glob("best-*.safetensors"))) == 1


def test_of_an_epoch_done_twice_the_weights_of_the_second_time_are_kept(
    ahead: tuple[Path, dict[str, Tensor]],
    samples: Sets,
    make_encoder: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It comes out otherwise when done again, and is cut off once more between its checkpoint and best/. At
    the worst the copy has best/ of the first time beside the checkpoint of the second."""
    out, _ = ahead
    first = best_of(out)[1]
    copy = shutil.copytree(out, tmp_path / "copy")
    with monkeypatch.context() as patch:
        patch.setattr(engine, "keep", dying(engine.keep, 1, False))
        with pytest.raises(Died):
            run(samples, make_encoder(), out, metrics=scored(60), objective=SDM(30.0))
    shutil.copyfile(out / "last.safetensors", copy / "last.safetensors")
    for place in (out, copy):
        again = run(samples, make_encoder(), place, metrics=scored(20), objective=SDM(30.0))
        assert (again.best_epoch, again.metrics) == (2, {"R@1": 60})
    epoch, kept = best_of(copy)
    assert epoch == "2" and not same(kept, first)
    assert same(kept, best_of(out)[1])


def test_weights_that_nobody_has_are_said_to_be_gone(
    ahead: tuple[Path, dict[str, Tensor]], samples: Sets, make_encoder: Make
) -> None:
    out, _ = ahead
    for aside in out.glob("best-*.safetensors"):
        aside.unlink()
    with pytest.raises(CtgiError, match="not the weights of epoch 1, the best, and nobody has those; delete"):
        run(samples, make_encoder(), out)


def test_where_a_file_has_one_name_only_the_best_is_copied(
    samples: Sets, make_encoder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("ctgi.training.best.os.link", refused)
    run(samples, make_encoder(), tmp_path / "run", metrics=scored(10, 20, 15))
    [aside] = (tmp_path / "run").glob("best-*.safetensors")
    assert aside.read_bytes() == (tmp_path / "run" / "best" / "model.safetensors").read_bytes()
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_a_run_of_an_older_version_goes_on(
    samples: Sets, make_encoder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its best/ says the epoch and no more, and has no second name."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(engine, "save_state", dying(engine.save_state, 5, True))
        with pytest.raises(Died):
            run(samples, make_encoder(), out, metrics=scored(40, 30))
    for aside in out.glob("best-*.safetensors"):
        aside.unlink()
    weights = out / "best" / "model.safetensors"
    with safe_open(weights, framework="pt") as file:
        noted = {name: value for name, value in file.metadata().items() if name != "record"}
    save_tensors(load_file(weights), weights, noted)
    before = best_of(out)
    assert run(samples, make_encoder(), out, metrics=scored(20)).best_epoch == 1
    assert best_of(out)[0] == before[0] and same(best_of(out)[1], before[1])
