"""Let go of old releases, by a policy, and of what killed publishers left."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ctgi.errors import CtgiError
from ctgi.storage.manifest import DATA, Manifest, check_name, manifest_key
from ctgi.storage.releases import pins, versions
from ctgi.storage.store import CHECKS, Entry, Store


@dataclass(frozen=True)
class Policy:
    """A version goes if it is neither among the newest, nor pinned, nor young.

    Attributes:
        keep_last: how many of the highest numbers stay; at least 1.
        older_than: what was published later stays.
        grace: objects without a manifest go when nothing was written beside them for so long; it must exceed
            the time that publishing takes.
    """

    keep_last: int = 5
    older_than: timedelta = timedelta(days=30)
    grace: timedelta = timedelta(days=1)

    def __post_init__(self) -> None:
        if self.keep_last < 1 or self.older_than < timedelta() or self.grace < timedelta():
            raise CtgiError(
                f"to keep the last {self.keep_last}, and what is younger than {self.older_than}: keep at "
                "least the last version, and name no negative ages"
            )


@dataclass(frozen=True)
class Collected:
    """What went, or would go.

    Attributes:
        versions: of the release.
        leftovers: prefixes and uploads that no release refers to.
        size: bytes of the objects.
        kept: every version that stays, and why.
    """

    versions: tuple[int, ...]
    leftovers: tuple[str, ...]
    size: int
    kept: dict[int, str]


def collect(
    store: Store,
    name: str,
    policy: Policy | None = None,
    *,
    dry_run: bool = True,
    now: datetime | None = None,
) -> Collected:
    """Apply the policy to `name`. Nothing is deleted unless `dry_run` is false.

    A manifest goes before its objects, so that no reader finds a release with holes; who is fetching it at
    that moment gets an error that says so. Interrupted, the rest goes with the next call.

    Raises:
        CtgiError: the store fails.
    """
    policy, now = policy or Policy(), now or datetime.now(UTC)
    check_name(name)
    there = versions(store, name)
    pinned = pins(store, name)
    kept: dict[int, str] = {}
    going: list[Manifest] = []
    newest = {manifest.version for manifest in there[-policy.keep_last :]}
    for manifest in there:
        age = now - datetime.fromisoformat(manifest.published)
        labels = [label for label, version in pinned.items() if version == manifest.version]
        if labels:
            kept[manifest.version] = f"pinned as {', '.join(labels)}"
        elif manifest.version in newest:
            kept[manifest.version] = f"among the last {policy.keep_last}"
        elif age < policy.older_than:
            kept[manifest.version] = f"{age.days} days old"
        else:
            going.append(manifest)
    if not dry_run:
        going = [manifest for manifest in going if _withdraw(store, manifest, kept)]
    size = 0
    gone = {manifest.prefix for manifest in going}
    staying = {manifest.prefix for manifest in versions(store, name)} - gone
    leftovers = []
    for prefix, entries in sorted(_by_prefix(store, name).items()):
        if prefix in staying:
            continue
        if prefix not in gone:
            if max(entry.modified for entry in entries) > now - policy.grace:
                continue  # somebody may be publishing
            leftovers.append(prefix)
        size += sum(entry.size for entry in entries)
        if not dry_run:
            for entry in entries:
                store.delete(entry.key)
    for entry in store.list(f"{CHECKS}/"):
        if entry.modified <= now - policy.grace:
            leftovers.append(entry.key)
            size += entry.size
            if not dry_run:
                store.delete(entry.key)
    for half, remove in store.abandoned(policy.grace):
        if half.startswith(f"{DATA}/{name}/"):
            leftovers.append(half)
            if not dry_run:
                remove()
    return Collected(tuple(manifest.version for manifest in going), tuple(leftovers), size, kept)


def _withdraw(store: Store, manifest: Manifest, kept: dict[int, str]) -> bool:
    """Take the manifest away, unless a pin came meanwhile: then it is put back."""
    key = manifest_key(manifest.name, manifest.version)
    store.delete(key)
    labels = [label for label, version in pins(store, manifest.name).items() if version == manifest.version]
    if labels:
        store.put(key, manifest.encode())
        kept[manifest.version] = f"pinned as {', '.join(labels)}"
    return not labels


def _by_prefix(store: Store, name: str) -> dict[str, list[Entry]]:
    """The objects of every release of `name`, published or not."""
    found: dict[str, list[Entry]] = {}
    for entry in store.list(f"{DATA}/{name}/"):
        found.setdefault("/".join(entry.key.split("/")[:3]), []).append(entry)
    return found
