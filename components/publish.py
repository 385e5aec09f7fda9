"""Publish the release in the object store."""

import json
from pathlib import Path
from typing import Any

from kfp import dsl

from components import page
from ctgi.errors import CtgiError


def publish(
    exported: dsl.Input[dsl.Model],
    parity: dsl.Input[dsl.Metrics],
    evaluation: dsl.Input[dsl.Dataset],
    store: str,
    release: str,
    report: dsl.Output[dsl.Markdown],
    version: dsl.OutputPath(str),
    fingerprint: dsl.OutputPath(str),
):
    """Publish the release: a reader sees all of it or nothing. The same release is published once.

    Args:
        exported: the release.
        parity: that it was compared with its model; without that it is not published.
        evaluation: what was measured; kept beside the release.
        store: where to.
        release: its name there.
        report: where it is.
        version: its number.
        fingerprint: SHA-256 of its files.
    """
    from components.publish import compared, send
    from components.step import step

    with step("publish"):
        send(
            exported.path,
            compared(parity),
            evaluation.path,
            store,
            release,
            report.path,
            version,
            fingerprint,
        )


def compared(parity: Any) -> dict[str, Any]:
    """The figures of the comparison; a step by hand has them in the file alone.

    Raises CtgiError where there are none: what was never compared is not published.
    """
    file = Path(parity.path)
    figures = dict(parity.metadata)
    if not figures and file.is_file():
        figures = json.loads(file.read_text(encoding="utf-8"))
    if "rank_agreement" not in figures:
        raise CtgiError(
            f"{file}: says nothing of a comparison of the release with its model; run verify_parity"
        )
    return figures


def send(
    exported: str,
    parity: dict,
    evaluation: str,
    store: str,
    name: str,
    report: str,
    version: str,
    fingerprint: str,
) -> None:
    from components.gate import load_evaluation
    from ctgi.export.release import Release
    from ctgi.export.triton import as_repository
    from ctgi.storage.opening import open_store
    from ctgi.storage.releases import publish as publish_release

    mine = Release.load(exported)
    facts = {
        "fingerprint": mine.fingerprint,
        "pictures_list": mine.lineage.get("pictures_list", ""),
        "lineage": dict(mine.lineage),
        "measured": load_evaluation(Path(evaluation, "trained.npz")).summary(),
        "parity": dict(parity),
    }
    done = publish_release(open_store(store), Path(exported), name, arrange=as_repository, facts=facts)
    number = done.manifest.version
    page.write(version, str(number))
    page.write(fingerprint, mine.fingerprint)
    how = "published before" if done.already else f"{done.sent:,} bytes sent, {done.found:,} there already"
    lines = [f"{name} {number} in {store}: {how}", f"fingerprint {mine.fingerprint}"]
    page.write(report, "".join(f"- {page.plain_text(line)}\n" for line in lines))
    print("; ".join(lines), flush=True)


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(publish))
