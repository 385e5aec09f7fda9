"""What a witness says of themselves: "I was waiting for the tram", "holding my umbrella".

None of it is about the person who is described; read as if it were, it would be held against everybody who
has no umbrella. So it is taken out before a text is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ctgi.captioning.lexicon import Word, words

_WITNESS = frozenset("i we i'm we're i've we've i'd we'd".split())
# Words between the witness and what they did.
_BETWEEN = frozenset("was were am are had have been just also still already only myself all both".split())
_DID = frozenset(
    "standing stood sitting sat walking walked running ran cycling cycled waiting waited crossing crossed "
    "leaning leaned kneeling crouching talking texting dancing jumping climbing".split()
)
_DID_WITH = frozenset(
    "holding held carrying carried wearing wore reading pushing pushed pulling pulled riding rode".split()
)
_OWN = frozenset(("my", "our"))
# Where the witness's own part is over: what follows may be about somebody else.
_OVER = frozenset(
    ". , but though although and when while as then until because for who that he she they someone somebody "
    "was were is had next opposite behind beside with in".split()
)
# Words that begin another thing than the witness's own.
_ANOTHER = frozenset(("a", "an", "the", "his", "her", "their"))


def without_witness(text: str) -> str:
    """The text with what is said of the witness blanked; every other character stays in its place."""
    said, blanked = words(text), list(text)
    for begin, end in _stretches(said):
        first, last = said[begin].start, said[end - 1].end
        blanked[first:last] = " " * (last - first)
    return "".join(blanked)


def _stretches(said: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """The words [begin, end) of each part that is about the witness."""
    for at, word in enumerate(said):
        if word.text in _OWN:
            yield at, _reach(said, at + 1, _OVER | _ANOTHER, most=2)
        elif word.text in _WITNESS:
            did = at + 1
            while did < len(said) and said[did].text in _BETWEEN:
                did += 1
            if did < len(said) and said[did].text in _DID:
                yield at, did + 1
            elif did < len(said) and said[did].text in _DID_WITH:
                yield at, _reach(said, did + 1, _OVER)


def _reach(said: Sequence[Word], at: int, over: frozenset[str], most: int | None = None) -> int:
    """The first place from ``at`` that is no more about the witness."""
    end = len(said) if most is None else min(len(said), at + most)
    return next((place for place in range(at, end) if said[place].text in over), end)
