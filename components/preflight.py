"""Try everything a run will need, once, before anything is spent."""

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
):
    """Try everything a run will need, once: the workspace, the object store, one call of each model.

    Args:
        work: the workspace.
        report: what was tried and what came of it.
        store: where releases are published.
        server: the vision-language model's server.
        model: the vision-language model.
        reconstructor_server: the language model's server.
        reconstructor_model: the language model.
    """
    from components.preflight import check_all
    from components.step import step

    with step("preflight"):
        check_all(report.path, work, store, server, model, reconstructor_server, reconstructor_model)


def check_all(
    report: str,
    work: str,
    store: str,
    server: str,
    model: str,
    reconstructor_server: str,
    reconstructor_model: str,
) -> list[Check]:
    from components.checks import check_model, check_store, check_workspace

    checks = [check_workspace(work)]
    if store:
        checks.append(check_store(store))
    if server:
        checks.append(check_model(server, model))
    if reconstructor_server:
        checks.append(check_model(reconstructor_server, reconstructor_model, sees=False))
    page.write(report, page.table([check.row() for check in checks]))
    failed(checks)
    return checks


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(preflight))
