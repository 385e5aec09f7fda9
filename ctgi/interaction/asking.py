"""The chat model as one search sees it: within its budget, failures sorted by what they mean for it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Protocol

from ctgi.interaction.budget import Budget, BudgetSpent
from ctgi.mllm.chat import ChatError, ChatReply, ChatRequest


class Chat(Protocol):
    """What MTI needs of `ctgi.mllm.client.ChatClient`."""

    @property
    def model(self) -> str: ...

    async def chat(self, request: ChatRequest) -> ChatReply: ...


class ModelGone(Exception):
    """The server cannot be reached or refuses us: further calls of this search are pointless."""


class Asker:
    """Passes requests on, each with the time that is left, and counts them.

    Raises BudgetSpent where the budget allows no further call or time ran out during one, ModelGone where the
    server is unreachable or refuses, and ChatError where this one request failed.
    """

    def __init__(self, client: Chat, budget: Budget) -> None:
        self._client, self.budget = client, budget

    @property
    def model(self) -> str:
        """The model's name on its server."""
        return self._client.model

    async def chat(self, request: ChatRequest) -> ChatReply:
        """One reply within the budget."""
        budget = self.budget
        budget.take()
        left = budget.remaining()
        if left is not None:
            request = dataclasses.replace(request, deadline=min(left, request.deadline or left))
        try:
            reply = await self._client.chat(request)
        except asyncio.CancelledError:
            budget.abandoned += 1
            raise
        except ChatError as error:
            if error.kind == "deadline" and left is not None:
                raise BudgetSpent("deadline") from error
            if error.kind in ("unreachable", "refused"):
                raise ModelGone(str(error)) from error
            raise
        if reply.cached:
            budget.cached += 1
        else:
            budget.prompt_tokens += reply.prompt_tokens
            budget.completion_tokens += reply.completion_tokens
        return reply
