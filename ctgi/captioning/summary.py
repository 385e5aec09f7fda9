"""What a captioning run did, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ctgi.captioning.progress import Progress
from ctgi.captioning.transcript import Transcript
from ctgi.mllm.ledger import Ledger

PARQUET = "captions.parquet"
INTERVIEWS = "interviews"
REPORT = "report.txt"


@dataclass(frozen=True)
class CaptionSummary:
    """Counts of one run, and of the whole set it leaves behind.

    ``pictures`` are the paths given; ``captioned`` were done now, ``resumed`` before, ``skipped`` not at all
    (``unanswered`` of them because the server was overloaded or too slow),
    ``duplicates`` are further paths of a picture that is in the list. ``rows`` of the Parquet file, the
    ``kept`` and ``dropped`` (by reason) pairs are of the whole set; ``calls`` (paid), ``cached``, tokens and
    ``seconds`` (wall time) of this run; ``ledger`` is by purpose, of the client's whole life.
    """

    pictures: int
    captioned: int
    resumed: int
    skipped: int
    unanswered: int
    duplicates: int
    rows: int
    kept: int
    dropped: dict[str, int]
    calls: int
    cached: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    pictures_per_second: float
    calls_per_second: float
    parquet: Path
    report: Path
    ledger: dict[str, dict[str, float]]

    @staticmethod
    def of(
        progress: Progress, rows: int, pairs: Counter[str], out: Path, ledgers: Sequence[Ledger]
    ) -> CaptionSummary:
        """From the run's progress, the rows written and the pairs by what became of them."""
        joined = Ledger()
        for ledger in ledgers:
            for purpose, account in ledger.accounts.items():
                whole = joined.account(purpose)
                for name, value in asdict(account).items():
                    setattr(whole, name, getattr(whole, name) + value)
        return CaptionSummary(
            pictures=progress.total,
            captioned=progress.captioned,
            resumed=progress.resumed,
            skipped=progress.skipped,
            unanswered=progress.unanswered,
            duplicates=progress.duplicates,
            rows=rows,
            kept=pairs["kept"],
            dropped={reason: pairs[reason] for reason in sorted(pairs) if reason != "kept"},
            calls=progress.calls,
            cached=progress.cached,
            prompt_tokens=progress.prompt_tokens,
            completion_tokens=progress.completion_tokens,
            seconds=progress.elapsed,
            pictures_per_second=progress.pictures_per_second,
            calls_per_second=progress.calls_per_second,
            parquet=out / PARQUET,
            report=out / REPORT,
            ledger=joined.as_dict(),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "parquet": str(self.parquet), "report": str(self.report)}


def summarise(transcripts: Iterable[Transcript]) -> Counter[str]:
    """Pairs by what became of them: ``kept``, or the reason they were dropped for."""
    return Counter(pair.reason or "kept" for transcript in transcripts for pair in transcript.pairs)
