"""Flags that choose who writes captions and refined queries: the deterministic composer, or a chat model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ctgi.cli import server
from ctgi.errors import CtgiError

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
        help=f"the model on it (default: {DEFAULT_MODEL}, the paper's)",
    )
    group.add_argument(
        "--reconstructor-key-env",
        metavar="VAR",
        default="OPENAI_API_KEY",
        help="environment variable that holds its key (default: %(default)s)",
    )


def check(options: argparse.Namespace) -> None:
    """Raise CtgiError where a model was named and no server, so that it would be passed over."""
    if options.reconstructor_model is not None and options.reconstructor_server is None:
        raise CtgiError(
            f"--reconstructor-model {options.reconstructor_model} needs a server: --reconstructor-server URL"
        )


def model_name(options: argparse.Namespace) -> str | None:
    """The model that writes; None for the composer."""
    if options.reconstructor_server is None:
        return None
    return str(options.reconstructor_model or DEFAULT_MODEL)


def open_reconstructor(
    options: argparse.Namespace,
    *,
    cache: Path | ReplyCache | None = None,
    ledger: Ledger | None = None,
    patient: bool = False,
) -> Reconstructor:
    """The reconstructor that the flags describe; `patient` as of the chat model's client."""
    from ctgi.captioning.composer import Composer

    model = model_name(options)
    if model is None:
        return Composer()
    from ctgi.captioning.reconstructor import ChatReconstructor
    from ctgi.mllm.cache import ReplyCache

    client = server.client_of(
        options,
        options.reconstructor_server,
        model,
        options.reconstructor_key_env,
        cache=ReplyCache(cache) if isinstance(cache, Path) else cache,
        ledger=ledger,
        patient=patient,
    )
    return ChatReconstructor(client)


def text_client(writer: Reconstructor) -> ChatClient | None:
    """The client of a writer that asks a model: it reads queries, too; None for the composer."""
    from ctgi.captioning.reconstructor import ChatReconstructor

    return writer.client if isinstance(writer, ChatReconstructor) else None
