"""Let a release serve, together with its gallery."""

from kfp import dsl

from components import page
from components.build_index import generation, paths_in
from ctgi.errors import CtgiError


def promote(
    store: str,
    release: str,
    version: str,
    fingerprint: str,
    report: dsl.Output[dsl.Markdown],
    gallery: str = "",
    index: str = "",
):
    """Let a release serve, together with its gallery: one pointer is moved, after both are there.

    Args:
        store: where the release is.
        release: its name.
        version: its version.
        fingerprint: its fingerprint.
        report: what serves now.
        gallery: where galleries are; this release's has to be there.
        index: where its gallery is, from the step that built it.
    """
    from components.promote import move
    from components.step import step

    with step("promote"):
        move(store, release, version, fingerprint, report.path, gallery)


def move(store: str, name: str, version: str, fingerprint: str, report: str, gallery: str) -> None:
    from ctgi.storage.opening import open_store
    from ctgi.storage.releases import pin

    if gallery and not paths_in(gallery, fingerprint):
        raise CtgiError(f"{gallery}: no gallery of release {fingerprint[:12]} there; run ctgi_gallery first")
    pin(open_store(store), name, int(version))
    said = f"{name} {version} serves"
    if gallery:
        said += f", with its gallery {gallery.rstrip('/')}/{generation(fingerprint)}"
    page.write(report, f"{page.plain_text(said)}\n")
    print(said, flush=True)


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(promote))
