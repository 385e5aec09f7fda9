"""How well the small Qwen2-VL looks: its answers and judgements about people it has never seen.

``python -m demo.models.score`` starts the server on the shipped weights, renders new people, asks every
question and many judgements over the chat protocol, and prints a table. What is right is known from the
renderer; the model sees pixels only.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctgi.captioning.pool import default_pool
from ctgi.mllm.chat import ChatRequest
from ctgi.mllm.client import ChatClient
from ctgi.mllm.messages import judge_messages, picture_message, system_message
from ctgi.mllm.prompt import Prompt
from demo.models.launch import QWEN2VL, running
from demo.pedestrians.attributes import ATTRIBUTES, sample_person
from demo.pedestrians.camera import sample_view
from demo.pedestrians.corruption import corrupt
from demo.pedestrians.descriptions import describe
from demo.pedestrians.language import TOPIC_ATTRIBUTES, answer, parse_answer
from demo.pedestrians.render import render

_SEED = 77_000  # no corpus is rendered from it


@dataclass(frozen=True)
class Seen:
    picture: bytes
    visible: dict[str, str | None]


def unseen(count: int, seed: int = _SEED) -> list[Seen]:
    """Pictures of ``count`` new people, one each, with their visible truth."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        pixels, visible = render(sample_person(rng), sample_view(rng))
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=94)
        result.append(Seen(buffer.getvalue(), visible))
    return result


def roc_auc(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Probability that a true case scores above a false one, ties counted half (Mann-Whitney U)."""
    order = np.unique(scores, return_inverse=True)[1]
    counts = np.bincount(order)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[order]
    positives, negatives = int(truth.sum()), int((~truth).sum())
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


async def score_answers(client: ChatClient, people: list[Seen]) -> dict[str, dict[str, float]]:
    """Every question about every picture as a first turn; per attribute the share of right answers."""
    ask = Prompt.load("answer")
    right = dict.fromkeys(ATTRIBUTES, 0)
    asked = dict.fromkeys(ATTRIBUTES, 0)

    async def one(seen: Seen, topic: str, question: str) -> None:
        text = ask.fill(question=question)
        messages = (system_message(), picture_message(seen.picture, text))
        reply = await client.chat(
            ChatRequest(messages, "answer", ask.version, max_tokens=24, temperature=0.0)
        )
        said = parse_answer(topic, reply.text)
        for attribute in TOPIC_ATTRIBUTES[topic]:
            truth = seen.visible[attribute]
            if truth is not None:
                asked[attribute] += 1
                right[attribute] += said.get(attribute) == truth

    await asyncio.gather(
        *(
            one(seen, question.topic, question.question)
            for seen in people
            for question in default_pool()
            if answer(question.topic, seen.visible) is not None
        )
    )
    return {name: {"right": right[name] / max(asked[name], 1), "asked": asked[name]} for name in ATTRIBUTES}


async def score_judge(client: ChatClient, people: list[Seen], each: int = 4) -> dict[str, float]:
    """p(yes) for true descriptions, for those of somebody else, and for true ones with one detail changed."""
    rng = np.random.default_rng(_SEED + 1)
    cases: list[tuple[Seen, str, str]] = []
    for number, seen in enumerate(people):
        for _ in range(each):
            other = people[(number + int(rng.integers(1, len(people)))) % len(people)].visible
            named = int(rng.integers(3, 7))
            cases.append((seen, "true", describe(seen.visible, rng, named, 0.4).text))
            stranger = describe(other, rng, named, 0.4)
            if any(phrase.holds(seen.visible) is False for phrase in stranger.phrases):
                cases.append((seen, "stranger", stranger.text))
            changed = describe(corrupt(seen.visible, rng, 1), rng, named, 0.4)
            if any(phrase.holds(seen.visible) is False for phrase in changed.phrases):
                cases.append((seen, "one detail", changed.text))

    async def one(seen: Seen, text: str) -> float:
        messages = judge_messages(seen.picture, text)
        request = ChatRequest(
            messages, "judge", Prompt.load("judge").version, max_tokens=4, choices=("yes", "no")
        )
        reply = await client.chat(request)
        return (reply.choice_probabilities or {}).get("yes", float(reply.text == "yes"))

    scores = np.array(await asyncio.gather(*(one(seen, text) for seen, _, text in cases)))
    kinds = np.array([kind for _, kind, _ in cases])

    def against(kind: str) -> float:
        chosen = (kinds == "true") | (kinds == kind)
        return roc_auc(scores[chosen], kinds[chosen] == "true")

    return {
        "auc": against("stranger"),
        "auc_one_detail": against("one detail"),
        "yes_when_true": float((scores[kinds == "true"] > 0.5).mean()),
        "yes_when_stranger": float((scores[kinds == "stranger"] > 0.5).mean()),
        "yes_when_one_detail_differs": float((scores[kinds == "one detail"] > 0.5).mean()),
        "cases": len(cases),
    }


async def score(url: str, model: str, count: int) -> dict[str, Any]:
    """Both scores of the model served at ``url``, on ``count`` unseen people."""
    people = unseen(count)
    async with ChatClient(url, model, concurrency=32) as client:
        attributes = await score_answers(client, people)
        judge = await score_judge(client, people)
    mean = float(np.mean([row["right"] for row in attributes.values()]))
    return {"people": count, "mean": mean, "attributes": attributes, "judge": judge}


def table(result: dict[str, Any]) -> str:
    lines = [f"{'attribute':<14} {'right':>7} {'asked':>6}"]
    lines += [
        f"{name:<14} {row['right']:>7.1%} {row['asked']:>6.0f}" for name, row in result["attributes"].items()
    ]
    judge = result["judge"]
    lines += [
        f"{'mean':<14} {result['mean']:>7.1%}",
        "",
        f"judge over {judge['cases']:.0f} cases, ROC-AUC of true descriptions",
        f"  against a stranger's: {judge['auc']:.4f}",
        f"  against one detail changed: {judge['auc_one_detail']:.4f}",
        f"judge says yes: {judge['yes_when_true']:.1%} when true, "
        f"{judge['yes_when_stranger']:.1%} to a stranger's, "
        f"{judge['yes_when_one_detail_differs']:.1%} when one detail differs",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Score the small Qwen2-VL on people it has never seen.",
        epilog="example: python -m demo.models.score --people 200 --json scores.json",
    )
    parser.add_argument("--model", type=Path, default=QWEN2VL, help="directory of the model")
    parser.add_argument("--people", type=int, default=200, help="how many new people, one picture each")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    given = parser.parse_args()
    if not (given.model / "model.safetensors").is_file() or given.people < 2:
        print(f"--model {given.model}: no model.safetensors there, or --people below 2", file=sys.stderr)
        return 2
    with running(given.model) as url:
        result = asyncio.run(score(url, given.model.resolve().name, given.people))
    print(table(result))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
