"""Try everything a run will need, once, before anything is spent."""

from collections.abc import Mapping, Sequence

from kfp import dsl

from components import page
from components.checks import Check, failed


def preflight(
    work: str,
    report: dsl.Output[dsl.Markdown],
    store: str = "",
    server: str = "",
    model: str = "",
    reconstructor_server: str = "",
    reconstructor_model: str = "gpt-4o",
    pictures: str = "",
    gallery: str = "",
    gallery_pictures: str = "",
    dossiers: str = "",
):
    """Try everything a run will need, once: the places it writes to and reads, one call of each model.

    Args:
        work: the workspace.
        report: what was tried and what came of it.
        store: where releases are published.
        server: the vision-language model's server.
        model: the vision-language model.
        reconstructor_server: the language model's server.
        reconstructor_model: the language model.
        pictures: where pictures are.
        gallery: where galleries are written.
        gallery_pictures: where the gallery's pictures are.
        dossiers: a server of the vision-language model that gallery pictures are asked by.
    """
    from components.preflight import check_all
    from components.step import step

    with step("preflight"):
        read = {"pictures": pictures, "gallery_pictures": gallery_pictures}
        check_all(
            report.path, work, store, gallery, read, [server, dossiers], model, reconstructor_server,
            reconstructor_model,
        )  # fmt: skip


def check_all(
    report: str,
    work: str,
    store: str,
    gallery: str,
    read: Mapping[str, str],
    servers: Sequence[str],
    model: str,
    reconstructor_server: str,
    reconstructor_model: str,
) -> list[Check]:
    from components.checks import check_model, check_pictures, check_store, check_workspace, check_written

    checks = [check_workspace(work)]
    if store:
        checks.append(check_store(store))
    if gallery:
        checks.append(check_written("gallery", gallery))
    if read := {name: place for name, place in read.items() if place}:
        checks.append(check_pictures(read))
    for server in dict.fromkeys(each for each in servers if each):
        checks.append(check_model(server, model))
    if reconstructor_server:
        checks.append(check_model(reconstructor_server, reconstructor_model, sees=False))
    page.write(report, page.table([check.row() for check in checks]))
    failed(checks)
    return checks


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(preflight))
