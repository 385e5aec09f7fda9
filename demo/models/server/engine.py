"""Continuous batching over one key-value block.

Every step takes in what is waiting (one packed prefill of the parts that the prefix cache does not know),
then gives every running conversation one token. Running conversations fill the block's first rows without
gaps: when one ends, the last one moves into its row. Choices need no row of their own: they are scored inside
the prefill.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Qwen2VLForConditionalGeneration

from demo.models.architecture import END_OF_TEXT, IMAGE_TOKENS, TURN_END
from demo.models.fixed_grid import patchify, vision_tokens
from demo.models.lean_text import MASKED, LeanText, Step
from demo.models.server.job import Job
from demo.models.server.metrics import Metrics
from demo.models.server.pictures import Picture
from demo.models.server.prefix_cache import BLOCK, Key, PrefixCache
from demo.models.server.sampling import pick, walk

PREFILL_TOKENS = 2048  # new tokens after which a step takes in no further conversation
PICTURES_AT_ONCE = 16


class Engine:
    def __init__(
        self,
        model: Qwen2VLForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        *,
        rows: int = 32,
        context: int = 1024,
        prefix_blocks: int = 6144,
        metrics: Metrics | None = None,
    ) -> None:
        self.model = model.eval()
        self.text = LeanText(model)
        self.metrics = metrics or Metrics()
        self.rows, self.context = rows, context
        self.block = self.text.new_block(rows, context)
        self.prefix = PrefixCache(self.block, prefix_blocks)
        self.waiting: deque[Job] = deque()
        self.running: list[Job] = []  # job i stands in row i
        self.entering: list[Job] = []  # those of the prefill going on
        self.end = int(tokenizer.convert_tokens_to_ids(TURN_END))
        self.ends = {self.end, int(tokenizer.convert_tokens_to_ids(END_OF_TEXT))}
        self.special = set(tokenizer.all_special_ids)
        self.token_bytes = _token_bytes(tokenizer, self.text.vocabulary, self.special)

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.running)

    @torch.inference_mode()
    def step(self) -> None:
        """Take in newcomers, then one token for everyone. Does nothing when nobody is there."""
        newcomers = self._newcomers()
        if newcomers:
            self._prefill(newcomers)
        if self.running:
            self._decode()
        self.metrics.running.set(len(self.running))
        self.metrics.waiting.set(len(self.waiting))

    def fail_all(self, error: Exception) -> None:
        """After a fault inside a step: everyone gets the error, and the next step starts clean."""
        jobs = [*self.entering, *self.running, *self.waiting]
        self.entering, self.running, self.waiting = [], [], deque()
        for job in jobs:
            job.on_done(error)

    def text_of(self, tokens: list[int]) -> str:
        return b"".join(self.token_bytes[t] for t in tokens if t not in self.special).decode(
            "utf-8", "replace"
        )

    # -- taking in

    def _newcomers(self) -> list[tuple[Job, list[Key]]]:
        """Waiting jobs with the prefix blocks they find. Those that generate come first, those that choose
        last."""
        taken: list[tuple[Job, list[Key]]] = []
        later: list[Job] = []
        begun: set[Key] = set()
        tokens = 0
        while self.waiting and len(self.running) + len(taken) < self.rows and tokens < PREFILL_TOKENS:
            job = self.waiting.popleft()
            if job.cancelled:
                continue
            known, missing = self.prefix.chain(job.keys, len(job.keys) - 1)
            if missing in begun and not job.deferred:
                # A neighbour is about to compute the same beginning: one step later it is in the cache.
                job.deferred = True
                later.append(job)
                continue
            if missing is not None:
                begun.add(missing)
            taken.append((job, known))
            tokens += len(job.ids) - len(known) * BLOCK
        self.waiting.extendleft(reversed(later))
        return sorted(taken, key=lambda pair: pair[0].tree is not None)

    def _prefill(self, newcomers: list[tuple[Job, list[Key]]]) -> None:
        first = len(self.running)
        jobs = self.entering = [job for job, _ in newcomers]
        for row, (job, known) in enumerate(newcomers, first):
            job.cached = self.prefix.load(known, self.block, row)
            job.fed = len(job.ids)
        self._see([p for job in jobs for p, start in _open_pictures(job)])
        lengths = [len(job.ids) - job.cached + (len(job.tree.token) if job.tree else 0) for job in jobs]
        queries, places = max(lengths), max(job.cached + n for job, n in zip(jobs, lengths, strict=True))
        starts = np.concatenate([[0], np.cumsum(lengths)])
        ids = np.concatenate([job.ids[job.cached :] + (job.tree.token if job.tree else []) for job in jobs])
        mask = np.full((len(jobs), queries, places), MASKED, np.float32)
        x = self.text.embedding[torch.from_numpy(ids)]
        for number, (job, start, length) in enumerate(zip(jobs, starts, lengths, strict=False)):
            own = np.arange(job.cached, job.cached + length)
            mask[number, :length][own[:, None] >= np.arange(places)] = 0
            if job.tree:
                _show_only_ancestors(mask[number], job)
            for picture, at in _open_pictures(job):
                assert picture.tokens is not None
                skip = max(job.cached - at, 0)
                offset = int(start) + at + skip - job.cached
                x[offset : offset + IMAGE_TOKENS - skip] = picture.tokens[skip:]
        numbers = np.repeat(np.arange(len(jobs)), lengths)
        within = np.arange(len(ids)) - starts[numbers]
        step = Step(
            first_row=first,
            rows=torch.from_numpy(first + numbers),
            places=torch.from_numpy(within + np.array([job.cached for job in jobs])[numbers]),
            slots=torch.from_numpy(numbers * queries + within),
            mask=torch.from_numpy(mask),
        )
        states = self.text.forward(x, np.concatenate([_positions(job) for job in jobs], 1), self.block, step)
        self.metrics.prefill_rows.observe(len(jobs))
        for row, job in enumerate(jobs, first):
            self.prefix.store(job.keys, self.block, row)
        asking = [job for job in jobs if job.tree is None]
        self.running += asking
        # Only the last prompt token's logits, and those after the nodes of choices, are computed.
        wanted = [
            np.arange(end - 1 - (len(job.tree.token) if job.tree else 0), end)
            for job, end in zip(jobs, starts[1:], strict=True)
        ]
        logits = self.text.logits(states[torch.from_numpy(np.concatenate(wanted))])
        at = len(asking)
        for job in jobs[len(asking) :]:
            nodes = len(job.tree.token) if job.tree else 0
            if not job.cancelled:
                text, job.records = walk(job, logits[at], logits[at + 1 : at + 1 + nodes], self.end)
                self._deliver(job, text, "stop", ended=True)
            at += 1 + nodes
        if asking:
            self._advance(asking, logits[: len(asking)])
        self.entering = []

    def _see(self, pictures: list[Picture]) -> None:
        """Give every picture that has none yet its image tokens."""
        unseen = list({id(p): p for p in pictures if p.tokens is None}.values())
        for start in range(0, len(unseen), PICTURES_AT_ONCE):
            some = unseen[start : start + PICTURES_AT_ONCE]
            pixels = torch.from_numpy(np.stack([p.pixels for p in some if p.pixels is not None]))
            tokens = vision_tokens(self.model, patchify(pixels))
            for picture, own in zip(some, tokens, strict=True):
                picture.tokens, picture.pixels = own.clone(), None
            self.metrics.pictures.inc(len(some))

    # -- going on

    def _decode(self) -> None:
        jobs = list(self.running)
        fed = torch.tensor([job.fed for job in jobs])
        positions = np.array([job.next_position for job in jobs])
        places = int(fed.max()) + 1
        everyone = torch.arange(len(jobs))
        mask = torch.zeros(len(jobs), 1, places)
        mask[:, 0][torch.arange(places) > fed[:, None]] = MASKED
        x = self.text.embedding[[job.generated[-1] for job in jobs]]
        step = Step(first_row=0, rows=everyone, places=fed, slots=everyone, mask=mask)
        states = self.text.forward(x, np.stack([positions] * 3), self.block, step)
        for job in jobs:
            job.fed += 1
            job.next_position += 1
        self.metrics.decode_rows.observe(len(jobs))
        self._advance(jobs, self.text.logits(states))

    def _advance(self, jobs: list[Job], logits: Tensor) -> None:
        for job, record in zip(jobs, pick(jobs, logits, self._allowed), strict=True):
            if job.cancelled or job.fault:
                self._release(job)
                if job.fault:
                    job.on_done(job.fault)
            elif record.token in self.ends:
                self._release(job)
                self._deliver(job, self.text_of(job.generated), "stop", ended=True)
            else:
                job.generated.append(record.token)
                job.records.append(record)
                end = self._end_of(job)
                if end is not None:
                    self._release(job)
                    self._deliver(job, *end, ended=False)

    def _end_of(self, job: Job) -> tuple[str, str] | None:
        """Text and reason when a stop text or the length ends the answer."""
        if job.call.stop:
            text = self.text_of(job.generated)
            cuts = [text.index(stop) for stop in job.call.stop if stop in text]
            if cuts:
                return text[: min(cuts)], "stop"
        return (self.text_of(job.generated), "length") if len(job.generated) >= job.limit else None

    def _allowed(self, job: Job) -> Callable[[int], bool]:
        """Whether a token keeps the job's answer within its JSON form."""
        form = job.call.form
        assert form is not None
        so_far = b"".join(self.token_bytes[t] for t in job.generated)

        def allowed(token: int) -> bool:
            if token == self.end:
                return form.is_whole(so_far.decode("utf-8", "replace"))
            if token in self.special or not self.token_bytes[token]:
                return False
            try:
                return form.can_grow((so_far + self.token_bytes[token]).decode("utf-8"))
            except UnicodeDecodeError:
                return False  # half a character: JSON can always be written with whole ones

        return allowed

    def _release(self, job: Job) -> None:
        """Remember the whole conversation for its next turn, and close the gap in the rows."""
        row, last = self.running.index(job), len(self.running) - 1
        # The last token was never fed, hence has no key and value yet.
        self.prefix.store((job.keys + job.generated)[: job.fed], self.block, row)
        mover = self.running.pop()
        if row != last:
            self.block[:, :, row, :, : mover.fed] = self.block[:, :, last, :, : mover.fed]
            self.running[row] = mover

    def _deliver(self, job: Job, text: str, reason: str, *, ended: bool) -> None:
        answer = job.answer(text, reason, ended=ended)
        self.metrics.prompt_tokens.inc(answer.prompt_tokens)
        self.metrics.cached_tokens.inc(answer.cached_tokens)
        self.metrics.completion_tokens.inc(answer.completion_tokens)
        job.on_done(answer)


def _open_pictures(job: Job) -> list[tuple[Picture, int]]:
    """The pictures whose tokens are not all in the prefix cache, and where they start."""
    pairs = zip(job.pictures, job.picture_starts, strict=True)
    return [(picture, start) for picture, start in pairs if start + IMAGE_TOKENS > job.cached]


def _positions(job: Job) -> NDArray[np.int64]:
    own = job.positions[:, job.cached :]
    if job.tree is None:
        return own
    nodes = job.next_position + np.array(job.tree.depth, np.int64)
    return np.concatenate([own, np.stack([nodes] * 3)], 1)


def _show_only_ancestors(mask: NDArray[np.float32], job: Job) -> None:
    """A node of the choices sees the prompt and the path above it, not the other choices."""
    assert job.tree is not None
    prompt, first = len(job.ids), len(job.ids) - job.cached
    for node in range(len(job.tree.token)):
        mask[first + node, prompt:] = MASKED
        mask[first + node, [prompt + above for above in job.tree.ancestors(node)]] = 0


def _token_bytes(tokenizer: PreTrainedTokenizerBase, size: int, special: set[int]) -> list[bytes]:
    """What each token stands for; byte-level BPE writes bytes as visible characters, undone here as GPT-2
    does."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in visible]
    byte_of = {chr(b): b for b in visible} | {chr(256 + i): b for i, b in enumerate(hidden)}
    table: list[bytes] = []
    for token in range(size):
        written = tokenizer.convert_ids_to_tokens(token) if token < len(tokenizer) else ""
        plain = token in special or not written
        table.append((written or "").encode() if plain else bytes(byte_of[c] for c in written))
    return table
