"""One method on one split: its searches, its evaluation, and what a search of it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctgi.captioning.composer import Composer
from ctgi.captioning.pair_filter import PairFilter
from ctgi.captioning.pool import default_pool
from ctgi.cli.progress import counter
from ctgi.errors import CtgiError
from ctgi.evaluation.metrics import Evaluation
from ctgi.evaluation.protocol import Split, evaluate_mti, evaluate_plain
from ctgi.evaluation.tuning import AXES, Tuned, tune
from ctgi.interaction.calibration import Calibration
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.memory import Memory
from ctgi.interaction.mti import MTI, Index, SearchOutcome
from demo.chat_models import ChatModel, Tally
from demo.interaction.methods import Method
from demo.settings import Settings

#: Pictures that a ranking shows; the evaluation looks at the whole gallery.
DEPTH = 20


@dataclass(frozen=True)
class Bench:
    """A split with what every method is run with on it."""

    split: Split
    dossiers: Dossiers
    encode: Callable[[Sequence[str]], NDArray[np.float32]]
    scale: Calibration
    least: float
    """Least probability of an answer of the live dialogue that is used, as chosen on val."""
    chat: ChatModel
    settings: Settings

    memory: Memory = field(default_factory=Memory)

    def open(
        self,
        method: Method,
        config: MTIConfig,
        client: Any,
        index: Index | None = None,
        memory: Memory | None = None,
    ) -> MTI:
        """MTI with this configuration; ``client`` may be None for methods that make no call."""
        pool = default_pool()
        return MTI(
            self.encode,
            index or self.split,
            client,
            self.split.picture,
            pool,
            Composer(pool),
            config,
            scale=self.scale,
            pair_filter=PairFilter(pool, self.least),
            dossiers=self.dossiers if method.dossiers else None,
            memory=memory,
        )

    def searches(
        self, method: Method, config: MTIConfig, *, counted: bool = True
    ) -> tuple[Evaluation, list[SearchOutcome], Tally | None]:
        """All queries, with replies that are kept; the tally counts tokens as if none had been. Where calls
        are not ``counted``, what other settings found out is not asked again."""
        progress = counter(method.title, "searches")

        async def work() -> tuple[Evaluation, list[SearchOutcome], Tally | None]:
            if config.judge == "dossier":
                loop = self.open(method, config, None, memory=self.memory)
                return *await evaluate_mti(self.split, loop, 1, progress), None
            async with self.chat.client(2 * self.settings.concurrency) as client:
                tally = Tally(client)
                loop = self.open(method, config, tally, memory=None if counted else self.memory)
                found = await evaluate_mti(self.split, loop, self.settings.concurrency, progress)
                return *found, tally

        result, outcomes, tally = asyncio.run(work())
        failed = sum(outcome.stop_reason == "model_failed" for outcome in outcomes)
        if failed:
            raise CtgiError(
                f"{failed} of {len(outcomes)} searches failed: the chat server is gone; run again"
            )
        return result, outcomes, tally

    def alone(self, method: Method, config: MTIConfig, count: int) -> float:
        """Milliseconds that MTI adds to a search that is alone, nothing asked before; median of ``count``."""

        async def work() -> list[SearchOutcome]:
            texts = [self.split.texts[n * len(self.split.texts) // count] for n in range(count)]
            if config.judge == "dossier":
                loop = self.open(method, config, None)
                return [await loop.search(text) for text in [texts[0], *texts]][1:]
            async with self.chat.client(self.settings.concurrency, kept=False) as client:
                loop = self.open(method, config, client)
                return [await loop.search(text) for text in [texts[0], *texts]][1:]

        added = [
            1000 * (o.seconds["total"] - o.seconds["encode"] - o.seconds["search"])
            for o in asyncio.run(work())
        ]
        return float(np.median(added))


def choose(method: Method, bench: Bench) -> Tuned:
    """The method's parameters on val."""
    start = method.config({}, DEPTH)
    axes = {axis: AXES[start.judge][axis] for axis in method.axes}
    return tune(
        start,
        axes,
        lambda config: bench.searches(method, config, counted=False)[0],
        counter(f"choose {method.title}", "settings"),
    )


def measure(method: Method, chosen: Mapping[str, Any], bench: Bench) -> dict[str, Any]:
    """The method on the test queries: its evaluation and its cost a query."""
    from demo.measure import packed

    split = bench.split
    if method.fixed is None:
        nothing = {"calls": 0.0, "tokens": 0.0, "ms": 0.0}
        return {"settings": {}, "result": packed(evaluate_plain(split)), "cost": nothing, "stopped": {}}
    config = method.config(chosen, DEPTH)
    result, outcomes, tally = bench.searches(method, config)
    count = len(outcomes)
    tokens = 0.0 if tally is None else (tally.prompt_tokens + tally.completion_tokens) / count
    stopped: dict[str, int] = {}
    for outcome in outcomes:
        stopped[str(outcome.stop_reason)] = stopped.get(str(outcome.stop_reason), 0) + 1
    return {
        "settings": {"judge": config.judge, **{k: v for k, v in chosen.items()}, **(method.fixed or {})},
        "result": packed(result),
        "cost": {
            "calls": sum(outcome.calls for outcome in outcomes) / count,
            "tokens": tokens,
            "ms": bench.alone(method, config, bench.settings.alone),
        },
        "stopped": stopped,
    }
