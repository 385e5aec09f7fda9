"""Doubt in a text: what is said with reserve ("maybe", "I think"), and what not at all ("did not see").

The words of doubt are taken out before the text is read, or the "not" of "not sure" would deny what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ctgi.captioning.lexicon import Word, phrase, words

# What a clause ends with.
_ENDS = frozenset((".", ",", "but", "though", "although"))
# Words after which a clause is not finished.
_OPEN = frozenset(
    "is was are were had has have wore wears wearing carried carries carrying held holds holding with and or "
    "in a an".split()
)
DoubtAt = Callable[[tuple[int, int]], float]


class Doubts:
    """`graded`: phrase -> how much it takes back; `unknown`, `more`: phrases after which nothing is known."""

    def __init__(
        self, graded: Mapping[str, float], unknown: Sequence[str], more: Sequence[tuple[str, ...]]
    ) -> None:
        phrases = {cue: 1.0 for cue in more}
        phrases |= {phrase(text): 1.0 for text in unknown}
        phrases |= {phrase(text): float(amount) for text, amount in graded.items()}
        self._phrases = phrases
        self._longest = max(map(len, phrases))

    def read(self, text: str) -> tuple[str, DoubtAt]:
        """The text with its words of doubt blanked, and how much of what stands at a place is taken back
        (1: nothing is known of it)."""
        said = words(text)
        marks: list[tuple[int, int, float]] = []
        blanked = list(text)
        at = 0
        while at < len(said):
            length, amount = self._phrase(said, at)
            if length:
                begin, end = said[at].start, said[at + length - 1].end
                blanked[begin:end] = " " * (end - begin)
                marks += [(*reach, amount) for reach in _reach(said, at, at + length, unknown=amount == 1.0)]
            at += length or 1

        def doubt_at(place: tuple[int, int]) -> float:
            return max((amount for begin, end, amount in marks if begin <= place[0] < end), default=0.0)

        return "".join(blanked), doubt_at

    def unknowing(self, text: str) -> bool:
        """Whether a text says anywhere that something is not known."""
        said = words(text)
        return any(self._phrase(said, at)[1] == 1.0 for at in range(len(said)))

    def _phrase(self, said: Sequence[Word], at: int) -> tuple[int, float]:
        """How many words of doubt begin here, and how much they take back."""
        for length in range(min(self._longest, len(said) - at), 0, -1):
            amount = self._phrases.get(tuple(word.text for word in said[at : at + length]))
            if amount is not None:
                return length, amount
        return 0, 0.0


def _reach(said: Sequence[Word], begin: int, end: int, *, unknown: bool) -> list[tuple[int, int]]:
    """The stretches of characters that a phrase of doubt, the words [begin, end), speaks about.

    What follows it in its clause; where nothing does ("…, I think."), the clause before it, or, where that is
    unfinished ("it was, I think, a red coat"), the next. "Not visible" speaks about its whole clause.
    """
    stop = _clause_end(said, end)
    start = _clause_start(said, begin)
    if unknown and start < begin:
        return [(said[start].start, said[stop - 1].end)]
    reach = [(said[end].start, said[stop - 1].end)] if stop > end else []
    if reach or begin == 0:
        return reach
    last = begin - 1 if said[begin - 1].text == "," else begin
    if last > 0 and said[last - 1].text in _OPEN and stop < len(said) and said[stop].text == ",":
        following = _clause_end(said, stop + 1)
        return [(said[stop + 1].start, said[following - 1].end)] if following > stop + 1 else []
    first = _clause_start(said, last)
    return [(said[first].start, said[last - 1].end)] if first < last else []


def _clause_end(said: Sequence[Word], at: int) -> int:
    while at < len(said) and said[at].text not in _ENDS:
        at += 1
    return at


def _clause_start(said: Sequence[Word], at: int) -> int:
    while at > 0 and said[at - 1].text not in _ENDS:
        at -= 1
    return at
