"""From a chat completion to a :class:`ChatReply`: text, probability, and the probabilities of the choices."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from ctgi.mllm.chat import ChatReply, Token

# Models end with one of these; its probability is about stopping, not about the answer.
_END = frozenset(
    ("<|im_end|>", "<|endoftext|>", "</s>", "<eos>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "")
)


class UnusableReply(Exception):
    """The server said 200 and sent no chat completion (a proxy's page, an empty list of choices)."""


def parse_reply(
    completion: Any, choices: Sequence[str] | None, seconds: float, *, alternatives: bool = False
) -> ChatReply:
    """Read an ``openai`` ChatCompletion, with ``alternatives`` keep its tokens; raises
    :class:`UnusableReply`."""
    try:
        choice = completion.choices[0]
        said = str(choice.message.content or "").strip()
    except (AttributeError, IndexError, TypeError) as error:
        raise UnusableReply("the reply is no chat completion") from error
    tokens = _tokens(choice)
    usage = getattr(completion, "usage", None)
    picked = match_choice(said, choices) if choices else None
    return ChatReply(
        text=picked or said,
        probability=math.exp(sum(token.logprob for token in tokens)) if tokens else None,
        choice_probabilities=choice_probabilities(tokens, choices) if choices and tokens else None,
        prompt_tokens=int(getattr(usage, "prompt_tokens", 0) or 0),
        completion_tokens=int(getattr(usage, "completion_tokens", 0) or 0),
        seconds=seconds,
        finished=getattr(choice, "finish_reason", None) != "length",
        tokens=tuple(tokens) if alternatives and tokens else None,
    )


def _tokens(choice: Any) -> list[Token]:
    content = getattr(getattr(choice, "logprobs", None), "content", None) or ()
    tokens = [
        Token(
            str(item.token),
            min(0.0, float(item.logprob)),
            tuple((str(other.token), min(0.0, float(other.logprob))) for other in item.top_logprobs or ()),
        )
        for item in content
    ]
    while tokens and tokens[-1].text in _END:
        tokens.pop()
    return tokens


def _plain(text: str) -> str:
    """Lower case without leading marks, as in ``**Yes`` or `` yes``."""
    return re.sub(r"^\W+", "", text.lower())


def match_choice(said: str, choices: Sequence[str]) -> str | None:
    """The choice a free reply begins with (``Yes, she does.`` is yes; ``Nothing`` is not no), or None."""
    plain = _plain(said)
    for choice in sorted(choices, key=len, reverse=True):
        wanted = _plain(choice)
        if wanted and plain.startswith(wanted) and not plain[len(wanted) :][:1].isalnum():
            return choice
    return None


def choice_probabilities(tokens: Sequence[Token], choices: Sequence[str]) -> dict[str, float] | None:
    """P(choice), renormalised over the choices, from the alternatives along the generated text.

    At each place of the text every alternative token either leads to choices or out of all of them. Mass that
    leads to several choices at once is followed along the generated text and shared equally off it. Choices
    that never appear among the alternatives get 0. None when no mass leads to any choice.
    """
    mass = dict.fromkeys(choices, 0.0)
    reached, prefix = 1.0, ""
    for token in tokens:
        alternatives = dict(token.top)
        alternatives[token.text] = token.logprob
        for text, logprob in alternatives.items():
            heading = _heading(prefix + text, choices)
            if text == token.text and (len(heading) > 1 or not _plain(prefix + text)):
                continue  # the text itself goes on to the next place
            for choice in heading if _plain(prefix + text) else ():
                mass[choice] += reached * math.exp(logprob) / len(heading)
        prefix += token.text
        reached *= math.exp(token.logprob)
        heading = _heading(prefix, choices)
        if _plain(prefix) and len(heading) <= 1:
            reached = 0.0
            break
    if reached and (ended := match_choice(prefix, choices)):
        mass[ended] += reached  # the text stopped at a choice that is the beginning of another
    total = sum(mass.values())
    return {choice: value / total for choice, value in mass.items()} if total > 0 else None


def _heading(text: str, choices: Sequence[str]) -> list[str]:
    """The choices that a text beginning like this can still become, or already is."""
    plain = _plain(text)
    open_ = [choice for choice in choices if _plain(choice).startswith(plain.rstrip())]
    if open_:
        return open_
    ended = match_choice(text, choices)
    return [ended] if ended else []
