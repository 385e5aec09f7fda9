"""Fine-tune the retrieval model on the captions."""

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from kfp import dsl

from components import page, shards
from components.workspace import Workspace
from ctgi.errors import CtgiError

#: Seconds that a training which is told to end has for it.
_LAST = 10.0


def train(
    captions: dsl.Input[dsl.Dataset],
    digest: str,
    pictures: str,
    work: str,
    encoder: str,
    encoder_digest: str,
    checkpoint: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    curve: dsl.Output[dsl.HTML],
    pictures_layout: str = "",
    weights: str = "",
    data: str = "",
    layout: str = "",
    data_digest: str = "",
    settings: dict = {},  # noqa: B006  (KFP reads the default from the signature)
    gpus: int = 0,
):
    """Fine-tune the retrieval model on the captions; continues from its last checkpoint after a kill.

    Args:
        captions: pseudo-captions.
        digest: of them; a run in the workspace belongs to one set of captions.
        pictures: folder of the pictures or the data set they are from.
        work: the workspace.
        encoder: a checkpoint folder, or the name of an open_clip model.
        encoder_digest: of it.
        checkpoint: the best epoch.
        metrics: its validation metrics.
        curve: losses and validation metrics by epoch.
        pictures_layout: annotation layout of the pictures, where they are a data set.
        weights: weights of a named model.
        data: data set whose val split chooses the epoch; without it people are held out.
        layout: its annotation layout.
        data_digest: of it.
        settings: flags of `ctgi train`, such as {"epochs": 60, "batch-size": 64}.
        gpus: of this node; more than one are used by torchrun.
    """
    from components.records import keep, recorded
    from components.step import measured, step
    from components.train import fine_tune

    with step("train"), recorded(captions) as file:
        told = fine_tune(
            str(file), digest, pictures, work, encoder, encoder_digest,
            checkpoint.path, curve.path, pictures_layout, weights, data, layout, data_digest, settings,
            int(gpus),
        )  # fmt: skip
        measured(metrics, told)
        checkpoint.metadata["epoch"] = told["epoch"]
        keep(checkpoint)


def fine_tune(
    captions: str,
    digest: str,
    pictures: str,
    work: str,
    encoder: str,
    encoder_digest: str,
    checkpoint: str,
    curve: str,
    pictures_layout: str,
    weights: str,
    data: str,
    layout: str,
    data_digest: str,
    settings: dict,
    gpus: int,
) -> dict[str, float]:
    key = json.dumps([digest, encoder_digest, data_digest, _whole(settings)], sort_keys=True)
    run_name = f"train/{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    with tempfile.TemporaryDirectory() as scratch, Workspace(work).folder(run_name) as run:
        rows = [shards.Picture("", path, None) for path in _paths(captions)]
        root = shards.bring(rows, pictures, pictures_layout, Path(scratch, "pictures"))
        kept = _kept(captions, run)
        given = run / "settings.yaml"
        given.write_text(json.dumps(_whole(settings)), encoding="utf-8")  # JSON is YAML
        figures = Path(scratch, "figures.json")
        words = ["train", str(kept), "--pictures", str(root), "--out", str(run), "--encoder", encoder]
        words += ["--weights", weights] if weights else []
        words += ["--val", data, "--layout", layout] if data else []
        words += ["--config", str(given)] if settings else []
        print(f"{run_name}: ctgi {shlex.join(words)}", flush=True)
        _run([*words, "--json", str(figures)], gpus)
        told = json.loads(figures.read_text(encoding="utf-8"))
        shutil.copytree(told["checkpoint"], checkpoint, dirs_exist_ok=True)
    page.write(curve, _curve(told))
    flat = {f"val {name}": float(value) for name, value in told["metrics"].items()}
    return {"epoch": float(told["best_epoch"]), "seconds": float(told["seconds"]), **flat}


def _kept(captions: str, run: Path) -> Path:
    """The captions and their record in the run's own folder, where more machines can take part in it."""
    from ctgi.export.lineage import beside_of

    kept, record = run / "captions.parquet", beside_of(Path(captions))
    shutil.copyfile(captions, kept)
    if record.is_file():
        shutil.copyfile(record, beside_of(kept))
    return kept


def _whole(settings: dict) -> dict:
    """Whole numbers as such: on its way through KFP every number becomes a float."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in settings.items()
    }


def _paths(captions: str) -> list[str]:
    from ctgi.datasets.pseudo import read_pseudo_captions

    return [row.path for row in read_pseudo_captions(captions)]


def _run(words: list[str], gpus: int) -> None:
    """`ctgi train`, in a process of its own, or in one a GPU; its memory is given back when it ends."""
    command = [sys.executable, "-m"]
    if gpus > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}", "-m"]
    with subprocess.Popen([*command, "ctgi", *words], env=os.environ) as training:
        try:
            code = training.wait()
        except BaseException:  # SIGTERM as an exit, above all: torchrun ends its processes before it ends
            training.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                training.wait(_LAST)
            training.kill()
            raise
    if code:
        raise CtgiError("`ctgi train` failed; its own line above says why")


def _curve(told: dict) -> str:
    history = told["history"]
    losses = {name: [epoch["losses"][name] for epoch in history] for name in history[0]["losses"]}
    kept = {
        name: [epoch["metrics"][name] for epoch in history]
        for name in history[0]["metrics"]
        if name in ("R@1", "R@5", "R@10", "mAP")
    }
    return page.page(
        f"Training: best epoch {told['best_epoch']} of {len(history)}",
        page.heading("Losses"),
        page.lines(losses, "epoch"),
        page.heading("Validation (percent)"),
        page.lines(kept, "epoch"),
    )


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(train))
