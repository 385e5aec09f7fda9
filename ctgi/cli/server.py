"""The flags of every command that talks to a chat model, and the client that they describe."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ctgi.cli.numbers import count, positive, seconds
from ctgi.errors import CtgiError

if TYPE_CHECKING:
    from ctgi.mllm.cache import ReplyCache
    from ctgi.mllm.client import ChatClient
    from ctgi.mllm.ledger import Ledger


def add_arguments(parser: argparse.ArgumentParser, what_for: str) -> None:
    """--server, --model and how to talk to them."""
    group = parser.add_argument_group(f"chat model ({what_for})")
    group.add_argument(
        "--server", metavar="URL", help="an OpenAI-compatible server, for example http://localhost:8000/v1"
    )
    group.add_argument("--model", metavar="NAME", help="the model's name on that server")
    group.add_argument(
        "--api-key-env",
        metavar="VAR",
        default="OPENAI_API_KEY",
        help="environment variable that holds the key (default: %(default)s)",
    )
    group.add_argument(
        "--concurrency",
        type=positive,
        default=8,
        help="requests at the same time (default: %(default)s); a server gives most with twice as many as it "
        "answers at once",
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        default=60.0,
        metavar="S",
        help="seconds for one try (default: %(default)s)",
    )
    group.add_argument(
        "--retries",
        type=count,
        default=4,
        help="further tries of a failed request (default: %(default)s); where every picture is asked, a "
        "server that has answered before is waited for while it restarts, for CTGI_CHAT_PATIENCE seconds "
        "(an environment variable; 300 without it)",
    )
    group.add_argument(
        "--cache", type=Path, metavar="FILE", help="replies kept on disk: nothing is asked twice"
    )


def wanted(options: argparse.Namespace) -> bool:
    """Whether a chat model was named. Raises CtgiError when only half of it was."""
    if (options.server is None) != (options.model is None):
        missing = "--model NAME" if options.model is None else "--server URL"
        raise CtgiError(f"a chat model needs --server and --model; {missing} is missing")
    return options.server is not None


def open_client(
    options: argparse.Namespace,
    *,
    cache: Path | None = None,
    ledger: Ledger | None = None,
    patient: bool = False,
) -> ChatClient:
    """The client that the flags describe; `cache` is where replies go without --cache.

    `patient`: a job that nobody waits for and that a dead server ends waits while the server restarts
    (CTGI_CHAT_PATIENCE), once that has answered.
    """
    from ctgi.mllm.cache import ReplyCache

    place = options.cache or cache
    return client_of(
        options,
        options.server,
        options.model,
        options.api_key_env,
        cache=None if place is None else ReplyCache(place),
        ledger=ledger,
        patient=patient,
    )


def client_of(
    options: argparse.Namespace,
    address: str,
    model: str,
    key_variable: str,
    *,
    cache: ReplyCache | None,
    ledger: Ledger | None,
    patient: bool,
) -> ChatClient:
    """A client of any server, with the manners that the flags give to all; `patient` as in `open_client`."""
    from ctgi.mllm.client import ChatClient
    from ctgi.mllm.retry import read_patience

    return ChatClient(
        address,
        model,
        api_key=os.environ.get(key_variable),
        concurrency=options.concurrency,
        timeout=options.timeout,
        retries=options.retries,
        patience=read_patience() if patient else 0.0,
        answered_first=True,
        cache=cache,
        ledger=ledger,
    )
