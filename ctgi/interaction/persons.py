"""Whether two pictures show one person, as far as their dossiers tell.

Two answers about a facet agree by chance with probability Σ_v π(v)², and surely where they are of one person
and read rightly, so the evidence for one person is the Bayes factor

    r = Σ_v q(v) q'(v) / π(v),         log((1 - ε) r + ε) summed over the facets,

ε the doubt prior: one wrong answer does not make two people. Facets that the query names are left out, for
all candidates agree with it there, and so are those that change from picture to picture.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.reading import Reading, Said
from ctgi.interaction.vocabulary import default_vocabulary


def same_person(
    dossiers: Dossiers, picture: int, other: int, doubt: float, besides: Collection[int] = ()
) -> float:
    """Log-odds that two rows show one person, against two drawn at random; 0 where nothing is known."""
    passing = default_vocabulary().passing
    total = 0.0
    for number, (facet, table, prior) in enumerate(
        zip(dossiers.facets, dossiers.probability, dossiers.prior, strict=True)
    ):
        if number in besides or facet.topic in passing:
            continue
        one, two = (table[row, :-1] + table[row, -1] * prior for row in (picture, other))
        factor = float((one * two / prior).sum())
        total += float(np.log((1.0 - doubt) * factor + doubt))
    return total


def described_by(dossiers: Dossiers, picture: int, reading: Reading) -> Reading:
    """`reading` and, behind it, what the picture's own answers add: the refined query q̂ as a reading.

    What the picture says is taken with the doubt that its dossier has. What changes from picture to picture
    is left out.
    """
    passing = default_vocabulary().passing
    known = {said.facet for said in reading.says}
    added = []
    for number, (facet, table) in enumerate(zip(dossiers.facets, dossiers.probability, strict=True)):
        weights = table[picture].copy()
        hidden, weights[-1] = float(weights[-1]), 0.0
        if number in known or facet.topic in passing or hidden > 0.5:
            continue
        added.append(Said(number, weights / weights.max(), doubt=hidden))
    return Reading((*reading.says, *added))
