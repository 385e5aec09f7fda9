"""Dossiers are made when pictures are enrolled: each is asked every diagnostic question once.

The questions of a picture are short calls that go out together, with the same opening, so that a server with
prefix caching reads the picture once (docs/adr/0001). A picture's dossier is stored whole when all its
answers are there; a run that was killed goes on with the pictures that have none, and what it had asked of
the others comes from the reply cache, where there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ctgi.captioning.pool import QuestionPool, default_pool
from ctgi.captioning.progress import Progress
from ctgi.captioning.sent_picture import sent_picture
from ctgi.datasets.pictures import picture_id
from ctgi.errors import CtgiError
from ctgi.interaction.answers import read_answers
from ctgi.interaction.dossier import Answer
from ctgi.interaction.dossier_store import DossierStore
from ctgi.interaction.vocabulary import Vocabulary, default_vocabulary
from ctgi.mllm.chat import ChatError, ChatReply, ChatRequest
from ctgi.mllm.client import ChatClient
from ctgi.mllm.messages import picture_message, system_message
from ctgi.mllm.prompt import Prompt

#: So many pictures failing one after another say that it is the server, not the pictures.
_FAILURES_IN_A_ROW = 10


@dataclass
class EnrolReport:
    """What became of the pictures. `skipped` are (file, reason); they are tried again by the next run.
    `unanswered` counts those among them whose fault it was not: the server was overloaded or too slow."""

    pictures: int = 0
    asked: int = 0
    fresh: int = 0
    stale: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unanswered: int = 0
    calls: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    bytes_per_picture: float = 0.0


def prompt_version(pool: QuestionPool, vocabulary: Vocabulary) -> str:
    """Everything besides the model that makes a dossier what it is, in one line."""
    prompts = "+".join(Prompt.load(name).version for name in ("system", "answer"))
    return f"{prompts} | {pool.version} | {vocabulary.version}"


async def enrol(
    pictures: Sequence[tuple[str, Path]],
    store: DossierStore,
    client: ChatClient,
    *,
    pool: QuestionPool | None = None,
    vocabulary: Vocabulary | None = None,
    deadline: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> EnrolReport:
    """Ask every picture, given as (id, file), that has no dossier of this model and these prompts.

    `deadline` is per call, in seconds. A picture that cannot be read, has changed since it got its id, or is
    refused by the server is skipped with a reason. Raises CtgiError when the server cannot be reached,
    refuses the key or the model, or fails for many pictures in a row; what was done is kept.
    """
    pool, vocabulary = pool or default_pool(), vocabulary or default_vocabulary()
    run = _Run(store, client, pool, vocabulary, deadline, progress, len(pictures))
    await run.work(pictures)
    return run.report


class _Run:
    """One call of `enrol`."""

    def __init__(
        self,
        store: DossierStore,
        client: ChatClient,
        pool: QuestionPool,
        vocabulary: Vocabulary,
        deadline: float | None,
        show: Callable[[Progress], None] | None,
        count: int,
    ) -> None:
        self.store, self.client, self.pool, self.vocabulary = store, client, pool, vocabulary
        self.deadline, self.show = deadline, show
        self.version = prompt_version(pool, vocabulary)
        self.recipe = store.recipe(client.model, self.version, vocabulary.facets)
        self.report = EnrolReport(pictures=count)
        self.progress = Progress(count)
        self.in_a_row = 0
        self.before = client.ledger.total()

    async def work(self, pictures: Sequence[tuple[str, Path]]) -> None:
        fresh = self.store.fresh(self.client.model, self.version, self.vocabulary.facets)
        known = self.store.ids()
        left = [(key, path) for key, path in pictures if key not in fresh]
        self.report.fresh = self.progress.resumed = len(pictures) - len(left)
        self.report.stale = sum(key in known for key, _ in left)
        if not left:
            self._tell()
        jobs = iter(left)
        # So many pictures side by side that the server always has a turn waiting.
        at_once = max(2, -(-2 * self.client.concurrency // max(1, len(self.pool))))
        self.progress.warm_up = max(self.progress.warm_up, at_once)
        workers = [asyncio.create_task(self._worker(jobs)) for _ in range(min(at_once, len(left)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self.report.seconds = self.progress.elapsed
            self.report.bytes_per_picture = self.store.bytes_per_picture()

    async def _worker(self, jobs: Iterator[tuple[str, Path]]) -> None:
        for key, path in jobs:
            try:
                shown = await asyncio.to_thread(_shown, key, path)
                replies = await self._ask(key, shown)
            except ChatError as error:
                self.in_a_row += 1
                if error.kind in ("unreachable", "refused") or self.in_a_row >= _FAILURES_IN_A_ROW:
                    raise CtgiError(
                        f"{error}; {self.report.asked + self.report.fresh} pictures have their dossier, run "
                        "again to go on"
                    ) from error
                self.report.unanswered += error.kind != "request"
                self._skip(path, str(error))
            except CtgiError as error:
                self._skip(path, str(error))
            else:
                self.in_a_row = 0
                await asyncio.to_thread(self._keep, key, replies)
                self.report.asked += 1
                self.progress.captioned += 1
            self._tell()

    async def _ask(self, key: str, shown: bytes) -> dict[str, ChatReply]:
        """The replies by topic, in the order of the pool."""
        prompt = Prompt.load("answer")
        version = f"{Prompt.load('system').version}+{prompt.version}"
        async with asyncio.TaskGroup() as group:
            tasks = {
                question.topic: group.create_task(
                    self._reply(
                        ChatRequest(
                            (
                                system_message(),
                                picture_message(shown, prompt.fill(question=question.question)),
                            ),
                            "ask",
                            version,
                            key,
                            alternatives=True,
                            deadline=self.deadline,
                        )
                    )
                )
                for question in self.pool
            }
        results = {topic: task.result() for topic, task in tasks.items()}
        failures = [result for result in results.values() if isinstance(result, ChatError)]
        if failures:  # the answers that came are in the cache, where there is one
            raise failures[0]
        return {topic: reply for topic, reply in results.items() if isinstance(reply, ChatReply)}

    async def _reply(self, request: ChatRequest) -> ChatReply | ChatError:
        try:
            return await self.client.chat(request)
        except ChatError as error:
            return error

    def _keep(self, key: str, replies: dict[str, ChatReply]) -> None:
        questions = {question.topic: question for question in self.pool}
        weights = read_answers(replies, questions, self.vocabulary)
        answers = (Answer(topic, reply.text, reply.probability) for topic, reply in replies.items())
        self.store.put(key, self.recipe, weights, answers)

    def _skip(self, path: Path, reason: str) -> None:
        self.report.skipped.append((str(path), reason))
        self.progress.skipped += 1

    def _tell(self) -> None:
        now, before = self.client.ledger.total(), self.before
        for name in ("calls", "cached", "prompt_tokens", "completion_tokens"):
            spent = getattr(now, name) - getattr(before, name)
            setattr(self.progress, name, spent)
            setattr(self.report, name, spent)
        if self.show is not None:
            self.show(self.progress)


def _shown(key: str, path: Path) -> bytes:
    """What the model is sent of a file. Raises CtgiError where it is not the picture that was enrolled."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CtgiError(f"{path}: cannot be read ({error.strerror}); say where the pictures are") from error
    if picture_id(data) != key:
        raise CtgiError(f"{path}: has changed since it was indexed; index the folder again")
    return sent_picture(data, str(path))
