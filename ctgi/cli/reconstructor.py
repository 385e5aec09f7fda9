"""Flags that choose who writes captions and refined queries: the deterministic composer, or a chat model."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctgi.captioning.reconstructor import Reconstructor
    from ctgi.mllm.cache import ReplyCache
    from ctgi.mllm.client import ChatClient
    from ctgi.mllm.ledger import Ledger

DEFAULT_MODEL = "gpt-4o"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--reconstructor-server and what goes with it."""
    group = parser.add_argument_group("reconstructor (Sec. 3.4)")
    group.add_argument(
        "--reconstructor-server",
        metavar="URL",
        help="an OpenAI-compatible server that writes; without it rules do (the composer)",
    )
    group.add_argument(
        "--reconstructor-model",
        metavar="NAME",
        default=DEFAULT_MODEL,
        help="the model on it (default: %(default)s, the paper's)",
    )
    group.add_argument(
        "--reconstructor-key-env",
        metavar="VAR",
        default="OPENAI_API_KEY",
        help="environment variable that holds its key (default: %(default)s)",
    )


def open_reconstructor(
    options: argparse.Namespace, *, cache: Path | ReplyCache | None = None, ledger: Ledger | None = None
) -> Reconstructor:
    """The reconstructor that the flags describe."""
    from ctgi.captioning.composer import Composer

    if options.reconstructor_server is None:
        return Composer()
    from ctgi.captioning.reconstructor import ChatReconstructor
    from ctgi.mllm.cache import ReplyCache
    from ctgi.mllm.client import ChatClient

    client = ChatClient(
        options.reconstructor_server,
        options.reconstructor_model,
        api_key=os.environ.get(options.reconstructor_key_env),
        concurrency=options.concurrency,
        timeout=options.timeout,
        retries=options.retries,
        cache=ReplyCache(cache) if isinstance(cache, Path) else cache,
        ledger=ledger,
    )
    return ChatReconstructor(client)


def text_client(writer: Reconstructor) -> ChatClient | None:
    """The client of a writer that asks a model: it reads queries, too; None for the composer."""
    from ctgi.captioning.reconstructor import ChatReconstructor

    return writer.client if isinstance(writer, ChatReconstructor) else None
