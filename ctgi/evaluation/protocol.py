"""What is measured: a split's queries against its pictures, with and without MTI.

Every caption of the split is a query, every picture is in the gallery (the protocol of the published tables).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from ctgi.captioning.sent_picture import sent_picture
from ctgi.datasets.annotations import Sample
from ctgi.datasets.pictures import picture_id, read_picture
from ctgi.errors import CtgiError
from ctgi.evaluation.metrics import Evaluation, evaluate, evaluate_scores
from ctgi.gallery.index import Hits
from ctgi.gallery.scan import top_k
from ctgi.interaction.batch import run_queries
from ctgi.interaction.mti import MTI, SearchOutcome

BATCH = 64


class Encoders(Protocol):
    """Texts and pictures to float32 (N, D) of unit norm."""

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]: ...

    def encode_pictures(self, pictures: Sequence[Image]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Split:
    """Queries and gallery of a split, embedded. Q queries, G pictures.

    `texts` (Q,), `wanted` int64 (Q,) identities, `text_vectors` float32 (Q, D); `paths` (G,), `ids` (G,)
    picture ids, `owned` int64 (G,), `picture_vectors` float32 (G, D).
    """

    texts: tuple[str, ...]
    wanted: NDArray[np.int64]
    text_vectors: NDArray[np.float32]
    paths: tuple[Path, ...]
    ids: tuple[str, ...]
    owned: NDArray[np.int64]
    picture_vectors: NDArray[np.float32]

    def search(self, vectors: NDArray[np.float32], k: int) -> Hits:
        """Top k as a gallery answers; of pictures that are the same file each counts."""
        scores, rows = top_k(self.picture_vectors, vectors, k)
        return Hits(self._names[rows], scores)

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """float32 (n, D) of the pictures with these ids."""
        return self.picture_vectors[[self._row[name] for name in ids]]

    def picture(self, key: str) -> bytes:
        """The bytes that a chat model is shown for this picture id. Raises CtgiError where it is gone."""
        return self._sent(key)

    @cached_property
    def _sent(self) -> Callable[[str], bytes]:
        """The pictures shown last are at hand: the same one is a candidate of many queries."""
        return lru_cache(512)(lambda key: sent_picture(self._path[key].read_bytes(), str(self._path[key])))

    @cached_property
    def _names(self) -> NDArray[np.object_]:
        names = np.empty(len(self.ids), dtype=object)
        names[:] = self.ids
        return names

    @cached_property
    def _row(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.ids)}

    @cached_property
    def _path(self) -> dict[str, Path]:
        return dict(zip(self.ids, self.paths, strict=True))


def embed_split(
    samples: Sequence[Sample],
    encoders: Encoders,
    *,
    queries: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Split:
    """Embed a split; with `queries`, only so many of its texts, spread evenly over it.

    Raises CtgiError for a picture that cannot be read.
    """
    texts = [(caption, sample.identity) for sample in samples for caption in sample.captions]
    if queries is not None and queries < len(texts):
        texts = [texts[number * len(texts) // queries] for number in range(queries)]
    ids: list[str] = []
    vectors: list[NDArray[np.float32]] = []
    for start in range(0, len(samples), BATCH):
        files = [sample.picture.read_bytes() for sample in samples[start : start + BATCH]]
        named = zip(files, samples[start : start + BATCH], strict=True)
        vectors.append(encoders.encode_pictures([read_picture(f, name=str(s.picture)) for f, s in named]))
        ids += [picture_id(file) for file in files]
        if progress is not None:
            progress(len(ids), len(samples))
    return Split(
        texts=tuple(text for text, _ in texts),
        wanted=np.array([identity for _, identity in texts], dtype=np.int64),
        text_vectors=encoders.encode_texts([text for text, _ in texts]),
        paths=tuple(sample.picture for sample in samples),
        ids=tuple(ids),
        owned=np.array([sample.identity for sample in samples], dtype=np.int64),
        picture_vectors=np.concatenate(vectors),
    )


def evaluate_plain(split: Split) -> Evaluation:
    """The split without MTI."""
    return evaluate(split.text_vectors, split.picture_vectors, split.wanted, split.owned)


async def evaluate_mti(
    split: Split, mti: MTI, concurrency: int, progress: Callable[[int, int], None] | None = None
) -> tuple[Evaluation, list[SearchOutcome]]:
    """The split with MTI: over the whole gallery by each search's own final scores; and what each search did.

    Raises CtgiError where no search at all got an answer from the chat model: that would be a table of
    nothing.
    """
    outcomes = await run_queries(mti, split.texts, concurrency, progress)
    if all(outcome.stop_reason == "model_failed" for outcome in outcomes):
        raise CtgiError(f"the chat model answered none of {len(outcomes)} searches: {outcomes[0].note}")

    def scores(start: int, stop: int) -> NDArray[np.float32]:
        return np.stack([o.scores(split.picture_vectors, split.ids) for o in outcomes[start:stop]])

    return evaluate_scores(scores, split.wanted, split.owned), outcomes


def top1(split: Split) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Each query's best cosine (Q,) and whether that picture is right (Q,), to fit a calibration on."""
    scores, rows = top_k(split.picture_vectors, split.text_vectors, 1)
    return scores[:, 0].astype(np.float64), split.owned[rows[:, 0]] == split.wanted


def effort(outcomes: Sequence[SearchOutcome]) -> dict[str, Any]:
    """What MTI took: stop reasons, calls, tokens and milliseconds a query (means), and by stage."""
    count = len(outcomes)
    stages: Counter[str] = Counter()
    for outcome in outcomes:
        stages.update(outcome.seconds)
    return {
        "queries": count,
        "stopped": dict(Counter(str(outcome.stop_reason) for outcome in outcomes).most_common()),
        "calls": sum(outcome.calls for outcome in outcomes) / count,
        "cached": sum(outcome.cached for outcome in outcomes) / count,
        "abandoned": sum(outcome.abandoned for outcome in outcomes) / count,
        "prompt_tokens": sum(outcome.prompt_tokens for outcome in outcomes) / count,
        "completion_tokens": sum(outcome.completion_tokens for outcome in outcomes) / count,
        "judged": sum(len(outcome.judged) for outcome in outcomes) / count,
        "ms": {stage: 1000.0 * seconds / count for stage, seconds in stages.items()},
    }
