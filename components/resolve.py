"""Turn names that may point elsewhere tomorrow into digests that do not."""

import hashlib
import json
from pathlib import Path

from kfp import dsl

from components import page, releases
from components.releases import NONE
from components.workspace import is_remote
from ctgi.errors import CtgiError
from ctgi.storage.digest import file_sha256

SPLITS = ("train", "val", "test")


def resolve(
    serving_version: dsl.OutputPath(str),
    serving_fingerprint: dsl.OutputPath(str),
    trained: dsl.OutputPath(str),
    encoder_digest: dsl.OutputPath(str),
    data_digest: dsl.OutputPath(str),
    store: str = "",
    release: str = "",
    version: str = "",
    encoder: str = "",
    weights: str = "",
    data: str = "",
    layout: str = "",
):
    """Turn names that may point elsewhere tomorrow into digests that do not; never cached.

    Args:
        serving_version: version of the release, "none" where there is none yet.
        serving_fingerprint: its fingerprint.
        trained: digest of the list of pictures that it was trained on, "none" where it does not say.
        encoder_digest: of the encoder that training starts from.
        data_digest: of the annotations and pictures that models are measured on.
        store: where releases are.
        release: name of the release.
        version: the version wanted; without it the pinned one, else the latest.
        encoder: a checkpoint folder, or the name of an open_clip model.
        weights: weights of a named model: a tag or a file.
        data: data set that models are measured on.
        layout: its annotation layout.
    """
    from components.resolve import find
    from components.step import step

    with step("resolve"):
        outputs = (serving_version, serving_fingerprint, trained, encoder_digest, data_digest)
        find(outputs, store, release, version, encoder, weights, data, layout)


def find(
    outputs: tuple[str, ...],
    store: str,
    release: str,
    version: str,
    encoder: str,
    weights: str,
    data: str,
    layout: str,
) -> None:
    serving = releases.serving(store, release, version) if store else None
    if version and serving is None:
        raise CtgiError(f"{store}: no release {release} {version}; `ctgi release list` shows what is there")
    said = (
        NONE if serving is None else serving.version,
        NONE if serving is None else serving.fingerprint,
        NONE if serving is None else serving.trained or NONE,
        digest_of_encoder(encoder, weights) if encoder else NONE,
        digest_of_data(data, layout) if data else NONE,
    )
    for path, text in zip(outputs, said, strict=True):
        page.write(path, text)
    print(f"serving: {said[0]} {said[1][:12]}", flush=True)


def digest_of_encoder(encoder: str, weights: str) -> str:
    """Of a checkpoint's files; of a named model its name, with the digest of a weights file."""
    folder = Path(encoder)
    if (folder / "config.json").is_file():
        files = [folder / "config.json", folder / "model.safetensors"]
        return _digest([path.name + file_sha256(path) for path in files if path.is_file()])
    if not weights:
        raise CtgiError(f"{encoder}: no checkpoint folder; the name of a model needs weights, such as openai")
    file = Path(weights)
    return _digest([encoder, file_sha256(file) if file.is_file() else weights])


def digest_of_data(data: str, layout: str) -> str:
    """Of the annotations and the pictures' content; where the folder lies and when it was written is not in
    it."""
    from concurrent.futures import ThreadPoolExecutor

    from ctgi.cli.data import open_dataset

    if is_remote(data):
        raise CtgiError(f"{data}: a data set has to be a folder that every step sees; mount it")
    dataset = open_dataset(data, layout, renumber=True)
    samples = [(split, sample) for split in SPLITS for sample in getattr(dataset, split)]
    with ThreadPoolExecutor(8) as pool:  # on a network's file system most of the time is waiting
        contents = pool.map(file_sha256, [sample.picture for _, sample in samples])
        rows = [
            [split, str(sample.picture.relative_to(data)), content, sample.identity, list(sample.captions)]
            for (split, sample), content in zip(samples, contents, strict=True)
        ]
    return _digest(rows)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(resolve))
