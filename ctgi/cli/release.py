"""Publish releases in an object store or a folder, find, fetch, pin, check and collect them.

A release is published whole or not at all, as a Triton model repository. `fetch` gives back a release folder.
The store is s3://bucket/prefix or a folder; for S3 set CTGI_S3_ENDPOINT, and CTGI_S3_ACCESS_KEY with
CTGI_S3_SECRET_KEY, or let CTGI_S3_CREDENTIALS_FILE name a credentials file or a mounted secret.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from ctgi.cli.figures import plain, write_figures
from ctgi.cli.origin import tell
from ctgi.cli.stores import named_store, unknown
from ctgi.errors import CtgiError

EXAMPLES = """\
examples:
  ctgi release publish release/ --store s3://models/ctgi --name rstpreid
  ctgi release list --store s3://models/ctgi
  ctgi release fetch rstpreid --store s3://models/ctgi --out release/
  ctgi release fetch rstpreid --version pinned --layout repository --store s3://models/ctgi --out models/
  ctgi release pin rstpreid --version 7 --store s3://models/ctgi
  ctgi release gc rstpreid --keep 3 --older-than 30 --store s3://models/ctgi           # only says it
  ctgi release gc rstpreid --keep 3 --older-than 30 --store s3://models/ctgi --apply
  ctgi release verify rstpreid --version 7 --store s3://models/ctgi
  ctgi release lineage release/
  ctgi release repository release-6/ release-7/ --out models/    # several versions, served side by side"""

# Every action, what it is about, and the options that mean something to it.
ACTIONS: dict[str, tuple[str, set[str]]] = {
    "publish": ("FOLDER", {"store", "name", "version"}),
    "fetch": ("NAME", {"store", "version", "out", "layout", "replace"}),
    "list": ("[NAME]", {"store"}),
    "pin": ("NAME", {"store", "version", "label", "remove"}),
    "gc": ("NAME", {"store", "keep", "older_than", "apply"}),
    "verify": ("NAME", {"store", "version"}),
    "lineage": ("FOLDER or NAME", {"store", "version"}),
    "repository": ("FOLDER …", {"out"}),
}


A_LONG_TIME = 1_000_000  # days; no release is older


class _Given(argparse.Action):
    """Keeps the value, and that it was said on the command line: there it must belong to the action."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, True if self.nargs == 0 else values)
        namespace.given = {**getattr(namespace, "given", {}), self.dest: option_string}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, to which release, and the options of each action."""

    def option(flag: str, **words: Any) -> None:
        parser.add_argument(flag, action=_Given, **words)

    about = ", ".join(f"{action} {subject}" for action, (subject, _) in ACTIONS.items())
    parser.add_argument("action", choices=ACTIONS, metavar="ACTION", help=about)
    parser.add_argument(
        "subject", nargs="*", metavar="SUBJECT", help="a release's folder, or its name in the store"
    )
    option("--store", metavar="URL", help="s3://bucket/prefix, or a folder")
    option("--name", help="publish: its name in the store (default: the name it has)")
    option(
        "--version",
        metavar="V",
        help="a number; fetch, verify and lineage also take latest (default) or a label, as pinned",
    )
    option("--out", type=Path, metavar="FOLDER", help="fetch, repository: where to")
    option(
        "--layout",
        choices=("release", "repository"),
        default="release",
        help="fetch: a release folder (default) or a Triton model repository of this one version",
    )
    option(
        "--replace",
        nargs=0,
        default=False,
        help="fetch: replace another release, and nothing else, that is at --out",
    )
    option(
        "--label", default="pinned", help="pin: the label that points to the version (default: %(default)s)"
    )
    option("--remove", nargs=0, default=False, help="pin: take the label away")
    option(
        "--keep", type=int, default=5, metavar="N", help="gc: the last N versions stay (default: %(default)s)"
    )
    option(
        "--older-than",
        type=float,
        default=30.0,
        metavar="DAYS",
        help="gc: younger ones stay (default: %(default)g)",
    )
    option("--apply", nargs=0, default=False, help="gc: really delete; without it only what would go is said")


def run(options: argparse.Namespace) -> int:
    """Do what the action says."""
    subject, known = ACTIONS[options.action]
    for dest, flag in getattr(options, "given", {}).items():
        if dest not in known:
            raise CtgiError(f"ctgi release {options.action} has no option {flag} (see ctgi release --help)")
    count = len(options.subject)
    if not (count == 1 or (count == 0 and subject.startswith("[")) or (count and subject.endswith("…"))):
        raise CtgiError(f"write: ctgi release {options.action} {subject} … (see ctgi release --help)")
    figures = _RUN[options.action](options)
    write_figures(options.json, "release", {"action": options.action, **figures})
    return 0


def _publish(options: argparse.Namespace) -> dict[str, Any]:
    from ctgi.export.lineage import git_revision
    from ctgi.export.release import Release
    from ctgi.export.triton import as_repository
    from ctgi.storage.releases import publish

    folder = Path(options.subject[0])
    store = named_store(options)
    release = Release.load(folder, verify=False)  # publishing compares every file with it
    facts = plain(
        {
            "fingerprint": release.fingerprint,
            "metrics": release.metrics,
            "lineage": release.lineage,
            "git": git_revision(),
        }
    )
    done = publish(
        store,
        folder,
        release.name if options.name is None else options.name,
        None if options.version is None else _number(options.version),
        arrange=as_repository,
        facts=facts,
        progress=_megabytes("publish"),
    )
    found = done.manifest
    how = (
        "was published before, with the same content"
        if done.already
        else f"published, {_size(done.sent)} sent"
        + (f", {_size(done.found)} were there" if done.found else "")
    )
    print(f"{found.name} {found.version}: {how}; {store.url}/{found.prefix}")
    return {"manifest": found, "already": done.already, "sent": done.sent, "found": done.found}


def _fetch(options: argparse.Namespace) -> dict[str, Any]:
    from ctgi.storage.fetch import fetch

    if options.out is None:
        raise CtgiError("no place for the release was named: --out FOLDER")
    done = fetch(
        named_store(options),
        options.subject[0],
        options.version or "latest",
        options.out,
        layout=options.layout,
        replace=options.replace,
        progress=_megabytes("fetch"),
    )
    how = "was there already" if done.already else "fetched and checked"
    print(f"{done.manifest.name} {done.manifest.version}: {how}; {done.folder}")
    return {"manifest": done.manifest, "folder": done.folder, "already": done.already}


def _list(options: argparse.Namespace) -> dict[str, Any]:
    from ctgi.storage.releases import names, pins, versions

    store = named_store(options, there=True)
    rows = []
    for name in options.subject or names(store):
        labels = pins(store, name)
        for manifest in versions(store, name):
            own = [label for label, version in labels.items() if version == manifest.version]
            rows.append({"labels": own, "manifest": manifest})
            fingerprint = str(manifest.facts.get("fingerprint", ""))[:12]
            print(
                f"{name:<20} {manifest.version:>5}  {manifest.published[:19]}  {_size(manifest.size):>9}  "
                f"{fingerprint:<12}  {', '.join(own)}".rstrip()
            )
    if not rows:
        if options.subject:
            raise unknown(store, options.subject[0])
        print(f"{store.url}: nothing is published there")
    return {"releases": rows}


def _pin(options: argparse.Namespace) -> dict[str, Any]:
    from ctgi.storage.releases import pin, pins, unpin

    store, name = named_store(options), options.subject[0]
    if options.remove:
        unpin(store, name, options.label)
        print(f"{name}: {options.label} points to nothing now")
    else:
        if options.version is None:
            raise CtgiError("no version was named: --version N")
        pin(store, name, _number(options.version), options.label)
        print(f"{name}: {options.label} points to version {options.version}")
    return {"pins": pins(store, name)}


def _gc(options: argparse.Namespace) -> dict[str, Any]:
    from ctgi.storage.collect import Policy, collect

    if options.keep < 1:
        raise CtgiError(f"--keep {options.keep}: keep at least the last version, with 1")
    if not 0 <= options.older_than <= A_LONG_TIME:
        raise CtgiError(f"--older-than {options.older_than:g}: a number of days from 0 to {A_LONG_TIME:,}")
    policy = Policy(keep_last=options.keep, older_than=timedelta(days=options.older_than))
    store = named_store(options, there=True)
    done = collect(store, options.subject[0], policy, dry_run=not options.apply)
    if not (done.versions or done.kept or done.leftovers):
        raise unknown(store, options.subject[0])
    for version, why in done.kept.items():
        print(f"{version:>5}  stays: {why}")
    verb = "deleted" if options.apply else "would go"
    for one in [*done.versions, *done.leftovers]:
        print(f"{one:>5}  {verb}{'' if isinstance(one, int) else ': left by an interrupted publish'}")
    print(f"{_size(done.size)} {verb}" + ("" if options.apply else "; say --apply to delete"))
    return {"collected": done, "applied": options.apply}


def _verify(options: argparse.Namespace) -> dict[str, Any]:
    from ctgi.storage.releases import resolve, verify

    manifest = resolve(named_store(options), options.subject[0], options.version or "latest")
    wrong = list(verify(named_store(options), manifest, _megabytes("verify")))
    for line in wrong:
        print(line)
    if wrong:
        raise CtgiError(
            f"{manifest.name} {manifest.version}: {len(wrong)} of {len(manifest.files)} objects are damaged "
            "or missing; delete the damaged ones and publish the same release again"
        )
    print(f"{manifest.name} {manifest.version}: all {len(manifest.files)} objects are what was published")
    return {"manifest": manifest}


def _repository(options: argparse.Namespace) -> dict[str, Any]:
    from ctgi.export.release import Release
    from ctgi.export.triton import write_model_repository

    if options.out is None:
        raise CtgiError("no place for the repository was named: --out FOLDER")
    written = []
    for folder in map(Path, options.subject):
        version = _triton(folder, Release.load(folder, verify=False).version)
        write_model_repository(folder, options.out, version)
        written.append(version)
        print(f"{options.out}: version {version} from {folder}")
    return {"versions": written}


_RUN: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "publish": _publish,
    "fetch": _fetch,
    "list": _list,
    "pin": _pin,
    "gc": _gc,
    "verify": _verify,
    "lineage": tell,
    "repository": _repository,
}


def _triton(folder: Path, version: str) -> int:
    if not version.isdecimal() or int(version) < 1:
        raise CtgiError(
            f"{folder}: its version is {version!r}, and Triton's are whole numbers from 1; publish it, "
            "and fetch it with the number that it gets"
        )
    return int(version)


def _number(version: str) -> int:
    if not version.isdecimal() or int(version) < 1:
        raise CtgiError(f"version {version!r}: a whole number from 1 is wanted here")
    return int(version)


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _megabytes(what: str) -> Callable[[int, int], None]:
    from ctgi.cli.progress import counter

    show = counter(what, "MB")
    return lambda done, total: show(done // 1_000_000, total // 1_000_000)
