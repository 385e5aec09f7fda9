"""Encoding texts cut to their real length against always padding to 248 positions, with ONNX Runtime.

The text tower has the width of ViT-B/16's and a third of its layers (time grows with the layers, ratios do
not); its weights are random, which changes no time. It is exported once and kept in out/bench.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.measure import Ratio, side_by_side
from ctgi.export.release import PREPROCESS, TEXT_ENCODER, TOKENIZER, Release
from ctgi.export.runtime import OnnxEncoders
from ctgi.export.tokenizer import TextTokenizer

CONFIG = {
    "embed_dim": 512,
    "quick_gelu": True,
    "vision_cfg": {"image_size": [384, 128], "patch_size": 64, "width": 64, "layers": 1, "head_width": 64},
    "text_cfg": {"context_length": 248, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 4},
}
SENTENCES = (
    "A woman in a red jacket and blue trousers.",
    "She has long black hair and carries a brown rucksack over one shoulder.",
    "The jacket is plain and has long sleeves.",
    "She wears white sneakers and sunglasses, and holds a phone in her left hand.",
    "There is a small logo on the chest.",
    "She is walking towards the camera on a wet pavement.",
)


def texts() -> list[str]:
    """64 texts: half as users ask, most others as MTG captions, a few beyond 128 tokens."""
    short = [f"{SENTENCES[n % 6]} Number {n}." for n in range(32)]
    captions = [" ".join(SENTENCES[n % 3 : n % 3 + 4]) + f" Number {n}." for n in range(24)]
    return short + captions + [" ".join(SENTENCES * 3) + f" Number {n}." for n in range(8)]


def measure(out: Path) -> list[Ratio]:
    """A batch of mixed lengths, and one short query. That both ways give the same vectors is checked."""
    release = _release(out / "text-tower")
    encoders = OnnxEncoders(release, verify=False)
    tokenizer = TextTokenizer(release / TOKENIZER, 248)
    session = encoders._text  # the same session, so that only the length differs

    def always_248(given: list[str]) -> np.ndarray:
        parts = []
        for start in range(0, len(given), 32):
            rows = tokenizer(given[start : start + 32])
            [vectors] = session.run(None, {"ids": np.pad(rows, ((0, 0), (0, 248 - rows.shape[1])))})
            parts.append(vectors)
        return np.concatenate(parts)

    ratios = []
    for name, given, repeats in (("64 texts of mixed length", texts(), 3), ("one query", texts()[:1], 9)):
        np.testing.assert_allclose(encoders.encode_texts(given), always_248(given), atol=1e-5)
        ours, plain = side_by_side(
            lambda given=given: encoders.encode_texts(given), lambda given=given: always_248(given), repeats
        )
        lengths = [len(row) for row in tokenizer.encode(given)]
        ratios.append(
            Ratio(f"cut to length against always 248: {name}", ours, plain, facts={"tokens": lengths})
        )
    return ratios


def _release(folder: Path) -> Path:
    if all((folder / name).is_file() for name in ("release.json", TEXT_ENCODER, TOKENIZER, PREPROCESS)):
        Release.load(folder)
        return folder
    import torch

    from ctgi.encoders.loading import load_encoder
    from ctgi.encoders.pixels import preprocess_spec
    from ctgi.export.publish import export_release

    torch.manual_seed(0)
    encoder = load_encoder(CONFIG, None)
    export_release(encoder, folder, name="benchmark", preprocess=preprocess_spec(), replace=True)
    return folder
