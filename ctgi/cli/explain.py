"""`ctgi search --explain`: why each of the first hits is one, in words for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctgi.interaction.dossier import Dossiers
    from ctgi.interaction.explain import Detail
    from ctgi.interaction.reading import Reading


def tell_explanations(
    dossiers: Dossiers, reading: Reading, hits: Sequence[tuple[str, str]]
) -> dict[str, list[Any]]:
    """Print what the answers of each hit, given as (id, name), say to the query; the figures by id."""
    from ctgi.interaction.explain import explain

    print("\nwhy")
    if not reading.says:
        print("  the query says nothing that the dossiers know of; similarity alone decided")
        return {}
    figures: dict[str, list[Any]] = {}
    for rank, (key, name) in enumerate(hits, start=1):
        details = explain(dossiers, key, reading)
        figures[key] = list(details)
        print(f"{rank:>3}  {name}")
        for verdict, title in _TITLES.items():
            for detail in (one for one in details if one.verdict == verdict):
                print(f"       {title:<12} {_line(detail)}")
    return figures


# Verdict -> what people read; what speaks against a hit stands before what nobody could see.
_TITLES = {"supports": "fits", "contradicts": "contradicts", "unseen": "not seen"}


def _line(detail: Detail) -> str:
    doubted = ", said with doubt" if detail.doubt >= 0.3 else ""
    if detail.verdict == "unseen":
        said = f'its answer: "{detail.answer}"' if detail.answer else "it was not asked"
        return f"“{detail.words}”{doubted}: {said}"
    sure = f"{100 * detail.probability:.0f}% that it fits"
    said = f'; its answer: "{detail.answer}"' if detail.answer else ""
    kind = detail.about.partition("/")[2]
    what = detail.seen if kind == "kind" else f"{kind} {detail.seen}"
    return f"“{detail.words}”{doubted}: {what} ({sure}{said})"
