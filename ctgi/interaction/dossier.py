"""What pictures said of themselves when they were enrolled: for every facet a distribution over its values.

A facet is one thing that can be asked, such as the colour of the upper garment. Its last value is always
"cannot tell"; that there is no such thing ("none") is a value like any other. Dossiers are arrays: what is
done with a hundred thousand of them is done with all at once.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctgi.errors import CtgiError

CANNOT_TELL = "cannot tell"
# Pictures that each value is counted in before any has been seen, so that a value that no picture of a small
# gallery shows is rare and not impossible.
_COUNTED_BEFORE = 0.5


@dataclass(frozen=True)
class Facet:
    """One thing that can be asked: ("upper", "colour", ("black", …, "cannot tell"))."""

    topic: str
    name: str
    values: tuple[str, ...]

    @property
    def key(self) -> str:
        """Its name for people and files: "upper/colour"."""
        return f"{self.topic}/{self.name}"


@dataclass(frozen=True)
class Answer:
    """What a picture answered to the question about one topic, word for word."""

    topic: str
    text: str
    probability: float | None
    """The model's own probability of the whole text; None where its server gave none."""


@dataclass(frozen=True, eq=False)
class Dossiers:
    """The dossiers of N pictures. A picture that was not asked says "cannot tell" to everything.

    Attributes:
        facets: F facets.
        ids: N picture ids.
        probability: one float32 (N, V_f) a facet, rows sum to 1; the last column is "cannot tell".
        model, prompt_version: who answered, to which questions; where pictures differ, the newest.
        said: per picture the answers as they are stored (`dossier_store.packed_answers`); may be empty.
        recipes, recipe: every (model, prompt version) there is, and int64 (N,) which a picture was asked
            with, -1 for a picture that was not asked. Empty: all were asked with `model`, `prompt_version`.
        prior: one float64 (V_f - 1,) a facet, how common each value is, "cannot tell" left aside; by default
            that of these pictures.
    """

    facets: tuple[Facet, ...]
    ids: tuple[str, ...]
    probability: tuple[NDArray[np.float32], ...]
    model: str = ""
    prompt_version: str = ""
    said: tuple[bytes, ...] = ()
    recipes: tuple[tuple[str, str], ...] = ()
    recipe: NDArray[np.int64] | None = None
    given_prior: tuple[NDArray[np.float64], ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        shapes = [table.shape for table in self.probability]
        if shapes != [(len(self.ids), len(facet.values)) for facet in self.facets]:
            raise CtgiError(
                f"dossiers of {len(self.ids)} pictures and {len(self.facets)} facets got arrays of {shapes}"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _row(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.ids)}

    @cached_property
    def prior(self) -> tuple[NDArray[np.float64], ...]:
        """How common each value of each facet is among the pictures that could tell."""
        if self.given_prior is not None:
            return self.given_prior
        return tuple(
            _shares(table[:, :-1].sum(axis=0, dtype=np.float64) + _COUNTED_BEFORE)
            for table in self.probability
        )

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """int64 (n,), the row of each id; -1 for a picture that has no dossier."""
        row = self._row
        return np.fromiter((row.get(name, -1) for name in ids), np.int64, len(ids))

    def take(self, rows: NDArray[np.int64]) -> Dossiers:
        """The dossiers of some rows, in their order, with the prior of all. Row -1 is a picture that was not
        asked (its id is empty)."""
        there = rows >= 0
        everybody = bool(there.all())
        tables = []
        for table in self.probability:
            if everybody:
                part = table.take(rows, axis=0)
            else:
                part = np.zeros((len(rows), table.shape[1]), np.float32)
                part[there] = table[rows[there]]
                part[~there, -1] = 1.0
            tables.append(part)
        recipe = None
        if self.recipe is not None:
            recipe = np.where(there, self.recipe[rows], -1)
        numbers = rows.tolist()
        return replace(
            self,
            ids=tuple(self.ids[row] if row >= 0 else "" for row in numbers),
            probability=tuple(tables),
            said=tuple(self.said[row] if row >= 0 else b"" for row in numbers) if self.said else (),
            recipe=recipe,
            given_prior=self.prior,
        )

    def of(self, ids: Sequence[str]) -> Dossiers:
        """The dossiers of these pictures in this order, such as a gallery's; who has none cannot tell."""
        return replace(self.take(self.rows(ids)), ids=tuple(ids))

    def answers(self, picture: str) -> tuple[Answer, ...]:
        """What a picture answered, by topic in the order of asking; empty where nothing is stored.

        Raises CtgiError where the stored answers are damaged.
        """
        row = self._row.get(picture, -1)
        if row < 0 or not self.said or not self.said[row]:
            return ()
        try:
            said = json.loads(zlib.decompress(self.said[row]))
        except (zlib.error, ValueError) as error:
            raise CtgiError(
                f"the dossier of {picture} is damaged ({error}); ask the picture again"
            ) from error
        return tuple(Answer(topic, text, p) for topic, (text, p) in said.items())

    def stale(self, model: str, prompt_version: str) -> tuple[str, ...]:
        """Ids of the pictures whose dossier is of another model or prompt, or that were never asked."""
        if self.recipe is None:
            same = (self.model, self.prompt_version) == (model, prompt_version)
            return () if same else self.ids
        fresh = [number for number, made in enumerate(self.recipes) if made == (model, prompt_version)]
        return tuple(self.ids[row] for row in np.flatnonzero(~np.isin(self.recipe, fresh)))

    @staticmethod
    def load(path: Path | str) -> Dossiers:
        """The dossiers kept at `path`. Raises CtgiError where there are none or the file is damaged."""
        from ctgi.interaction.dossier_store import DossierStore

        with DossierStore(path, must_exist=True) as store:
            return store.read()

    def save(self, path: Path | str) -> None:
        """Add these dossiers to those kept at `path`, or replace them there."""
        from ctgi.interaction.dossier_store import DossierStore

        with DossierStore(path) as store:
            store.put_all(self)


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares
