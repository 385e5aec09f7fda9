"""What a query says about each facet: read once, by rules or by a language model, then only arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctgi.interaction.dossier import Facet


@dataclass(frozen=True, eq=False)
class Said:
    """One thing that a text says.

    Attributes:
        facet: place in the list of facets that the text was read for.
        weights: float32 (V_f,), how well each value agrees with what is said: 1 fits, 0 does not; the last,
            "cannot tell", is always 0. "no hat" has 1 at "none"; "not a red one" has 0 at "red" alone.
        doubt: from 0, stated plainly, to 1, worth nothing ("maybe", "I think").
        negated: whether the text says that something is not so.
        words: the text's own words.
    """

    facet: int
    weights: NDArray[np.float32]
    doubt: float = 0.0
    negated: bool = False
    words: str = ""


@dataclass(frozen=True, eq=False)
class Reading:
    """All that a text says, at most one `Said` a facet."""

    says: tuple[Said, ...] = ()

    def about(self, facet: int) -> Said | None:
        """What is said about a facet, or None."""
        return next((said for said in self.says if said.facet == facet), None)


def read_query(text: str, facets: Sequence[Facet]) -> Reading:
    """Read a text by word lists: the same on every machine, and needs no model."""
    from ctgi.interaction.vocabulary import default_vocabulary

    return default_vocabulary().read(text, tuple(facets))
