"""The one command: steps in order, each continued or left out as what is there demands; figures filled in."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from demo.models.cards import BEGIN, END, parameters, write_cards
from demo.models.launch import WEIGHTS
from demo.models.train import PUBLISHED, Recipe, main, steps, train
from demo.pedestrians.attributes import ATTRIBUTES

RECIPE = Recipe(pictures=3000, held_out_pictures=1000, vision_steps=7, language_steps=6, clip_steps=5)
SCORES = {
    "people": 200,
    "mean": 0.9341,
    "attributes": {name: {"right": 0.9, "asked": 150} for name in ATTRIBUTES},
    "judge": {"auc": 0.9876, "auc_one_detail": 0.91, "yes_when_true": 0.95, "yes_when_stranger": 0.03,
              "yes_when_one_detail_differs": 0.2, "cases": 900},
}  # fmt: skip


class Workshop:
    """Stands in for the steps: leaves behind what each would, and remembers that it was asked to."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.done: list[str] = []
        self.arguments: list[tuple[str, ...]] = []
        self.fails_at: str | None = None

    def __call__(self, module: str, arguments: tuple[str, ...]) -> None:
        name = module.rsplit(".", 1)[1]
        if name == self.fails_at:
            raise KeyboardInterrupt
        self.done.append(name if name != "corpus" else Path(arguments[0]).name)
        self.arguments.append((module, *arguments))
        flags = dict(zip(arguments[::2], arguments[1::2], strict=False))
        if name == "corpus":
            folder = Path(arguments[0])
            folder.mkdir(exist_ok=True)
            for number in range(int(arguments[2]) // 1000):
                (folder / f"chunk-{number:04d}.npz").touch()
        elif name == "score":
            Path(arguments[-1]).write_text(json.dumps(SCORES), encoding="utf-8")
        else:
            folder = Path(flags["--out"])
            (folder / "checkpoint").mkdir(parents=True)
            (folder / "checkpoint" / "state.json").write_text(json.dumps({"step": int(flags["--steps"])}))
            log = {"train_vision": "vision", "train_language": "language", "train_clip": "clip"}[name]
            row = {"step": 1, "mean": 0.951, "R@1": 0.125, "R@10": 0.625}
            (folder / f"{log}.jsonl").write_text(json.dumps({}) + "\n" + json.dumps(row) + "\n")
            for file in PUBLISHED["clip" if name == "train_clip" else "qwen2vl"]:
                (folder / "model").mkdir(exist_ok=True)
                (folder / "model" / file).write_text(f"{name} {file}")
            save_file({"w": np.zeros((3, 4), np.float16), "b": np.zeros(5, np.float16)},
                      folder / "model" / "model.safetensors")  # fmt: skip


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    for name in PUBLISHED:
        (folder / name).mkdir(parents=True)
        (folder / name / "README.md").write_text(f"# Card\n\nProse.\n\n{BEGIN}\nold\n{END}\n\nMore prose.\n")
    return folder


ORDER = ["corpus", "heldout", "train_vision", "train_language", "train_clip", "score"]


def test_everything_in_order_and_what_is_finished_not_again(tmp_path: Path, weights: Path) -> None:
    out = tmp_path / "out"
    work = Workshop(out)
    train(out, weights, RECIPE, 1, work)
    assert work.done == ORDER
    assert sorted(path.name for path in (weights / "qwen2vl").iterdir()) == sorted(
        [*PUBLISHED["qwen2vl"], "README.md"]
    )
    assert (weights / "clip" / "config.json").read_text() == "train_clip config.json"
    work.done.clear()
    train(out, weights, RECIPE, 1, work)
    assert work.done == ["score"]


@pytest.mark.parametrize("stop", ORDER[2:])
def test_an_interrupted_run_goes_on_with_the_step_that_was_cut_off(
    tmp_path: Path, weights: Path, stop: str
) -> None:
    work = Workshop(tmp_path / "out")
    work.fails_at = stop
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "out", weights, RECIPE, 1, work)
    work.fails_at = None
    train(tmp_path / "out", weights, RECIPE, 1, work)
    assert work.done == ORDER


def test_half_a_step_is_not_a_whole_one(tmp_path: Path) -> None:
    def todo() -> list[str]:
        return [step.module.rsplit(".", 1)[1] for step in steps(tmp_path, RECIPE, 1) if not step.done()]

    (tmp_path / "corpus").mkdir()
    for number in range(2):
        (tmp_path / "corpus" / f"chunk-{number:04d}.npz").touch()
    (tmp_path / "vision" / "checkpoint").mkdir(parents=True)
    (tmp_path / "vision" / "checkpoint" / "state.json").write_text('{"step": 6}')
    (tmp_path / "clip" / "checkpoint").mkdir(parents=True)
    (tmp_path / "clip" / "checkpoint" / "state.json").write_text('{"step": 5}')  # but no model yet
    assert todo() == ["corpus", "corpus", "train_vision", "train_language", "train_clip"]
    (tmp_path / "corpus" / "chunk-0002.npz").touch()
    (tmp_path / "vision" / "checkpoint" / "state.json").write_text('{"step": 7}')
    assert todo() == ["corpus", "train_language", "train_clip"]


def test_every_step_understands_its_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules' own command lines read what this one writes, and get the recipe's numbers."""
    got: dict[str, Any] = {}

    class NoPool:
        def __init__(self, workers: int) -> None:
            got["workers"] = workers

        def __enter__(self) -> NoPool:
            return self

        def __exit__(self, *_: object) -> None: ...

        def imap_unordered(self, _: object, jobs: list[tuple[Path, int, int]]) -> list[Path]:
            got.setdefault("jobs", []).append((len(jobs), jobs[0][1]))
            return []

    monkeypatch.setattr("demo.models.corpus.Pool", NoPool)
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    for step in steps(tmp_path, RECIPE, 3):
        module = importlib.import_module(step.module)
        if hasattr(module, "train"):
            monkeypatch.setattr(module, "train", lambda *given, name=step.module: got.update({name: given}))
        monkeypatch.setattr(sys, "argv", [step.module, *step.arguments])
        module.main()
    assert got["jobs"] == [(3, 20_000), (1, 999)] and got["workers"] == 3
    corpus, held_out, vision = (tmp_path / name for name in ("corpus", "heldout", "vision"))
    assert got["demo.models.train_vision"] == (corpus, held_out, vision, 7, 64, 1.2e-3, 1, False)
    (language,) = got["demo.models.train_language"]
    assert (language.corpus, language.vision, language.steps, language.batch) == (corpus, vision, 6, 8)
    (clip,) = got["demo.models.train_clip"]
    assert (clip.heldout, clip.steps, clip.batch, clip.rate) == (held_out, 5, 96, 1e-3)


def test_another_recipe_is_not_mixed_in(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "out", weights, RECIPE, 1, Workshop(tmp_path / "out"))
    with pytest.raises(ValueError, match="holds another recipe"):
        train(tmp_path / "out", weights, replace(RECIPE, clip_steps=9), 1, Workshop(tmp_path / "out"))
    assert main([str(tmp_path / "out"), "--weights", str(weights), "--clip-steps", "9"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_cards_show_the_measured_figures_and_keep_their_prose(tmp_path: Path, weights: Path) -> None:
    train(tmp_path / "out", weights, RECIPE, 1, Workshop(tmp_path / "out"))
    cards = {name: (weights / name / "README.md").read_text() for name in PUBLISHED}
    for card in cards.values():
        assert card.startswith("# Card\n\nProse.\n\n") and card.endswith("\n\nMore prose.\n")
        assert "old" not in card and "17 weights" in card
    for figure in ("93.4%", "0.9876", "0.9100", "95.1%", "3.0%", *(n.replace("_", " ") for n in ATTRIBUTES)):
        assert figure in cards["qwen2vl"], figure
    assert "12.5%" in cards["clip"] and "62.5%" in cards["clip"]
    scores = json.loads((weights / "scores.json").read_text())
    assert scores["recipe"] == asdict(RECIPE) and scores["qwen2vl"] == SCORES
    write_cards(weights)
    assert cards == {name: (weights / name / "README.md").read_text() for name in PUBLISHED}


def test_cards_without_marks_or_scores_are_refused(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(ValueError, match=r"scores\.json: no such file"):
        write_cards(weights)
    (weights / "clip" / "README.md").write_text("no marks")
    with pytest.raises(ValueError, match="needs the lines"):
        train(tmp_path / "out", weights, RECIPE, 1, Workshop(tmp_path / "out"))


def test_the_shipped_cards_have_a_place_for_figures() -> None:
    for name in PUBLISHED:
        card = (WEIGHTS / name / "README.md").read_text(encoding="utf-8")
        assert card.count(BEGIN) == card.count(END) == 1
        assert "nothing of the world outside" in card


def test_parameters_are_counted_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": np.zeros((2, 3, 5)), "b": np.zeros((), np.float32)}, path, {"format": "pt"})
    assert parameters(path) == 31
