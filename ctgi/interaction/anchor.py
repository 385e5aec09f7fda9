"""Step 1 of MTI: the anchor, the first of the top K that the language model says fits the query.

The paper judges one candidate after another. Here waves of candidates are judged together and the replies are
read in rank order, so the first "yes" is the same one (docs/adr/0002).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from ctgi.errors import CtgiError
from ctgi.interaction.asking import ModelGone
from ctgi.interaction.budget import BudgetSpent


@dataclass(frozen=True)
class Verdict:
    """Does the picture fit, and the model's own probability of "yes" where the server tells."""

    fits: bool
    probability: float | None = None


@dataclass(frozen=True)
class Judged:
    """A candidate that was judged. `rank` counts from 1; `fits` is None where the call failed."""

    id: str
    rank: int
    score: float
    fits: bool | None
    probability: float | None = None


Judge = Callable[[str], Awaitable[Verdict]]


async def find_anchor(
    candidates: Sequence[tuple[str, float]],
    judge: Judge,
    judged: list[Judged],
    *,
    wave: int,
    first_alone: bool = False,
) -> Judged | None:
    """The first candidate in rank order that `judge` says yes to, or None; see `find_anchors`."""
    found = await find_anchors(candidates, judge, judged, wave=wave, first_alone=first_alone)
    return found[0] if found else None


async def find_anchors(
    candidates: Sequence[tuple[str, float]],
    judge: Judge,
    judged: list[Judged],
    *,
    wave: int,
    first_alone: bool = False,
    most: int = 1,
    another: Callable[[str, Sequence[str]], bool] | None = None,
) -> list[Judged]:
    """The first candidates in rank order that `judge` says yes to, `most` of them.

    `candidates` are (id, score), best first. Everything judged up to the answer is appended to `judged`, so
    it is there even where the search is cut short. With `first_alone` the top candidate has the first wave
    for itself, and a "yes" to it ends the search. `another(id, anchors so far)` says whether a candidate
    shows a person who is none of the anchors; one who is, is no anchor of its own.

    A judgement that fails with CtgiError is passed over. Raises the last such error when as many in a row
    failed as a wave holds, or all of them: then it is the model that is gone, not a picture that is bad; and
    what the judge raises when the budget is spent or the server is gone. Where an anchor was found before
    that, it is returned instead.
    """
    found: list[Judged] = []
    failed_in_a_row = 0
    last_error: CtgiError | None = None
    for start, stop in waves(len(candidates), wave, first_alone):
        calls = [asyncio.ensure_future(judge(picture)) for picture, _ in candidates[start:stop]]
        try:
            for rank, ((picture, score), call) in enumerate(
                zip(candidates[start:stop], calls, strict=True), start + 1
            ):
                try:
                    verdict = await call
                except CtgiError as error:
                    failed_in_a_row, last_error = failed_in_a_row + 1, error
                    judged.append(Judged(picture, rank, score, fits=None))
                    continue
                except (BudgetSpent, ModelGone):
                    if not found:
                        raise
                    return found
                failed_in_a_row = 0
                judged.append(Judged(picture, rank, score, verdict.fits, verdict.probability))
                if verdict.fits and (another is None or another(picture, [one.id for one in found])):
                    found.append(judged[-1])
                    if len(found) == most or (first_alone and rank == 1):
                        return found
        finally:  # what is still under way behind the last anchor is not needed
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        if last_error is not None and failed_in_a_row >= min(wave, len(candidates)) and not found:
            raise last_error
    return found


async def judge_all(
    candidates: Sequence[tuple[str, float]],
    judge: Judge,
    judged: list[Judged],
    *,
    wave: int,
    first_alone: bool = False,
) -> BudgetSpent | ModelGone | None:
    """Every candidate judged, wave by wave, appended to `judged` in rank order; what ended it early, or None.

    With `first_alone` a "yes" to the top candidate is enough. A judgement that fails with CtgiError is passed
    over; where all of a wave fail it is the model that is gone, and the error is raised if nothing was judged
    before.
    """
    for start, stop in waves(len(candidates), wave, first_alone):
        some = candidates[start:stop]
        verdicts = await asyncio.gather(*(judge(name) for name, _ in some), return_exceptions=True)
        ended: BudgetSpent | ModelGone | None = None
        for rank, ((name, score), verdict) in enumerate(zip(some, verdicts, strict=True), start + 1):
            if isinstance(verdict, Verdict):
                judged.append(Judged(name, rank, score, verdict.fits, verdict.probability))
            elif isinstance(verdict, CtgiError):
                judged.append(Judged(name, rank, score, fits=None))
            elif isinstance(verdict, BudgetSpent | ModelGone):
                ended = verdict
            else:
                raise verdict
        if ended is not None:
            return ended
        failed = [verdict for verdict in verdicts if isinstance(verdict, CtgiError)]
        if len(failed) == stop - start == min(wave, len(candidates)):
            if all(one.fits is None for one in judged):
                raise failed[-1]
            return ModelGone(str(failed[-1]))
        if first_alone and judged[0].fits:
            return None
    return None


def waves(count: int, size: int, first_alone: bool) -> Iterator[tuple[int, int]]:
    """Start and stop of each wave over `count` candidates."""
    start = 0
    if first_alone and count:
        yield 0, 1
        start = 1
    while start < count:
        yield start, min(start + size, count)
        start += size
