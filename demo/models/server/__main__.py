"""`python -m demo.models.server [--model DIR] [--port P]`."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import threading
from pathlib import Path

from demo.models.launch import QWEN2VL

_EXAMPLE = """\
example:
  python -m demo.models.server --port 8100

then, in another terminal:
  curl -s localhost:8100/v1/chat/completions -H 'content-type: application/json' \\
    -d '{"messages": [{"role": "user", "content": "Describe the person."}], "max_tokens": 20}'

It speaks the OpenAI chat protocol: pictures as base64 data URLs, several turns, temperature, top_p, seed,
stop, max_tokens, logprobs, response_format json_schema, structured_outputs.choice. Requests that arrive
together are answered together. /v1/models names the model, /health says whether it is up, /metrics counts
(Prometheus text).
"""
NEEDED = ("config.json", "model.safetensors", "tokenizer.json")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m demo.models.server",
        description="Serve a small Qwen2-VL over the OpenAI chat protocol on the CPU.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--model",
        type=Path,
        default=QWEN2VL,
        help="directory with config.json, model.safetensors and tokenizer.json (default: the demo's own "
        "weights, demo/models/weights/qwen2vl)",
    )
    add("--name", help="model name in requests (default: the directory's name)")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8100, help="port to listen on; 0 takes a free one (default: %(default)s)")
    add("--max-batch", type=int, default=32, help="conversations answered at once (default: %(default)s)")
    add("--context", type=int, help="tokens in a conversation (default: the model's, at most 1024)")
    add(
        "--prefix-cache-mb",
        type=int,
        default=192,
        help="memory for prompts seen before; 0: none (default: %(default)s)",
    )
    add(
        "--timeout",
        type=float,
        default=120.0,
        help="seconds until a request is given up (default: %(default)s)",
    )
    add(
        "--threads",
        type=int,
        default=1,
        help="torch threads; more than 1 pays on idle cores only (default: %(default)s)",
    )
    add(
        "--exit-with-parent",
        action="store_true",
        help="stop when standard input closes, so that no server outlives a killed program that started it",
    )
    arguments = parser.parse_args()
    if arguments.exit_with_parent:
        threading.Thread(target=_exit_at_end_of_input, daemon=True).start()
    try:
        _serve(arguments)
    except (OSError, ValueError) as error:
        print(f"demo.models.server: {error}", file=sys.stderr)
        return 2
    return 0


def _exit_at_end_of_input() -> None:
    while os.read(0, 1024):  # not `sys.stdin`: Python could not end while a thread waits in its buffer
        pass
    os._exit(0)


def _serve(arguments: argparse.Namespace) -> None:
    missing = [name for name in NEEDED if not (arguments.model / name).is_file()]
    if missing:
        raise ValueError(
            f"--model {arguments.model}: no {missing[0]} there; give a directory that holds a Qwen2-VL"
        )
    if min(arguments.max_batch, arguments.threads) < 1 or arguments.prefix_cache_mb < 0:
        raise ValueError("--max-batch and --threads must be at least 1, --prefix-cache-mb at least 0")
    if arguments.timeout <= 0 or not 0 <= arguments.port <= 65535:
        raise ValueError("--timeout must be above 0 and --port from 0 to 65535")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # Threads that wait for each other sleep instead of spinning: on busy cores spinning holds up the very
    # thread that is waited for. Read by OpenMP when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    import socket

    # Before the model is loaded: a taken port is said at once.
    listener = socket.socket(socket.AF_INET6 if ":" in arguments.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((arguments.host, arguments.port))
    except OSError as error:
        raise ValueError(
            f"cannot listen on {arguments.host}:{arguments.port}: {error.strerror or error}"
        ) from None

    import torch
    import uvicorn

    from demo.models.server.app import Server
    from demo.models.server.load import load

    torch.set_num_threads(arguments.threads)
    engine, encoder, parameters = load(
        arguments.model,
        rows=arguments.max_batch,
        context=arguments.context,
        cache_mb=arguments.prefix_cache_mb,
    )
    # What is loaded stays: the garbage collector need not walk through it during every request.
    gc.collect()
    gc.freeze()
    name = arguments.name or arguments.model.resolve().name

    async def run() -> None:
        server = Server(engine, encoder, name=name, timeout=arguments.timeout)
        config = uvicorn.Config(
            server.app(), log_level="warning", access_log=False, timeout_graceful_shutdown=5
        )
        await uvicorn.Server(config).serve(sockets=[listener])

    import asyncio

    address = f"http://{arguments.host}:{listener.getsockname()[1]}/v1"
    listener.listen(1024)  # from here on clients may connect; they are answered as soon as the loop runs
    what = f"{parameters / 1e6:.1f} M parameters, context {engine.context}, batch {arguments.max_batch}"
    print(f"serving {name} ({what}) at {address}", flush=True)
    asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
