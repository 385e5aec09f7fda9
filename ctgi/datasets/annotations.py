"""The public annotation layouts, read strictly: CUHK-PEDES, ICFG-PEDES, RSTPReid, UFine6926, UFine3C.

The original readers let a mistyped split fall into val and a gap in the identities fail far from its cause;
here each such fault is one line naming the entry. Captions that merely look damaged are flagged (`noise`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ctgi.datasets.layouts import LAYOUTS, Layout
from ctgi.datasets.noise import EMPTY, Noise, Written, find_noise, kinds_of
from ctgi.errors import CtgiError


@dataclass(frozen=True)
class Sample:
    """One picture, who is on it, and the texts that describe it."""

    picture: Path
    identity: int
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits. Training identities are 0..n-1 without gaps; none of them is in val or test.

    `noise`: the captions that look damaged, of all splits.
    """

    root: Path
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]
    noise: tuple[Noise, ...] = ()


def read_dataset(root: Path | str, layout: str, *, renumber: bool = False) -> Dataset:
    """Read the data set under `root`, written in `layout` (a name in `ctgi.datasets.layouts.LAYOUTS`).

    Identities are numbered from 0 in every split (CUHK-PEDES counts from 1 in its file) and stay distinct
    between splits. With `renumber`, and in layouts whose numbering is not documented (UFine6926, UFine3C),
    they are renumbered without gaps, train first, then val, then test: for subsets of one's own.

    An entry that repeats a picture of the same identity and split adds its captions to it. A caption without
    words is left out and flagged, as is, without being left out, every other that looks damaged or that its
    picture has word for word already.

    Raises CtgiError, one line, for: unknown layout, missing or malformed annotations, an entry without a
    needed field or without a caption that has words, a split the layout does not have, a missing picture, a
    picture under two identities or splits, an identity in two splits, a gap in the training identities.
    """
    root = Path(root)
    if layout not in LAYOUTS:
        raise CtgiError(f"layout {layout!r} is unknown; choose one of {', '.join(LAYOUTS)}")
    rules = LAYOUTS[layout]
    file, pictures = _annotation_file(root, rules), root / rules.pictures
    splits: dict[str, dict[Path, Sample]] = {"train": {}, "val": {}, "test": {}}
    home: dict[int, str] = {}
    seen: dict[Path, tuple[str, int]] = {}
    written: list[Written] = []
    for number, entry in enumerate(_entries(file), start=1):
        where = f"{file}, entry {number}"
        split, sample = _sample(entry, pictures, rules, where)
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
        place, picture = f"entry {number}", str(sample.picture)
        written += [Written(place, sample.identity, text, picture) for text in entry["captions"]]
    _check_pictures(seen, pictures)
    train, val, test = (tuple(splits[name].values()) for name in ("train", "val", "test"))
    if "train" in rules.splits and not train:
        raise CtgiError(f"{file}: no entry has split 'train'; a data set needs training pictures")
    if renumber or not rules.contiguous:
        train, val, test = _renumbered(train, val, test)
    else:
        _check_gaps((sample.identity for sample in train), rules.first_identity, file)
    return Dataset(root, train, val, test, find_noise(written))


def _annotation_file(root: Path, rules: Layout) -> Path:
    for pattern in rules.files:
        found = sorted(path for path in root.glob(pattern) if path.is_file())
        if len(found) == 1:
            return found[0]
        if found:
            raise CtgiError(
                f"{root}: {len(found)} files could be the annotations ({found[0].name}, {found[1].name}); "
                f"name the right one {rules.files[0]}"
            )
    raise CtgiError(
        f"{root}: no {' or '.join(rules.files)} there; give the folder that holds it and "
        f"{rules.pictures or 'the pictures'}{'/' if rules.pictures else ''}"
    )


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
        raise CtgiError(f"{where}: {rules.picture_key} {name!r} is not a path inside {pictures}; correct it")
    if not isinstance(identity, int) or isinstance(identity, bool) or identity < rules.first_identity:
        raise CtgiError(
            f"{where}: id {identity!r} is not a whole number from {rules.first_identity}; correct it"
        )
    if not isinstance(captions, list) or not captions:
        raise CtgiError(
            f"{where}: captions is not a list with at least one text; add one or remove the entry"
        )
    for caption in captions:
        if not isinstance(caption, str):
            raise CtgiError(f"{where}: caption {caption!r} is not a text; correct or remove it")
    texts = tuple(caption.strip() for caption in captions if kinds_of(caption) != (EMPTY,))
    if not texts:
        raise CtgiError(f"{where}: none of its captions has words; write one or remove the entry")
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


def _renumbered(*splits: tuple[Sample, ...]) -> tuple[tuple[Sample, ...], ...]:
    """0..n-1 over all splits, in their order, and within a split in the old order."""
    number: dict[int, int] = {}
    for samples in splits:
        for identity in sorted({sample.identity for sample in samples}):
            number[identity] = len(number)
    return tuple(tuple(replace(s, identity=number[s.identity]) for s in samples) for samples in splits)


def _check_gaps(identities: Iterable[int], first: int, file: Path) -> None:
    found = set(identities)
    gap = next((identity for identity in range(max(found)) if identity not in found), None)
    if gap is not None:
        raise CtgiError(
            f"{file}: training identity {gap + first} is missing although they run to {max(found) + first}; "
            "number them without gaps, or have them renumbered (--renumber)"
        )
