"""From a reply to a statement: what an answer says, as a sentence that stands without its question."""

from __future__ import annotations

import re

from ctgi.captioning.lexicon import phrase, plurals, words
from ctgi.captioning.questions import Question

_YES = re.compile(r"^(?:yes|yeah|yep|correct|indeed|sure)\b[\s,.:;!-]*", re.IGNORECASE)
_NO = re.compile(r"^(?:no|nope)[,.:;!]\s*", re.IGNORECASE)
_NOTHING = frozenset(("no", "nope", "none", "nothing", "not any", "n/a"))
_VERBS = frozenset(
    "is are was were has have had wears wear carries carry holds hold seems appears looks look it's he's "
    "she's they're there's isn't aren't doesn't features shows covers reaches falls runs walks stands sits "
    "waves rides does can cannot can't".split()
)
_PARTICIPLE = re.compile(r"^(?:\w+ly )?(?!hoodie|nothing|clothing|something)\w+ing\b", re.IGNORECASE)


def statement(question: Question, answer: str) -> str:
    """The answer as one or more sentences: capital letter, full stop, no leading "Yes,".

    A bare "Yes." becomes the question's affirmed sentence; a reply without a verb ("Black boots.") is set
    into the question's frame. A bare "No." or "Nothing." gives an empty text: it says nothing is there.
    """
    text = " ".join(answer.split()).strip(" \"'“”*`")
    if not re.search(r"\w", text) or text.strip(".!,").lower() in _NOTHING:
        return ""
    without = _YES.sub("", text)
    if not without.strip(".!, "):
        return question.affirmed or ""
    text = _NO.sub("", without).strip()
    if not re.search(r"\w", text):
        return ""
    if not is_sentence(text):
        text = _fragment(question, text)
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?" else text + "."


def is_sentence(text: str) -> bool:
    """Whether a text has a finite verb; answers are short, so a word list does."""
    return any(word in _VERBS for word in re.findall(r"[a-z']+", text.lower().replace("’", "'")))


def _fragment(question: Question, text: str) -> str:
    body = text.rstrip(".!? ")
    first = body.split()[0]
    if not (first.isupper() and len(first) > 1):
        body = body[0].lower() + body[1:]
    if _PARTICIPLE.match(body):  # "Carrying a red bag"
        return f"The person is {body}"
    if body in ("man", "woman", "girl", "boy", "lady"):
        body = f"a {body}"
    said = {word.text for word in words(body)}
    named = any(form in said for cue in question.cues for form in plurals(phrase(cue)[-1]))
    frame = question.fragment if named or question.described is None else question.described
    return frame.replace("{answer}", body)
