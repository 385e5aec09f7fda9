"""Both small models from nothing: ``python -m demo.models.train OUT`` does everything, in order.

It renders the pictures, teaches the vision tower, then the language side, then the CLIP, puts what came out
into ``demo/models/weights`` and scores it on people nobody was trained on. Every step is a command of its own
that continues where it was interrupted, and what is finished is not done again: stop it at any time and start
it again. What each step learns from, and why, is in ``docs/small-models.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from demo.models.cards import SCORES, write_cards
from demo.models.launch import WEIGHTS

#: What a served directory of each model consists of; whatever else training leaves is not shipped.
PUBLISHED = {
    "qwen2vl": (
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ),
    "clip": ("config.json", "model.safetensors"),
}


@dataclass(frozen=True)
class Recipe:
    """Numbers of every step; a different recipe needs a different OUT, since steps do not mix.

    The shipped weights come near it, in more than one sitting (see the card).
    """

    pictures: int = 30_000
    seed: int = 20_000
    held_out_pictures: int = 1_000
    held_out_seed: int = 999
    vision_steps: int = 6_000
    vision_batch: int = 64
    vision_rate: float = 1.2e-3
    language_steps: int = 6_000
    language_batch: int = 8
    language_rate: float = 2.5e-3
    clip_steps: int = 1_000
    clip_batch: int = 96
    clip_rate: float = 1e-3
    scored_people: int = 200


@dataclass(frozen=True)
class Step:
    """A module to run, its arguments, and how to see that it has nothing left to do."""

    module: str
    arguments: tuple[str, ...]
    done: Callable[[], bool]


def steps(out: Path, recipe: Recipe, threads: int) -> list[Step]:
    """The steps that write under ``out``, in the order in which each finds what it needs."""
    corpus, held_out = out / "corpus", out / "heldout"
    vision, language, clip = out / "vision", out / "language", out / "clip"

    def render(folder: Path, pictures: int, seed: int) -> Step:
        words = (str(folder), "--pictures", str(pictures), "--seed", str(seed), "--workers", str(threads))
        return Step(
            "demo.models.corpus", words, lambda: len(list(folder.glob("chunk-????.npz"))) * 1000 >= pictures
        )

    def learn(module: str, folder: Path, count: int, batch: int, rate: float, *more: str) -> Step:
        words = ("--corpus", str(corpus), "--out", str(folder), *more, "--steps", str(count))
        words += ("--batch", str(batch), "--rate", str(rate), "--threads", str(threads))
        result = folder / "model" / "model.safetensors"
        kept = module == "demo.models.train_vision"  # its checkpoint is what the next step reads
        return Step(module, words, lambda: _learnt(folder) >= count and (kept or result.is_file()))

    return [
        render(corpus, recipe.pictures, recipe.seed),
        render(held_out, recipe.held_out_pictures, recipe.held_out_seed),
        learn(
            "demo.models.train_vision",
            vision,
            recipe.vision_steps,
            recipe.vision_batch,
            recipe.vision_rate,
            *("--heldout", str(held_out)),
        ),
        learn(
            "demo.models.train_language",
            language,
            recipe.language_steps,
            recipe.language_batch,
            recipe.language_rate,
            *("--vision", str(vision)),
        ),
        learn(
            "demo.models.train_clip",
            clip,
            recipe.clip_steps,
            recipe.clip_batch,
            recipe.clip_rate,
            *("--heldout", str(held_out)),
        ),
    ]


def _learnt(folder: Path) -> int:
    """Steps of the last checkpoint in ``folder``; 0 when there is none."""
    for name in ("checkpoint", "checkpoint.old"):
        state = folder / name / "state.json"
        if state.is_file():
            return int(json.loads(state.read_text(encoding="utf-8"))["step"])
    return 0


def publish(out: Path, weights: Path) -> None:
    """Put the files of both trained models into ``weights``, each replaced whole."""
    for name, trained in (("qwen2vl", out / "language" / "model"), ("clip", out / "clip" / "model")):
        (weights / name).mkdir(parents=True, exist_ok=True)
        for file in PUBLISHED[name]:
            temporary = weights / name / f".{file}.{os.getpid()}"
            shutil.copyfile(trained / file, temporary)
            os.replace(temporary, weights / name / file)


def collect(out: Path, recipe: Recipe, answers: Path) -> dict[str, object]:
    """Every figure of the model cards: what ``score`` measured, the last rows of the logs, the recipe."""
    return {
        "recipe": asdict(recipe),
        "qwen2vl": json.loads(answers.read_text(encoding="utf-8")),
        "vision": _last_row(out / "vision" / "vision.jsonl"),
        "language": _last_row(out / "language" / "language.jsonl"),
        "clip": _last_row(out / "clip" / "clip.jsonl"),
    }


def _last_row(log: Path) -> dict[str, object]:
    rows = log.read_text(encoding="utf-8").splitlines()
    row: dict[str, object] = json.loads(rows[-1])
    return row


def run_module(module: str, arguments: tuple[str, ...]) -> None:
    """Run one step as its own process, so that its memory is free again for the next."""
    print(f"== python -m {module} {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", module, *arguments], check=True)


def train(
    out: Path,
    weights: Path = WEIGHTS,
    recipe: Recipe | None = None,
    threads: int = 2,
    run: Callable[[str, tuple[str, ...]], None] = run_module,
) -> None:
    """All steps, publication, scores and cards.

    Raises ValueError when ``out`` holds another recipe, CalledProcessError when a step fails.
    """
    recipe = recipe or Recipe()
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, recipe)
    for step in steps(out, recipe, threads):
        if not step.done():
            run(step.module, step.arguments)
    publish(out, weights)
    answers = out / "answers.json"
    people = str(recipe.scored_people)
    run(
        "demo.models.score", ("--model", str(weights / "qwen2vl"), "--people", people, "--json", str(answers))
    )
    scores = json.dumps(collect(out, recipe, answers), indent=1) + "\n"
    temporary = weights / f".{SCORES}.{os.getpid()}"
    temporary.write_text(scores, encoding="utf-8")
    os.replace(temporary, weights / SCORES)
    write_cards(weights)


def _claim(out: Path, recipe: Recipe) -> None:
    """Write the recipe into ``out``, or see that it is the one there."""
    path, text = out / "recipe.json", json.dumps(asdict(recipe), indent=1) + "\n"
    if not path.exists():
        path.write_text(text, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != text:
        raise ValueError(
            f"{out}: holds another recipe (see {path}); name another folder, or that one's recipe"
        )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m demo.models.train",
        description=__doc__,
        epilog="example: python -m demo.models.train out/models --threads 2",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="pictures, checkpoints and logs; about 10 GB")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the two models go")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    for name, value in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, metavar="N")
    given = vars(parser.parse_args(arguments))
    out, weights, threads = (given.pop(name) for name in ("out", "weights", "threads"))
    try:
        train(out, weights, Recipe(**given), threads)
    except ValueError as error:
        print(f"demo.models.train: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"demo.models.train: a step failed ({error}); start again to continue", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
