"""The parameters of a run: from a YAML file and flags, checked as a whole before the first step starts."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctgi.datasets.layouts import LAYOUTS
from ctgi.errors import CtgiError
from pipelines.catalog import PIPELINES, Parameter

# name: (what is allowed, in words; whether a value is)
RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "rounds": ("a whole number from 1 to 50", lambda value: 1 <= value <= 50),
    "min_probability": ("a number from 0 to 1", lambda value: 0 <= value <= 1),
    "min_answers": ("a whole number from 0", lambda value: value >= 0),
    "concurrency": ("a whole number from 1 to 1024", lambda value: 1 <= value <= 1024),
    "per_shard": ("a whole number from 1", lambda value: value >= 1),
    "threshold": ("a whole number from 1", lambda value: value >= 1),
    "metric": ("R@1, R@5, R@10, mAP or mINP", lambda value: value in ("R@1", "R@5", "R@10", "mAP", "mINP")),
    "floor": ("a number from 0 to 100", lambda value: 0 <= value <= 100),
    "min_gain": ("a number from -100 to 100", lambda value: -100 <= value <= 100),
    "split": ("train, val or test", lambda value: value in ("train", "val", "test")),
    "work": ("an absolute path or s3://…", lambda value: value.startswith(("/", "s3://"))),
    "gallery": ("an absolute path or s3://…", lambda value: value.startswith(("/", "s3://"))),
    "pictures": ("an absolute path or s3://…", lambda value: value.startswith(("/", "s3://"))),
    "gallery_pictures": ("an absolute path or s3://…", lambda value: value.startswith(("/", "s3://"))),
    "data": ("an absolute path", lambda value: value == "" or value.startswith("/")),
    "server": ("an http(s) URL", lambda value: value == "" or _is_http(value)),
    "dossiers": ("an http(s) URL", lambda value: value == "" or _is_http(value)),
    "reconstructor_server": ("an http(s) URL", lambda value: value == "" or _is_http(value)),
    "store": (
        "an absolute path, file:///… or s3://…",
        lambda value: value.startswith(("/", "s3://", "file:///")),
    ),
    "release": ("letters, digits, '.', '_' and '-'", lambda value: _is_name(value)),
    "version": ("a number or a label", lambda value: value == "" or _is_name(value)),
    "layout": (f"one of {', '.join(LAYOUTS)}", lambda value: value == "" or value in LAYOUTS),
    "pictures_layout": (f"one of {', '.join(LAYOUTS)}", lambda value: value == "" or value in LAYOUTS),
}
TOGETHER = (("data", "layout"), ("server", "model"))
NEEDED_BY = (("reconstructor_server", "reconstructor_model"), ("dossiers", "model"))
DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d+)?")


def read(
    pipeline: str, known: Sequence[Parameter], file: Path | None, given: Sequence[str]
) -> dict[str, Any]:
    """Every parameter of a run. `given` are NAME=VALUE and win over the file.

    The file is YAML; a section named like a pipeline belongs to it, what stands beside sections to all.
    Raises CtgiError for a parameter that is missing, unknown, of another type, or not allowed.
    """
    values: dict[str, Any] = {p.name: p.default for p in known if p.default is not None}
    by_name = {p.name: p for p in known}
    for name, value, where in [*_from_file(pipeline, file), *_from_flags(given)]:
        if name not in by_name:
            near = difflib.get_close_matches(name, by_name, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(by_name)}"
            raise CtgiError(f"{where}: {pipeline} has no parameter {name!r}; {hint}")
        values[name] = _as(by_name[name].kind, value, f"{where}: {name}")
    missing = [p.name for p in known if p.default is None and p.name not in values]
    if missing:
        raise CtgiError(f"{pipeline} needs {', '.join(missing)}: --set {missing[0]}=… or a line in --config")
    check(values)
    return values


def check(values: Mapping[str, Any]) -> None:
    """Raise CtgiError for the first value that is not allowed, and for one that lacks its companion."""
    for name, value in values.items():
        if isinstance(value, str) and _has_secret(value):  # and do not repeat it
            raise CtgiError(
                f"parameter {name} carries credentials in its URL; the environment or a secret is their place"
            )
        if name in RULES and not RULES[name][1](value):
            raise CtgiError(f"parameter {name} is {value!r}; it has to be {RULES[name][0]}")
    for one, other in TOGETHER:
        if one in values and other in values and bool(values[one]) != bool(values[other]):
            missing = other if values[one] else one
            raise CtgiError(f"parameters {one} and {other} belong together; {missing} is missing")
    for one, other in NEEDED_BY:
        if values.get(one) and not values.get(other, "missing"):
            raise CtgiError(f"parameter {one} needs {other}")
    if values.get("pictures_layout") and values["pictures"].startswith("s3://"):
        raise CtgiError(
            f"pictures {values['pictures']} has the layout {values['pictures_layout']}: a data set with "
            "annotations has to be a folder; mount it"
        )
    if "encoder" in values:
        _check_encoder(values["encoder"], values.get("weights", ""))
    if values.get("training"):
        _check_training(values["training"])


def _check_encoder(encoder: str, weights: str) -> None:
    """A checkpoint is a folder that every step sees, so its path is absolute; anything else is a name."""
    if encoder.startswith("/") and weights:
        raise CtgiError(
            f"parameter encoder is the folder {encoder}, which brings its own weights; leave weights out"
        )
    if not encoder.startswith("/") and not weights:
        raise CtgiError(
            f"parameter encoder is {encoder!r}; the name of a model needs weights, such as openai, and a "
            "checkpoint folder is an absolute path"
        )


def _check_training(settings: Mapping[str, Any]) -> None:
    """The settings of `ctgi train`, by its own reader and its own configuration."""
    from ctgi.cli import config, train
    from ctgi.evaluation.metrics import METRICS
    from ctgi.training.config import TrainConfig

    taken = {"out", "pictures", "encoder", "weights", "val", "layout", "captions", "json"}
    for name in settings:
        if str(name).replace("-", "_") in taken:
            raise CtgiError(f"parameter training: {name} is set by the pipeline; leave it out")
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    train.add_arguments(parser)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(dict(settings), file)
        file.flush()
        try:
            config.apply(parser, "train", ["--config", file.name])
        except CtgiError as error:
            raise CtgiError(str(error).replace(file.name, "parameter training")) from error
    said = vars(parser.parse_args([]))
    fields = {field.name for field in dataclasses.fields(TrainConfig)} & set(said)
    try:
        made = TrainConfig.from_mapping({name: said[name] for name in fields})
    except CtgiError as error:
        raise CtgiError(f"parameter training: {error}") from error
    if made.select not in METRICS:
        raise CtgiError(f"parameter training: select {made.select!r}; choose one of {', '.join(METRICS)}")
    if not DEVICE.fullmatch(made.device):
        raise CtgiError(f"parameter training: device {made.device!r} is none; leave it out, or cpu or cuda")


def _from_file(pipeline: str, file: Path | None) -> list[tuple[str, Any, str]]:
    if file is None:
        return []
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise CtgiError(f"{file}: cannot be read ({reason}); write YAML") from error
    own = content.get(pipeline, {}) if isinstance(content, dict) else None
    if not isinstance(own, dict):
        raise CtgiError(f"{file}: not a mapping; write one `parameter: value` a line")
    shared = {name: value for name, value in content.items() if name not in PIPELINES}
    return [(str(name), value, str(file)) for name, value in {**shared, **own}.items()]


def _from_flags(given: Sequence[str]) -> list[tuple[str, Any, str]]:
    found = []
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise CtgiError(f"--set {text!r}: write NAME=VALUE")
        found.append((name.strip().replace("-", "_"), value, "--set"))
    return found


def _as(kind: type, value: Any, where: str) -> Any:
    try:
        if kind is dict:
            whole = json.loads(value) if isinstance(value, str) else value
            if not isinstance(whole, dict):
                raise ValueError("not a mapping")
            return whole
        if kind is bool:
            return {"true": True, "false": False}[str(value).lower()]
        if isinstance(value, bool) or (kind is int and isinstance(value, float) and value != int(value)):
            raise ValueError("another type")
        return kind(value)
    except (ValueError, KeyError, TypeError, OverflowError) as error:  # the last for .inf
        wanted = f"of type {kind.__name__}"
        if kind is dict:
            name = where.rpartition(" ")[2]
            wanted = (
                f'a mapping; in JSON, such as {name}={{"epochs": 1}}, or in the file {name}: {{epochs: 1}}'
            )
        raise CtgiError(f"{where} is {value!r}; it has to be {wanted}") from error


def _has_secret(value: str) -> bool:
    from urllib.parse import urlsplit

    return "://" in value and "@" in urlsplit(value).netloc


def _is_http(value: str) -> bool:
    from urllib.parse import urlsplit

    parts = urlsplit(value)
    return parts.scheme in ("http", "https") and bool(parts.netloc) and "@" not in parts.netloc


def _is_name(value: str) -> bool:
    return bool(value) and value[0].isalnum() and all(c.isalnum() or c in "._-" for c in value)
