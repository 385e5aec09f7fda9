"""Decide whether enough new pictures have come to train again."""

from kfp import dsl

from components import page, shards
from components.releases import NONE
from components.workspace import Workspace


def enough(
    listing: str,
    trained: str,
    work: str,
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.Markdown],
    threshold: int = 1000,
) -> str:
    """Decide whether enough new pictures have come to train again: "yes" or "no".

    Args:
        listing: digest of the list of all pictures.
        trained: digest of the list that the serving release was trained on, "none" where nothing serves.
        work: the workspace that holds the lists.
        metrics: pictures, and new ones among them.
        report: the same for people.
        threshold: so many new pictures are enough.

    Returns:
        "yes" or "no".
    """
    from components.enough import judge
    from components.step import measured, step

    with step("enough"):
        answer, told = judge(listing, trained, work, report.path, int(threshold))
        measured(metrics, told)
        return answer


def judge(listing: str, trained: str, work: str, report: str, threshold: int) -> tuple[str, dict[str, float]]:
    workspace = Workspace(work)
    now = {picture.id for picture in shards.read_list(listing, workspace)}
    before: set[str] = set()
    # A list that is gone (another workspace, a release from elsewhere) says nothing: then all are new.
    if trained not in ("", NONE) and workspace.read(f"lists/{trained}.jsonl") is not None:
        before = {picture.id for picture in shards.read_list(trained, workspace)}
    new = len(now - before)
    answer = "yes" if new >= threshold else "no"
    said = f"{new} of {len(now)} pictures are new, {threshold} are enough: {answer}"
    page.write(report, f"{said}\n")
    print(said, flush=True)
    return answer, {"pictures": float(len(now)), "new": float(new), "threshold": float(threshold)}


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(enough))
