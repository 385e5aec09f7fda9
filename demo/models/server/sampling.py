"""The next token of every conversation, from one matrix of logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from demo.models.server.errors import ApiError
from demo.models.server.job import Job
from demo.models.server.protocol import TokenRecord

GREEDY_BELOW = 1e-5  # vLLM's bound: a temperature below it means the likeliest token


def pick(
    jobs: Sequence[Job], logits: Tensor, allowed: Callable[[Job], Callable[[int], bool]]
) -> list[TokenRecord]:
    """One token for each row of `logits` (len(jobs), vocabulary).

    Log-probabilities are those of the unscaled, unconstrained distribution, as vLLM's default is. `allowed`
    gives the test whether a token keeps to the JSON form of a job that has one. A job draws from its own
    generator, so its answer does not depend on who shares its batch.
    """
    tokens: list[int] = logits.argmax(-1).tolist()
    for row, job in enumerate(jobs):
        if job.call.form is not None:
            tokens[row] = _within_form(job, logits[row], allowed(job))
        elif job.call.temperature >= GREEDY_BELOW and job.call.top_p < 1:
            tokens[row] = _draw(_nucleus(logits[row], job.call.temperature, job.call.top_p), job)
    drawn = [
        row for row, job in enumerate(jobs)
        if job.call.form is None and job.call.temperature >= GREEDY_BELOW and job.call.top_p >= 1
    ]  # fmt: skip
    if drawn:
        heat = torch.tensor([[jobs[row].call.temperature] for row in drawn])
        cumulated = (logits[drawn] / heat).softmax(-1).cumsum(-1)
        points = torch.tensor([[jobs[row].random.random()] for row in drawn]) * cumulated[:, -1:]
        found = torch.searchsorted(cumulated, points, right=True).clamp_(max=logits.shape[1] - 1)
        for row, token in zip(drawn, found[:, 0].tolist(), strict=True):
            tokens[row] = token
    if not any(job.call.logprobs for job in jobs):
        return [TokenRecord(token, 0.0) for token in tokens]
    logprobs = logits.log_softmax(-1)
    own: list[float] = logprobs.gather(1, torch.tensor(tokens)[:, None])[:, 0].tolist()
    most = max(job.call.top_logprobs for job in jobs)
    if not most:
        return [TokenRecord(token, logprob) for token, logprob in zip(tokens, own, strict=True)]
    best = logprobs.topk(min(most, logits.shape[1]), -1)
    values, places = best.values.tolist(), best.indices.tolist()
    return [
        TokenRecord(
            tokens[row], own[row], tuple(zip(places[row], values[row], strict=True))[: job.call.top_logprobs]
        )
        for row, job in enumerate(jobs)
    ]


def _draw(probabilities: Tensor, job: Job) -> int:
    cumulated = probabilities.cumsum(-1)
    point = cumulated[-1] * job.random.random()
    return min(int(torch.searchsorted(cumulated, point, right=True)), len(probabilities) - 1)


def _nucleus(logits: Tensor, temperature: float, top_p: float) -> Tensor:
    """Probabilities with all but the likeliest tokens that together reach `top_p` set to zero."""
    ordered, order = (logits / temperature).softmax(-1).sort(descending=True)
    ordered[ordered.cumsum(-1) - ordered > top_p] = 0  # the first one always stays
    return torch.zeros_like(ordered).scatter_(0, order, ordered)


def _within_form(job: Job, logits: Tensor, allowed: Callable[[int], bool]) -> int:
    """The likeliest allowed token, or a draw among the likeliest allowed ones."""
    temperature = job.call.temperature
    most = 1 if temperature < GREEDY_BELOW else 16
    kept: list[int] = []
    ordered, order = logits.sort(descending=True)
    try:
        for token, logit in zip(order.tolist(), ordered.tolist(), strict=True):
            if kept and (len(kept) == most or (float(logits[kept[0]]) - logit) / temperature > 16):
                break  # what is less than e^-16 as likely would never be drawn
            if allowed(token):
                kept.append(token)
    except TimeoutError:
        job.fault = ApiError("the JSON schema takes too long to check", param="response_format")
        return 0
    if not kept:
        job.fault = ApiError("no token of this model continues the JSON form", param="response_format")
        return 0
    return kept[0] if most == 1 else kept[_draw((logits[kept] / temperature).softmax(-1), job)]


def walk(job: Job, prompt_logits: Tensor, node_logits: Tensor, end: int) -> tuple[str, list[TokenRecord]]:
    """Choose among choices token by token, as decoding held to them would, from logits that are all there
    already.

    `prompt_logits` (vocabulary,) after the prompt, `node_logits` (nodes, vocabulary) after each node of the
    tree.
    The alternatives listed beside a token are the allowed ones, with their unconstrained log-probabilities.
    """
    assert job.tree is not None
    records: list[TokenRecord] = []
    node = -1
    while True:
        branches = job.tree.children[node]
        logprobs = (prompt_logits if node < 0 else node_logits[node]).log_softmax(-1)
        tokens = list(branches)
        values = logprobs[tokens]
        if job.call.temperature < GREEDY_BELOW or len(tokens) == 1:
            chosen = int(values.argmax())
        else:
            chosen = _draw((values / job.call.temperature).softmax(-1), job)
        target = branches[tokens[chosen]]
        if isinstance(target, str):
            return target, records
        ranked = sorted(zip(tokens, values.tolist(), strict=True), key=lambda pair: -pair[1])
        top = tuple(pair for pair in ranked if pair[0] != end)[: job.call.top_logprobs]
        records.append(TokenRecord(tokens[chosen], float(values[chosen]), top))
        node = target
