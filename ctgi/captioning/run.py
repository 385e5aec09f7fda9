"""Captioning a list of pictures: concurrent, resumable, and paid for once.

A picture is one file's bytes (id: their SHA-256), however many paths it has. Its record
``interviews/<picture_id>.json`` is written whole when it is done, and a run begins by leaving out what has
one. Half-done interviews are covered by the client's reply cache, when it has one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from ctgi.captioning.composer import Composer
from ctgi.captioning.interview import interview, interview_version
from ctgi.captioning.pair_filter import PairFilter
from ctgi.captioning.pool import QuestionPool, default_pool
from ctgi.captioning.printable import printable
from ctgi.captioning.progress import Progress
from ctgi.captioning.reconstructor import ChatReconstructor, Reconstructor
from ctgi.captioning.sent_picture import sent_picture
from ctgi.captioning.summary import INTERVIEWS, PARQUET, REPORT, CaptionSummary, summarise
from ctgi.captioning.transcript import Transcript, read_transcript, write_parquet, write_transcript
from ctgi.datasets.pictures import picture_id
from ctgi.errors import CtgiError
from ctgi.mllm.chat import ChatError
from ctgi.mllm.client import ChatClient

#: So many pictures failing one after another say that it is the server, not the pictures.
_FAILURES_IN_A_ROW = 10


@dataclass(frozen=True)
class PictureItem:
    """One path of a picture list, with the identity where it is known."""

    path: Path
    identity: int | None = None


async def caption_pictures(
    pictures: Sequence[Path | PictureItem],
    out: Path,
    client: ChatClient,
    pool: QuestionPool | None = None,
    reconstructor: Reconstructor | None = None,
    *,
    rounds: int = 6,
    root: Path | None = None,
    pair_filter: PairFilter | None = None,
    in_flight: int | None = None,
    deadline: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> CaptionSummary:
    """Caption every picture; write ``captions.parquet``, ``interviews/*.json`` and ``report.txt`` in ``out``.

    Paths are recorded relative to ``root``. ``in_flight`` interviews run side by side (default: twice the
    client's concurrency, so that the server always has a turn waiting); ``deadline`` is per call, in seconds.
    What is skipped (no picture, refused by the server, or not answered by it) has one line in the report, and
    is tried again by the next run. Records of another recipe (model, prompts, questions, rounds, filter,
    reconstructor) are made anew.

    Raises CtgiError when the server cannot be reached, refuses the key or the model, or fails for many
    pictures in a row; when nothing could be captioned; when ``out`` cannot be written. What was done is kept.
    """
    items = [item if isinstance(item, PictureItem) else PictureItem(Path(item)) for item in pictures]
    if not items:
        raise CtgiError("no pictures to caption; give a folder or a list that has some")
    pool = pool or default_pool()
    run = _Run(
        items,
        Path(out),
        client,
        pool,
        reconstructor or Composer(pool),
        pair_filter or PairFilter(pool),
        rounds,
        root,
        deadline,
        progress,
    )
    return await run.work(in_flight or 2 * client.concurrency)


@dataclass(frozen=True)
class _Job:
    """A picture that is still to be interviewed."""

    item: PictureItem
    data: bytes
    picture_id: str


@dataclass
class _Run:
    """One call of :func:`caption_pictures`: its arguments, then what it has found out so far."""

    items: Sequence[PictureItem]
    out: Path
    client: ChatClient
    pool: QuestionPool
    reconstructor: Reconstructor
    pair_filter: PairFilter
    rounds: int
    root: Path | None
    deadline: float | None
    show: Callable[[Progress], None] | None

    ids: dict[str, str] = field(default_factory=dict)  # picture id -> path as given, in the list's order
    failed: set[str] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)
    in_a_row: int = 0

    def __post_init__(self) -> None:
        self.recipe = recipe(self.client.model, self.pool, self.rounds, self.pair_filter, self.reconstructor)
        self.interviews = self.out / INTERVIEWS
        self.progress = Progress(len(self.items))
        ledgers = [self.client.ledger]
        if isinstance(self.reconstructor, ChatReconstructor):
            ledgers.append(self.reconstructor.client.ledger)
        self.ledgers = list({id(ledger): ledger for ledger in ledgers}.values())
        self.before = self._spent()

    async def work(self, in_flight: int) -> CaptionSummary:
        self.progress.warm_up = max(self.progress.warm_up, in_flight)
        try:
            self.interviews.mkdir(parents=True, exist_ok=True)
            report = open(self.out / REPORT, "w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise CtgiError(f"{self.out}: cannot be written ({error.strerror}); choose another") from error
        with report:
            await self._interview_all(report, in_flight)
        done = [key for key in self.ids if key not in self.failed]
        if not done:
            first = self.reasons[0] if self.reasons else "no picture"
            raise CtgiError(f"no picture could be captioned; the first reason: {first}")
        counts = summarise(self._transcripts(done))
        rows = await asyncio.to_thread(write_parquet, self.out / PARQUET, self._transcripts(done))
        return CaptionSummary.of(self.progress, rows, counts, self.out, self.ledgers)

    def _transcripts(self, ids: Sequence[str]) -> Iterator[Transcript]:
        for key in ids:
            transcript = read_transcript(self.interviews, key)
            if transcript is not None:
                yield transcript

    async def _interview_all(self, report: TextIO, in_flight: int) -> None:
        jobs = self._jobs(report)
        pulling = asyncio.Lock()

        async def worker() -> None:
            while True:
                async with pulling:  # pictures are read one after another, so the first path of two wins
                    job = await anext(jobs, None)
                if job is None:
                    return
                await self._one(job, report)

        workers = [asyncio.create_task(worker()) for _ in range(min(in_flight, len(self.items)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            with contextlib.suppress(RuntimeError):
                await jobs.aclose()

    async def _jobs(self, report: TextIO) -> AsyncGenerator[_Job]:
        """The pictures that need an interview; all others are counted on the way."""
        for item in self.items:
            if not _is_text(str(item.path)):
                self._skip(report, item, f"{item.path}: the name is not UTF-8; rename the file")
                continue
            try:
                data = await asyncio.to_thread(item.path.read_bytes)
            except OSError as error:
                self._skip(report, item, f"{item.path}: cannot be read ({error.strerror}); check the path")
                continue
            key = picture_id(data)
            if key in self.ids:
                self.progress.duplicates += 1
                same = f"{item.path}: the same bytes as {self.ids[key]}, which stands for both"
                report.write(f"{printable(same)}\n")
                self._tell()
                continue
            self.ids[key] = str(item.path)
            record = read_transcript(self.interviews, key)
            if record is not None and record.recipe == self.recipe:
                moved = replace(record, path=self._path(item), identity=item.identity)
                if moved != record:
                    write_transcript(self.interviews, moved)
                self.progress.resumed += 1
                self._tell()
                continue
            yield _Job(item, data, key)

    async def _one(self, job: _Job, report: TextIO) -> None:
        try:
            shown = await asyncio.to_thread(sent_picture, job.data, str(job.item.path))
        except CtgiError as error:
            self.failed.add(job.picture_id)
            self._skip(report, job.item, str(error))
            return
        try:
            transcript = await self._transcript(job, shown)
        except ChatError as error:
            self.failed.add(job.picture_id)
            self.in_a_row += 1
            done = self.progress.captioned + self.progress.resumed
            if error.kind in ("unreachable", "refused") or self.in_a_row >= _FAILURES_IN_A_ROW:
                raise CtgiError(f"{error}; {done} pictures are done, run again to go on") from error
            self.progress.unanswered += error.kind != "request"
            self._skip(report, job.item, f"{job.item.path}: {error}")
            return
        self.in_a_row = 0
        await asyncio.to_thread(write_transcript, self.interviews, transcript)
        self.progress.captioned += 1
        self._tell()

    async def _transcript(self, job: _Job, shown: bytes) -> Transcript:
        told = await interview(
            shown,
            job.picture_id,
            self.client,
            self.pool,
            pair_filter=self.pair_filter,
            rounds=self.rounds,
            deadline=self.deadline,
        )
        caption = await self.reconstructor.reconstruct(told.static_caption, told.pairs)
        return Transcript(
            picture_id=job.picture_id,
            path=self._path(job.item),
            identity=job.item.identity,
            static_caption=told.static_caption,
            caption=caption,
            pairs=told.pairs,
            model=self.client.model,
            prompt_version=interview_version(),
            reconstructor=self.reconstructor.name,
            calls=told.calls,
            prompt_tokens=told.prompt_tokens,
            completion_tokens=told.completion_tokens,
            seconds=told.seconds,
            recipe=self.recipe,
        )

    def _path(self, item: PictureItem) -> str:
        if self.root is not None and item.path.is_relative_to(self.root):
            return item.path.relative_to(self.root).as_posix()
        return item.path.as_posix()

    def _skip(self, report: TextIO, item: PictureItem, reason: str) -> None:
        line = f"{printable(reason)}\n"
        report.write(line)
        self.reasons.append(line.strip())
        self.progress.skipped += 1
        self._tell()

    def _spent(self) -> tuple[int, ...]:
        totals = [ledger.total() for ledger in self.ledgers]
        names = ("calls", "cached", "prompt_tokens", "completion_tokens")
        return tuple(sum(getattr(total, name) for total in totals) for name in names)

    def _tell(self) -> None:
        now = [after - before for after, before in zip(self._spent(), self.before, strict=True)]
        progress = self.progress
        progress.calls, progress.cached, progress.prompt_tokens, progress.completion_tokens = now
        if self.show is not None:
            self.show(progress)


def recipe(
    model: str, pool: QuestionPool, rounds: int, pair_filter: PairFilter, reconstructor: Reconstructor
) -> str:
    """Everything that makes a transcript what it is, in one line."""
    parts = (
        model,
        interview_version(),
        pool.version,
        f"rounds={rounds}",
        pair_filter.name,
        reconstructor.name,
    )
    return " | ".join(parts)


def _is_text(path: str) -> bool:
    """Whether a path can be written down (file systems allow names that are no text)."""
    return path.encode("utf-8", "replace") == path.encode("utf-8", "surrogatepass")
