"""A training run in an object store that is cut off between its best weights and its checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from components.workspace import _Mirror
from ctgi.storage.opening import open_store
from ctgi.training import engine
from ctgi.training.objectives.sdm import SDM
from tests.training.conftest import make_encoder, samples  # noqa: F401
from tests.training.short import Died, Make, Sets, best_of, dying, run, same, scored


class Cut:
    """A store whose writer is killed as it is about to send the checkpoint."""

    def __init__(self, url: str) -> None:
        self._store = open_store(url)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, key: str, source: Path) -> None:
        if key == "last.safetensors":
            raise Died
        self._store.put(key, source)


def fetched(url: str, here: Path) -> Path:
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    _Mirror(open_store(url), here).fetch(None)
    return here


def test_the_best_weights_of_the_checkpoint_are_there_whatever_came_after(
    samples: Sets,  # noqa: F811
    make_encoder: Make,  # noqa: F811
    tmp_path: Path,
    s3_server: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """best/ of epoch 2 is sent, its checkpoint is not; done again, that epoch is worse than the first, as it
    may be on a GPU."""
    s3_server.into(monkeypatch)
    url, here = s3_server.url("torn"), tmp_path / "here"
    here.mkdir()
    mirror = _Mirror(open_store(url), here)

    def up_to(name: str, call: int, score: float) -> None:
        """Train until the engine has called `name` that often."""
        with monkeypatch.context() as patch:
            patch.setattr(engine, name, dying(getattr(engine, name), call, True))
            with pytest.raises(Died):
                run(samples, make_encoder(), here, metrics=scored(score))

    up_to("save_state", 3, 40)  # in the middle of epoch 2
    mirror.send()
    weights = best_of(here)[1]
    up_to("keep", 1, 60)  # at its end
    mirror._there = Cut(url)
    with pytest.raises(Died):
        mirror.send()

    there = fetched(url, tmp_path / "there")
    assert best_of(there)[0] == "2"
    again = run(samples, make_encoder(), there, metrics=scored(30, 20), objective=SDM(30.0))
    assert again.best_epoch == 1 and best_of(there)[0] == "1" and same(best_of(there)[1], weights)
