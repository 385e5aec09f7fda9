"""The release: one trained model as files, and the fingerprint that ties indexes to it (design, 4.5)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ctgi.errors import CtgiError
from ctgi.storage.atomic import write_json

TEXT_ENCODER, IMAGE_ENCODER = "text_encoder.onnx", "image_encoder.onnx"
TOKENIZER, PREPROCESS, RELEASE = "tokenizer.json", "preprocess.json", "release.json"
FILES = (IMAGE_ENCODER, PREPROCESS, TEXT_ENCODER, TOKENIZER)
# What `release.json` has to hold where: a person may have edited it.
_KINDS: dict[type, tuple[str, ...]] = {
    str: ("name", "version", "fingerprint", "created"),
    int: ("embedding_dim", "context"),
    dict: ("metrics", "mti", "lineage", "sizes"),
}
_CALLED = {str: "a text", int: "a whole number", dict: "a mapping"}


@dataclass(frozen=True)
class Release:
    """What `release.json` says.

    Attributes:
        name, version: for people; neither is part of the fingerprint.
        fingerprint: SHA-256 over the four files that decide every vector, in hex.
        embedding_dim: length D of the vectors.
        context: the most positions a text may have.
        metrics: figures measured before the release, e.g. {"R@1": 54.2}.
        mti: calibration of MTI for this model (similarity scale, threshold, …); may be replaced later.
        lineage: where the weights come from (data, configuration, parent).
        created: ISO 8601, UTC.
        sizes: bytes of each file.
    """

    name: str
    version: str
    fingerprint: str
    embedding_dim: int
    context: int
    metrics: Mapping[str, Any] = field(default_factory=dict)
    mti: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path | str, *, verify: bool = True) -> Release:
        """Read the release in `folder`; with `verify`, hash its files and compare.

        Raises:
            CtgiError: no release there, a file missing, or the files are not those that were released.
        """
        path = Path(folder) / RELEASE
        try:
            release = cls(**json.loads(path.read_text(encoding="utf-8")))
            release._check_kinds()
        except FileNotFoundError as error:
            raise CtgiError(
                f"{folder}: no release there ({RELEASE} is missing); make one with `ctgi export`"
            ) from error
        except (OSError, ValueError, TypeError) as error:
            raise CtgiError(
                f"{path}: cannot be read as a release ({error}); export the model again"
            ) from error
        if verify:
            release.check(folder, fingerprint(folder))
        return release

    def check(self, folder: Path | str, found: str) -> None:
        """Raise CtgiError if `found`, the fingerprint of the files in `folder`, is not this release's."""
        if found != self.fingerprint:
            raise CtgiError(
                f"{folder}: its files have the fingerprint {found[:12]}, {RELEASE} says "
                f"{self.fingerprint[:12]}; a file was changed or damaged, export or fetch it again"
            )

    def _check_kinds(self) -> None:
        for kind, fields in _KINDS.items():
            for field_ in fields:
                value = getattr(self, field_)
                if not isinstance(value, kind) or isinstance(value, bool):
                    raise TypeError(f"{field_}: {value!r} is not {_CALLED[kind]}")
        for field_ in _KINDS[int]:
            if getattr(self, field_) < 1:
                raise ValueError(f"{field_}: {getattr(self, field_)} is below 1")

    def save(self, folder: Path | str) -> None:
        """Write `release.json`, atomically."""
        write_json(Path(folder) / RELEASE, asdict(self))


def fingerprint(folder: Path | str) -> str:
    """SHA-256 over the names, lengths and contents of the release's four files, in hex.

    `release.json` itself is left out: metrics and calibration may be written later and change no vector.

    Raises:
        CtgiError: one of the files is missing.
    """
    known: dict[str, tuple[int, str]] = {}
    for name in FILES:
        path = Path(folder) / name
        try:
            with path.open("rb") as handle:
                digest = hashlib.file_digest(handle, "sha256").hexdigest()
                known[name] = handle.tell(), digest
        except OSError as error:
            raise CtgiError(
                f"{path}: cannot be read ({error.strerror}); a release holds {', '.join(FILES)}"
            ) from error
    return fingerprint_of(known)


def fingerprint_of(known: Mapping[str, tuple[int, str]]) -> str:
    """The same from sizes and SHA-256 of the four files by name, for who has them already."""
    lines = (f"{name}\n{known[name][0]}\n{known[name][1]}\n" for name in FILES)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def record_mti(folder: Path | str, calibration: Mapping[str, Any]) -> Release:
    """Replace the MTI calibration of the release in `folder`; its fingerprint stays."""
    release = Release.load(folder, verify=False)
    changed = Release(**{**asdict(release), "mti": dict(calibration)})
    changed.save(folder)
    return changed
