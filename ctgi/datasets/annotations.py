"""The three public annotation layouts, read strictly: CUHK-PEDES, ICFG-PEDES, RSTPReid.

Every layout is one JSON list of pictures with their split, identity and captions, beside a folder `imgs/`.
The original readers let a mistyped split fall into val and a gap in the identities fail far from its cause;
here each such fault is one line naming the entry.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ctgi.errors import CtgiError


@dataclass(frozen=True)
class Sample:
    """One picture, who is on it, and the texts that describe it."""

    picture: Path
    identity: int
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits. Training identities are 0..n-1 without gaps; none of them is in val or test."""

    root: Path
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]


@dataclass(frozen=True)
class Layout:
    """How one data set writes its annotations."""

    files: tuple[str, ...]
    picture_key: str
    first_identity: int
    splits: tuple[str, ...]


LAYOUTS: dict[str, Layout] = {
    "cuhk-pedes": Layout(("reid_raw.json",), "file_path", 1, ("train", "val", "test")),
    "icfg-pedes": Layout(("ICFG-PEDES.json", "ICFG_PEDES.json"), "file_path", 0, ("train", "test")),
    "rstpreid": Layout(("data_captions.json",), "img_path", 0, ("train", "val", "test")),
}


def read_dataset(root: Path | str, layout: str) -> Dataset:
    """Read the data set under `root`, written in `layout` ("cuhk-pedes", "icfg-pedes" or "rstpreid").

    Identities are numbered from 0 in every split (CUHK-PEDES counts from 1 in its file) and stay distinct
    between splits. An entry that repeats a picture of the same identity and split adds its captions to it.

    Raises CtgiError, one line, for: unknown layout, missing or malformed annotations, an entry without a
    needed field or with an empty caption, a split the layout does not have, a missing picture, a picture
    under two identities or splits, an identity in two splits, a gap in the training identities.
    """
    root = Path(root)
    if layout not in LAYOUTS:
        raise CtgiError(f"layout {layout!r} is unknown; choose one of {', '.join(LAYOUTS)}")
    rules = LAYOUTS[layout]
    file = _annotation_file(root, rules)
    splits: dict[str, dict[Path, Sample]] = {"train": {}, "val": {}, "test": {}}
    home: dict[int, str] = {}
    seen: dict[Path, tuple[str, int]] = {}
    for number, entry in enumerate(_entries(file), start=1):
        where = f"{file}, entry {number}"
        split, sample = _sample(entry, root / "imgs", rules, where)
        owner = home.setdefault(sample.identity, split)
        if owner != split:
            raise CtgiError(
                f"{where}: identity {entry['id']} is in {owner} and in {split}; keep it in one split"
            )
        if seen.setdefault(sample.picture, (split, sample.identity)) != (split, sample.identity):
            raise CtgiError(f"{where}: {sample.picture.name} was listed before for another person; keep one")
        before = splits[split].get(sample.picture)
        captions = (before.captions if before else ()) + sample.captions
        splits[split][sample.picture] = Sample(sample.picture, sample.identity, captions)
    _check_pictures(seen, root / "imgs")
    _check_gaps((sample.identity for sample in splits["train"].values()), rules.first_identity, file)
    return Dataset(root, *(tuple(splits[name].values()) for name in ("train", "val", "test")))


def _annotation_file(root: Path, rules: Layout) -> Path:
    for name in rules.files:
        if (root / name).is_file():
            return root / name
    raise CtgiError(f"{root}: no {' or '.join(rules.files)} there; give the folder that holds it and imgs/")


def _entries(file: Path) -> list[Any]:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CtgiError(f"{file}: cannot be read ({error}); check the file") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise CtgiError(f"{file}: not valid JSON ({error}); fetch or write it again") from error
    if not isinstance(entries, list) or not entries:
        raise CtgiError(f"{file}: expected a JSON list with at least one picture; fetch or write it again")
    return entries


def _sample(entry: Any, pictures: Path, rules: Layout, where: str) -> tuple[str, Sample]:
    if not isinstance(entry, dict):
        raise CtgiError(f"{where}: expected an object with split, {rules.picture_key}, id and captions")
    for key in ("split", rules.picture_key, "id", "captions"):
        if key not in entry:
            raise CtgiError(f"{where}: no {key!r}; is the layout the right one?")
    split, name, identity, captions = (entry[key] for key in ("split", rules.picture_key, "id", "captions"))
    if split not in rules.splits:
        raise CtgiError(f"{where}: split {split!r} is not one of {', '.join(rules.splits)}; correct it")
    if not isinstance(name, str) or not name or _escapes(name):
        raise CtgiError(f"{where}: {rules.picture_key} {name!r} is not a path inside imgs/; correct it")
    if not isinstance(identity, int) or isinstance(identity, bool) or identity < rules.first_identity:
        raise CtgiError(
            f"{where}: id {identity!r} is not a whole number from {rules.first_identity}; correct it"
        )
    if not isinstance(captions, list) or not captions:
        raise CtgiError(
            f"{where}: captions is not a list with at least one text; add one or remove the entry"
        )
    for caption in captions:
        if not isinstance(caption, str) or not caption.strip():
            raise CtgiError(f"{where}: caption {caption!r} has no words; correct or remove it")
    texts = tuple(caption.strip() for caption in captions)
    return split, Sample(pictures / name, identity - rules.first_identity, texts)


def _escapes(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts


def _check_pictures(pictures: Iterable[Path], folder: Path) -> None:
    if not folder.is_dir():
        raise CtgiError(f"{folder}: no such folder; the pictures belong there")
    missing = [path for path in pictures if not path.is_file()]
    if missing:
        raise CtgiError(
            f"{missing[0]}: picture is missing ({len(missing)} in all); restore it or its entry's path"
        )


def _check_gaps(identities: Iterable[int], first: int, file: Path) -> None:
    found = set(identities)
    if not found:
        raise CtgiError(f"{file}: no entry has split 'train'; a data set needs training pictures")
    gap = next((identity for identity in range(max(found)) if identity not in found), None)
    if gap is not None:
        raise CtgiError(
            f"{file}: training identity {gap + first} is missing although they run to {max(found) + first}; "
            "number them without gaps"
        )
