"""What judging by dossiers costs on a gallery of 100,000, in units of the plain search of the same gallery.

Encoders are left out of both sides: the text vectors are made before. What is timed is everything else of a
search with the judge "dossier": the plain search, reading the query by rules, judging, the anchors' answers,
writing the refined queries, and one batch of searches with the fused vectors.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.measure import Ratio, side_by_side
from ctgi.captioning.composer import Composer
from ctgi.captioning.pool import default_pool
from ctgi.gallery.index import Gallery
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.dossier import Answer, Dossiers
from ctgi.interaction.dossier_store import DOSSIERS, DossierStore, packed_answers
from ctgi.interaction.mti import MTI
from ctgi.interaction.reading import read_query
from ctgi.interaction.soft import log_likelihood
from ctgi.interaction.vocabulary import default_facets

COUNT, DIM, REPEATS = 100_000, 512, 9
QUERY = (
    "A woman with long black hair in a crimson jacket and blue jeans, a rucksack and trainers, no hat, "
    "maybe glasses."
)
ANSWERS = {
    "gender": "The person is a woman.",
    "hair": "The person has long black hair.",
    "upper": "The person wears a red jacket.",
    "cut": "The jacket is striped and has long sleeves.",
    "logo": "There is no logo on the chest.",
    "lower": "The person wears blue jeans.",
    "shoes": "The person wears white sneakers.",
    "bag": "The person carries a green backpack.",
    "hat": "The person wears no hat.",
    "glasses": "The person wears no glasses.",
    "scarf": "The person wears a pink scarf.",
    "held": "The person holds a phone.",
    "action": "The person is walking.",
}


def measure(out: Path) -> list[Ratio]:
    """The dossier judge (K 200) with 1 and 5 anchors against the plain search; loading; the whole gallery."""
    rng = np.random.default_rng(0)
    vectors = _unit(rng.standard_normal((COUNT, DIM), dtype=np.float32))
    ids = [f"{number:064x}" for number in range(COUNT)]
    facets = default_facets()
    tables = tuple(rng.dirichlet(np.full(len(f.values), 0.2), COUNT).astype(np.float32) for f in facets)
    said = packed_answers(Answer(topic, text, 0.9) for topic, text in ANSWERS.items())
    with tempfile.TemporaryDirectory() as folder:
        gallery = Gallery.create(Path(folder) / "gallery", "benchmark", DIM)
        gallery.upsert(ids, vectors, [{"path": ""}] * COUNT)
        place = gallery.path / DOSSIERS
        Dossiers(facets, tuple(ids), tables, "m", "p", (said,) * COUNT).save(place)
        with DossierStore(place) as store:
            size = store.bytes_per_picture()
        start = time.perf_counter()
        dossiers = Dossiers.load(place)
        loading = time.perf_counter() - start
        dossiers.rows(ids[:1]), dossiers.prior  # noqa: B018  (made once, when a search service starts)
        query = _unit(rng.standard_normal((1, DIM), dtype=np.float32))[0]
        ratios = []
        for m in (1, 5):
            search, stages = _search(gallery, dossiers, query, rng, m)
            ours, plain = side_by_side(search, lambda: gallery.search(query[None], 200), REPEATS)
            facts = {"beyond_ms": 1000 * (ours - plain), "stages_ms": stages}
            ratios.append(
                Ratio(
                    f"dossiers, K 200, {m} anchors, {COUNT:,} pictures, against plain search",
                    ours,
                    plain,
                    facts=facts,
                )
            )
        reading = read_query(QUERY, facets)
        whole, plain = side_by_side(
            lambda: log_likelihood(dossiers, reading, MTIConfig()),
            lambda: gallery.search(query[None], 200),
            REPEATS,
        )
        facts = {"details": len(reading.says), "load_seconds": loading, "bytes_a_picture": size}
        ratios.append(
            Ratio(f"log-likelihood of all {COUNT:,}, against plain search", whole, plain, facts=facts)
        )
    for ratio in ratios:
        print(f"  {ratio.name}: {dict(ratio.facts)}")
    return ratios


def _search(
    gallery: Gallery, dossiers: Dossiers, query: np.ndarray, rng: np.random.Generator, m: int
) -> tuple[Callable[[], object], dict[str, float]]:
    """A search to be timed, and the median milliseconds of its stages, which it fills as it runs."""
    refined = _unit(query + 0.05 * rng.standard_normal((m, DIM), dtype=np.float32))
    config = MTIConfig(judge="dossier", k=200, m=m, scale="cosine", xi=2.0)
    pool = default_pool()
    mti = MTI(
        lambda texts: refined[: len(texts)],
        gallery,
        None,
        lambda _: b"",
        pool,
        Composer(pool),
        config,
        dossiers=dossiers,
    )
    taken: dict[str, list[float]] = {}
    stages: dict[str, float] = {}

    def search() -> object:
        outcome = asyncio.run(mti.search(QUERY, query))
        assert outcome.stop_reason == "refined" and len(outcome.anchors) == m and outcome.calls == 0
        for stage, seconds in outcome.seconds.items():
            taken.setdefault(stage, []).append(1000 * seconds)
            stages[stage] = round(statistics.median(taken[stage]), 2)
        return outcome

    return search, stages


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
