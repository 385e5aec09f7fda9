"""Compare the release with the model that it was made from."""

from pathlib import Path

from kfp import dsl

from components import page
from ctgi.errors import CtgiError


def verify_parity(
    checkpoint: dsl.Input[dsl.Model],
    exported: dsl.Input[dsl.Model],
    captions: dsl.Input[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.Markdown],
    tolerance: float = 1e-4,
):
    """Compare the release, as it lies on disk, with the model that it was made from.

    Args:
        checkpoint: the model, in torch.
        exported: the release, in ONNX Runtime.
        captions: real texts to compare on.
        metrics: largest differences and rank agreement.
        report: the same for people.
        tolerance: largest difference allowed.
    """
    from components.step import measured, step
    from components.verify_parity import compare

    with step("verify_parity"):
        told = compare(checkpoint.path, exported.path, captions.path, report.path, tolerance)
        measured(metrics, told)


def compare(checkpoint: str, exported: str, captions: str, report: str, tolerance: float) -> dict[str, float]:
    import numpy as np

    from ctgi.cli.encoders import CheckpointEncoders
    from ctgi.datasets.pseudo import read_pseudo_captions
    from ctgi.encoders.loading import load_checkpoint
    from ctgi.export.onnx_files import frozen
    from ctgi.export.parity import check_parity
    from ctgi.export.preprocess import Preprocess
    from ctgi.export.release import PREPROCESS, Release
    from ctgi.export.runtime import OnnxEncoders
    from ctgi.storage.atomic import read_json

    Release.load(exported)  # its files are those of its fingerprint
    spec = Preprocess.read(read_json(Path(exported, PREPROCESS)))
    lines: list[str] = []
    parity = check_parity(
        frozen(load_checkpoint(Path(checkpoint))), Path(exported), size=(spec.height, spec.width),
        tolerance=tolerance, report=lines.append,
    )  # fmt: skip
    texts = [row.caption for row in read_pseudo_captions(captions)[:256]]
    ours = CheckpointEncoders(Path(checkpoint)).encode_texts(texts)
    worst = float(np.abs(ours - OnnxEncoders(exported).encode_texts(texts)).max())
    lines.append(f"{len(texts)} captions, whole path from text to vector: largest difference {worst:.1e}")
    print("\n".join(lines), flush=True)
    page.write(report, "".join(f"- {line}\n" for line in lines))
    if not worst <= tolerance:
        raise CtgiError(
            f"{exported}: captions differ by {worst:.1e} from the model's, allowed {tolerance:.0e}"
        )
    return {
        "text": float(parity.text_error),
        "picture": float(parity.image_error),
        "rank_agreement": float(parity.rank_agreement),
        "captions": worst,
    }


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(verify_parity))
