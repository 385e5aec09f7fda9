"""Find the pictures and divide them into shards."""

from kfp import dsl

from components import page, shards
from components.workspace import Workspace


def plan_shards(
    pictures: str,
    work: str,
    report: dsl.Output[dsl.Markdown],
    listing: dsl.OutputPath(str),
    layout: str = "",
    split: str = "train",
    per_shard: int = 2000,
    known: str = "",
    version: str = "",
    fingerprint: str = "",
    asked_by: str = "",
) -> list:
    """Find the pictures and divide them into shards; the same pictures always make the same shards.

    Args:
        pictures: folder of pictures, or of a data set where `layout` says so; a path or s3://….
        work: the workspace, a path that every step sees or s3://….
        report: what was found.
        listing: digest of the list of all pictures.
        layout: annotation layout of a data set.
        split: split of a data set.
        per_shard: pictures in a shard; there are never more than 32 shards.
        known: a gallery; pictures that it has under the same path are left out of the shards.
        version: of the release that embeds the gallery; given on in every shard.
        fingerprint: of that release, given on as well; another one's gallery knows nothing.
        asked_by: a chat model; a picture that it has not been asked about yet is not known.

    Returns:
        shard, digest of its list, number of pictures, version and fingerprint for each shard.
    """
    from components.plan_shards import plan
    from components.step import step

    with step("plan_shards"):
        return plan(
            pictures, work, report.path, listing, layout, split, per_shard,
            known, version, fingerprint, asked_by,
        )  # fmt: skip


def plan(
    folder: str,
    work: str,
    report: str,
    listing: str,
    layout: str,
    split: str,
    per_shard: int,
    known: str,
    version: str,
    fingerprint: str,
    asked_by: str,
) -> list:
    workspace = Workspace(work)
    found = shards.find(folder, layout, split, workspace)
    todo = list(found.pictures)
    if known:
        from components.build_index import paths_in

        there = paths_in(known, fingerprint, asked_by)
        todo = [picture for picture in todo if there.get(picture.id) != picture.path]
    items = shards.divide(todo, per_shard, workspace)
    if not items:  # one shard with nothing in it: KFP's loops want at least one turn
        empty = shards.write_list([], workspace)
        items = [{"shard": "00-of-01", "digest": empty, "count": "0"}]
    # What steps of the loop need of steps before it comes with the items: a local run would put the item
    # in the place of any other step's output (kfp.local.orchestrator.task_spec_utils, 2.17).
    items = [{**item, "version": version, "fingerprint": fingerprint} for item in items]
    page.write(listing, shards.write_list(found.pictures, workspace))
    lines = [f"{len(found.pictures)} pictures, {len(todo)} to do\n"]
    lines.append(page.table(items))
    lines += [f"- left out: {page.plain_text(line)}" for line in found.problems]
    page.write(report, "\n".join(lines) + "\n")
    print(lines[0].strip(), flush=True)
    return items


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(plan_shards))
