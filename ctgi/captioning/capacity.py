"""How long, how much and how large captioning a set is: arithmetic from tokens and rates, nobody is called.

A picture takes ``fresh / prompt_rate + completion / completion_rate`` seconds of a replica, unless its
pictures a second were measured. What is a default here is a published figure or an assumption;
`docs/scaling.md` says which, and where from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ctgi.captioning.estimate import Prices, Tokens

#: Tokens a second of one replica: Qwen2.5-VL-7B on vLLM, from two published benchmarks.
PROMPT_RATE, COMPLETION_RATE = 17_900.0, 400.0
#: Of a server's own rate; the pipeline's measured share is in docs/scaling.md.
EFFICIENCY = 0.95
#: Seconds from asking for a replica to its first answer (assumed): image, weights, warm-up.
START_UP = 300.0
#: Seconds of one core that a caption process needs for a call (measured), and so the replicas it can feed.
CLIENT_SECONDS = 0.0039
#: Bytes a picture leaves behind: its interview, its replies in the cache and its row of captions.parquet (all
#: measured), its vector (float32) and its dossier (the bound it keeps to).
INTERVIEW_BYTES, REPLY_BYTES, CAPTION_BYTES, DOSSIER_BYTES = 2050, 530, 160, 2000
_FLOAT32 = 4


@dataclass(frozen=True)
class Replica:
    """One server of the language model.

    Rates are tokens a second; ``pictures_per_second``, where it was measured, takes their place.
    ``hour`` is the price of a GPU for an hour, in whatever currency.
    """

    prompt_rate: float = PROMPT_RATE
    completion_rate: float = COMPLETION_RATE
    pictures_per_second: float | None = None
    gpus: int = 1
    hour: float = 0.0

    def rate(self, tokens: Tokens) -> float:
        """Pictures a second, with all its time put to use."""
        if self.pictures_per_second is not None:
            return self.pictures_per_second
        return 1 / (tokens.fresh / self.prompt_rate + tokens.completion / self.completion_rate)


@dataclass(frozen=True)
class Run:
    """Captioning so many pictures with so many replicas.

    ``seconds`` is wall time with the replicas' start; ``gpu_hours`` are paid from their start to their end.
    ``processes`` is how many `ctgi caption` (or pipeline shards) keep the replicas busy, one core each.
    """

    pictures: int
    replicas: int
    pictures_per_second: float
    seconds: float
    gpu_hours: float
    gpu_cost: float
    reconstructor_cost: float
    processes: int

    @property
    def cost(self) -> float:
        """GPUs and the reconstructor's tokens together."""
        return self.gpu_cost + self.reconstructor_cost


def plan_run(
    pictures: int,
    replicas: int,
    tokens: Tokens,
    calls: int,
    replica: Replica,
    reconstructor: Prices | None = None,
    reconstruction: tuple[float, float] = (0.0, 0.0),
) -> Run:
    """Time and cost of one run.

    Args:
        tokens, calls: of one picture's interview.
        reconstructor, reconstruction: prices, and tokens sent and written for one picture.
    """
    rate = replicas * replica.rate(tokens) * EFFICIENCY
    seconds = pictures / rate + START_UP
    gpu_hours = seconds * replicas * replica.gpus / 3600
    return Run(
        pictures=pictures,
        replicas=replicas,
        pictures_per_second=rate,
        seconds=seconds,
        gpu_hours=gpu_hours,
        gpu_cost=gpu_hours * replica.hour,
        reconstructor_cost=pictures * (reconstructor or Prices()).cost(*reconstruction),
        processes=math.ceil(rate * calls * CLIENT_SECONDS),
    )


def storage(pictures: int, calls: int, picture_bytes: float, dimensions: int) -> dict[str, float]:
    """Bytes by what they are for: the pictures themselves, and what captioning and indexing leave behind."""
    return {
        "pictures": pictures * picture_bytes,
        "interviews": pictures * float(INTERVIEW_BYTES),
        "replies": pictures * float(calls * REPLY_BYTES),
        "captions": pictures * float(CAPTION_BYTES),
        "vectors": pictures * float(dimensions * _FLOAT32),
        "dossiers": pictures * float(DOSSIER_BYTES),
    }
