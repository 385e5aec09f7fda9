"""What captioning a list of pictures would cost, before a single call is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ctgi.captioning.pool import QuestionPool, default_pool
from ctgi.captioning.reconstructor import Reconstructor
from ctgi.captioning.sent_picture import LONGEST_SIDE
from ctgi.captioning.summary import INTERVIEWS
from ctgi.captioning.transcript import Transcript, read_transcript
from ctgi.mllm.prompt import Prompt

# Rough figures for English and for replies of one short sentence; records of an earlier run replace them.
_CHARACTERS_PER_TOKEN = 4.0
_TURN_OVERHEAD = 5  # tokens of the chat template, by message
_CAPTION_TOKENS, _ANSWER_TOKENS, _RECONSTRUCTED_TOKENS = 30, 14, 110
_SAMPLE = 64


@dataclass(frozen=True)
class Prices:
    """Per million tokens, in whatever currency; a model of one's own costs 0."""

    prompt: float = 0.0
    completion: float = 0.0

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """The price of so many tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


@dataclass(frozen=True)
class Estimate:
    """``pictures`` given, ``todo`` without a record; calls and tokens for those, at the most.

    ``measured`` says that tokens come from records of an earlier run rather than from rules of thumb. Prompt
    tokens are counted in every turn they are sent in, as servers bill them. ``cost`` is None without prices.
    """

    pictures: int
    todo: int
    calls: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    measured: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Tokens:
    """Mean tokens of one picture's interview.

    ``prompt`` is what is sent over all turns, as servers bill it; ``fresh`` is the part that no former turn
    has sent, which is what a server with prefix caching still has to compute.
    """

    prompt: float
    fresh: float
    completion: float


def picture_tokens(width: int, height: int) -> int:
    """Tokens of a picture in Qwen2-VL: one for 28x28 pixels, at least 4 (arXiv:2409.12191, Sec. 2.1)."""
    scale = min(1.0, LONGEST_SIDE / max(width, height, 1))
    return max(4, math.ceil(width * scale / 28) * math.ceil(height * scale / 28))


def estimate_captioning(
    pictures: Sequence[Path],
    out: Path,
    *,
    rounds: int = 6,
    pool: QuestionPool | None = None,
    reconstructor: Reconstructor | None = None,
    recipe: str | None = None,
    model: str | None = None,
    prices: Prices | None = None,
    reconstructor_prices: Prices | None = None,
) -> Estimate:
    """Calls, tokens and cost of :func:`ctgi.captioning.run.caption_pictures` on these pictures.

    Records under ``out`` are taken off (with ``recipe``: only those of that recipe) and tell the tokens a
    picture takes (with ``model``: only those of that model). ``reconstructor`` None or the composer makes no
    calls. Reads files, calls nobody.
    """
    from ctgi.captioning.composer import Composer
    from ctgi.datasets.pictures import picture_id

    pool = pool or default_pool()
    asks = reconstructor is not None and not isinstance(reconstructor, Composer)
    ids: set[str] = set()
    for path in pictures:
        try:
            ids.add(picture_id(Path(path).read_bytes()))
        except OSError:
            continue  # the run will skip it
    records = [record for key in sorted(ids) if (record := read_transcript(Path(out) / INTERVIEWS, key))]
    done = [record for record in records if recipe is None or record.recipe == recipe]
    todo = len(ids) - len(done)
    rounds = min(rounds, len(pool))
    by_rule = interview_tokens(_mean_picture(pictures), rounds, pool)
    telling = [record for record in records if model is None or record.model == model]
    per_picture = measured_tokens(telling, by_rule) if telling else by_rule
    calls = {"describe": todo, "answer": todo * rounds}
    written = (0.0, 0.0)
    if asks:
        calls["reconstruct"] = todo
        written = reconstruction_tokens(rounds, pool)
    cost = None
    if prices is not None or (asks and reconstructor_prices is not None):
        cost = todo * (prices or Prices()).cost(per_picture.prompt, per_picture.completion)
        cost += todo * (reconstructor_prices or Prices()).cost(*written)
    return Estimate(
        pictures=len(pictures),
        todo=todo,
        calls=calls,
        prompt_tokens=round(todo * (per_picture.prompt + written[0])),
        completion_tokens=round(todo * (per_picture.completion + written[1])),
        cost=cost,
        measured=bool(telling),
    )


def measured_tokens(records: Sequence[Transcript], by_rule: Tokens) -> Tokens:
    """The means of records; their fresh part, which they do not tell, in the proportion of the rule."""
    count = len(records)
    prompt = sum(record.prompt_tokens for record in records) / count
    return Tokens(
        prompt,
        prompt * by_rule.fresh / by_rule.prompt,
        sum(record.completion_tokens for record in records) / count,
    )


def reconstruction_tokens(rounds: int, pool: QuestionPool) -> tuple[float, float]:
    """Tokens that a chat reconstructor is sent and writes for one picture, by rule of thumb."""
    prompt = len(Prompt.load("reconstruct").text) / _CHARACTERS_PER_TOKEN
    dialogue = _CAPTION_TOKENS + rounds * (_ANSWER_TOKENS + 2 * _question_tokens(pool))
    return prompt + dialogue, float(_RECONSTRUCTED_TOKENS)


def _question_tokens(pool: QuestionPool) -> float:
    mean = sum(len(question.question) for question in pool) / len(pool)
    return mean / _CHARACTERS_PER_TOKEN


def interview_tokens(picture: float, rounds: int, pool: QuestionPool) -> Tokens:
    """One interview about a picture of so many tokens, by rule of thumb.

    Every turn sends all former turns again, so the last turn's prompt holds each fresh token once.
    """
    template = len(Prompt.load("answer").text) / _CHARACTERS_PER_TOKEN - 2
    first = len(Prompt.load("system").text + Prompt.load("describe").text) / _CHARACTERS_PER_TOKEN
    prompt = first + picture + 2 * _TURN_OVERHEAD
    total, said = prompt, float(_CAPTION_TOKENS)
    for _ in range(rounds):
        prompt += said + _question_tokens(pool) + template + 2 * _TURN_OVERHEAD
        total += prompt
        said = float(_ANSWER_TOKENS)
    return Tokens(total, prompt, _CAPTION_TOKENS + rounds * float(_ANSWER_TOKENS))


def _mean_picture(pictures: Sequence[Path]) -> float:
    """Mean tokens of a sample of the pictures, read from their headers."""
    step = max(1, len(pictures) // _SAMPLE)
    sizes = []
    for path in list(pictures)[::step]:
        try:
            with Image.open(path) as image:
                sizes.append(picture_tokens(*image.size))
        except Exception:  # hostile bytes; the run will say so
            continue
    return sum(sizes) / len(sizes) if sizes else 70.0  # 384x128
