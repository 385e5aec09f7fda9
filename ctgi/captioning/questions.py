"""The questions as data: what each asks, and how to tell that a text already speaks about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ctgi.errors import CtgiError


@dataclass(frozen=True)
class Question:
    """One topic of the pool; the fields are explained at the head of ``questions.yaml``."""

    topic: str
    question: str
    priority: int
    fragment: str
    cues: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    affirmed: str | None = None
    described: str | None = None


def load_questions(path: Path | str | None = None) -> tuple[int, tuple[Question, ...], tuple[str, ...]]:
    """Version, questions and masks of a pool file (default: the one that is shipped).

    Raises CtgiError for a file that is missing, is no YAML, lacks a field or has one too many.
    """
    name = str(path) if path is not None else "questions.yaml"
    try:
        if path is None:
            text = (files("ctgi.captioning") / "questions.yaml").read_text(encoding="utf-8")
        else:
            text = Path(path).read_text(encoding="utf-8")
        data = yaml.safe_load(text)
        questions = tuple(_question(entry) for entry in data["topics"])
        version, masks = int(data["version"]), tuple(str(mask) for mask in data.get("masks", ()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CtgiError(
            f"question pool {name}: {reason}; compare it with the shipped questions.yaml"
        ) from error
    topics = [question.topic for question in questions]
    if not topics or len(set(topics)) < len(topics):
        raise CtgiError(f"question pool {name}: no topic, or one named twice; each topic is listed once")
    return version, questions, masks


def _question(entry: Mapping[str, Any]) -> Question:
    known = {field.name for field in fields(Question)}
    if surplus := set(entry) - known:
        raise ValueError(f"unknown field {sorted(surplus)[0]} of topic {entry.get('topic')}")

    def listed(name: str) -> tuple[str, ...]:
        return tuple(str(cue) for cue in entry.get(name, ()))

    if "fragment" not in entry:
        raise ValueError(f"topic {entry['topic']}: no fragment")

    def frame(name: str) -> str | None:
        text = entry.get(name)
        if text is not None and "{answer}" not in str(text):
            raise ValueError(f"topic {entry['topic']}: {name} has no {{answer}}")
        return None if text is None else str(text)

    return Question(
        topic=str(entry["topic"]),
        question=str(entry["question"]),
        priority=int(entry["priority"]),
        fragment=frame("fragment") or "{answer}",
        cues=listed("cues"),
        frames=listed("frames"),
        absent=listed("absent"),
        settled=listed("settled"),
        details=listed("details"),
        affirmed=None if entry.get("affirmed") is None else str(entry["affirmed"]),
        described=frame("described"),
    )
