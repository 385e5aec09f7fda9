"""A release as a Triton model repository: two models of one version number, ready to be served.

    text_encoder/config.pbtxt            for any machine: a GPU if there is one, else the CPU
    text_encoder/configs/cuda.pbtxt      chosen by `tritonserver --model-config-name=cuda`
    text_encoder/configs/tensorrt.pbtxt
    text_encoder/<version>/model.onnx, tokenizer.json, release.json, lineage.json
    image_encoder/…/<version>/model.onnx, preprocess.json, release.json, lineage.json

Both encoders, the tokenizer and a gallery's index belong together (design, 4.5): they bear one number, and
`release.json` its fingerprint.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ctgi.errors import CtgiError
from ctgi.export.lineage import LINEAGE, encode_lineage, read_lineage, release_lineage
from ctgi.export.preprocess import Preprocess
from ctgi.export.release import (
    FILES,
    IMAGE_ENCODER,
    PREPROCESS,
    RELEASE,
    TEXT_ENCODER,
    TOKENIZER,
    Release,
    fingerprint_of,
)
from ctgi.export.triton_config import IMAGE, TEXT, TritonOptions, configurations, encoders
from ctgi.storage.atomic import atomic_directory, read_json, write_bytes
from ctgi.storage.digest import file_sha256, files_sha256
from ctgi.storage.manifest import Item

MODEL = "model.onnx"


def as_repository(release_dir: Path, options: TritonOptions | None = None) -> Callable[[int], list[Item]]:
    """Read a release; what is returned says for a version which file goes where, and as what.

    It is an arrangement for `ctgi.storage.releases.publish`: the release then lies in the store as a
    repository and is fetched as the folder that it was. `release.json` gets the version; nothing else of the
    release changes.

    Raises:
        CtgiError: no release there, or its files are not those that were released.
    """
    options = options or TritonOptions()
    found = Release.load(release_dir, verify=False)
    paths = {name: release_dir / name for name in FILES}
    if missing := [name for name, path in paths.items() if not path.is_file()]:
        raise CtgiError(f"{release_dir / missing[0]}: is not there; a release holds {', '.join(FILES)}")
    digests = dict(zip(paths, files_sha256(list(paths.values())), strict=True))
    found.check(
        release_dir,
        fingerprint_of({name: (path.stat().st_size, digests[name]) for name, path in paths.items()}),
    )
    beside = release_dir / LINEAGE
    record = encode_lineage(read_lineage(beside) if beside.exists() else release_lineage(found))
    spec = Preprocess.read(read_json(release_dir / PREPROCESS))
    configs = [
        Item.of(f"{encoder.name}/{name}", content.encode(), None)
        for encoder in encoders(found, spec, options)
        for name, content in configurations(encoder, options).items()
    ]

    def layout(version: int) -> list[Item]:
        release = _json(asdict(replace(found, version=str(version))))
        text, image = f"{TEXT}/{version}", f"{IMAGE}/{version}"

        def file(key: str, name: str) -> Item:
            return Item(key, paths[name], name, digests[name])

        return [
            file(f"{text}/{MODEL}", TEXT_ENCODER),
            file(f"{text}/{TOKENIZER}", TOKENIZER),
            Item.of(f"{text}/{RELEASE}", release, RELEASE),
            Item.of(f"{text}/{LINEAGE}", record, LINEAGE),
            file(f"{image}/{MODEL}", IMAGE_ENCODER),
            file(f"{image}/{PREPROCESS}", PREPROCESS),
            Item.of(f"{image}/{RELEASE}", release, None),
            Item.of(f"{image}/{LINEAGE}", record, None),
            *configs,
        ]

    return layout


def write_model_repository(
    release_dir: Path, out: Path, version: int, options: TritonOptions | None = None
) -> None:
    """Add one version of a release to the repository at `out`, which is made if it is not there.

    Large files are linked, not copied, where the file system allows it. A version appears whole, the text
    encoder first.

    Raises:
        CtgiError: the release is damaged, the version is there already with other content, or the repository
            serves encoders of another shape or with other options.
    """
    if version < 1:
        raise CtgiError(f"version {version}: Triton's versions are whole numbers from 1")
    items = as_repository(release_dir, options)(version)
    configs = [item for item in items if item.key.endswith(".pbtxt")]
    for item in configs:
        path = out / item.key
        if path.exists() and path.read_bytes() != item.source:
            raise CtgiError(
                f"{path}: the repository serves models of another shape or with other options; write this "
                "version to a new folder"
            )
    for name in (TEXT, IMAGE):
        folder = out / name / str(version)
        own = [item for item in items if item.key.startswith(f"{name}/{version}/")]
        if folder.exists():
            if any(not _same(item, out / item.key) for item in own):
                raise CtgiError(f"{folder}: holds another release; choose another version or folder")
            continue
        for item in configs:
            if item.key.startswith(f"{name}/"):
                assert isinstance(item.source, bytes)
                write_bytes(out / item.key, item.source)
        with atomic_directory(folder) as fresh:
            for item in own:
                _place(item.source, fresh / Path(item.key).name)


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def _same(item: Item, path: Path) -> bool:
    if not path.is_file():
        return False
    if isinstance(item.source, Path) and os.path.samefile(item.source, path):
        return True
    return file_sha256(path) == item.sha256


def _place(source: Path | bytes, target: Path) -> None:
    if isinstance(source, bytes):
        target.write_bytes(source)
        return
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
