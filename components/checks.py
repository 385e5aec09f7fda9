"""What can be tried before a run: each check is one line, and none raises."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.asking import RECONSTRUCTOR_KEY, VISION_KEY, api_key
from components.workspace import Workspace, is_remote
from ctgi.errors import CtgiError

TEXT = "Describe the person in one word: a woman in a red jacket."


@dataclass(frozen=True)
class Check:
    """`ok` is None where it could not be told."""

    what: str
    ok: bool | None
    said: str

    def row(self) -> dict[str, object]:
        word = {True: "ok", False: "FAILED", None: "not checked"}[self.ok]
        return {"what": self.what, "outcome": word, "said": self.said}

    def __str__(self) -> str:
        row = self.row()
        return f"{row['outcome']:<12} {self.what}: {self.said}"


def failed(checks: Sequence[Check]) -> None:
    """Raise CtgiError with every check that failed."""
    bad = [f"{check.what}: {check.said}" for check in checks if check.ok is False]
    if bad:
        raise CtgiError("preflight failed, nothing was spent: " + "; ".join(bad))


def check_workspace(url: str) -> Check:
    """Write, read and compare a file in the workspace."""
    return check_written("workspace", url)


def check_written(what: str, url: str) -> Check:
    """Write, read and remove a file in a place that the run writes to. In an object store conditional writes
    keep two tries of a step apart, so there they are tried, too."""
    if is_remote(url):
        return _tried(what, url)
    name, data = f"check-{uuid.uuid4().hex}", uuid.uuid4().bytes
    try:
        workspace = Workspace(url)
        workspace.write(name, data)
        same = workspace.read(name) == data
        workspace.remove(name)
    except (CtgiError, OSError) as error:
        return Check(f"{what} {url}", False, _line(error))
    return Check(f"{what} {url}", same, "written and read")


def check_pictures(named: Mapping[str, str], patience: float | None = None) -> Check:
    """Whether what is read (parameter: a path or s3://…) is there and holds something; a bucket is tried with
    at most so many seconds of `patience`."""
    bad = [f"{name} ({place}): {lack}" for name, place in named.items() if (lack := _lack(place, patience))]
    if bad:
        return Check("pictures", False, "; ".join(bad))
    return Check("pictures", True if named else None, ", ".join(named.values()) or "not here")


def _lack(place: str, patience: float | None) -> str:
    """What keeps a place from being read, "" if nothing does."""
    try:
        if is_remote(place):
            from ctgi.storage.opening import open_store

            return "" if any(True for _ in open_store(place, patience).list()) else "empty"
        folder = Path(place)
        if not folder.is_dir():
            return "no such folder"
        return "" if any(folder.iterdir()) else "empty"
    except (CtgiError, OSError) as error:
        return f"cannot be read ({getattr(error, 'strerror', None) or _line(error)})"
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed: pip install 'ctgi[store]'"


def check_store(url: str, patience: float | None = None) -> Check:
    """Put, get and delete an object, with at most so many seconds of `patience`."""
    return _tried("store", url, patience)


def _tried(what: str, url: str, patience: float | None = None) -> Check:
    what = f"{what} {url.rpartition('@')[2] if '://' in url else url}"  # what stands before @ is a secret
    try:
        from ctgi.storage.opening import open_store
        from ctgi.storage.store import check_store as tried

        tried(open_store(url, patience))
    except (CtgiError, OSError) as error:
        return Check(what, False, _line(error))
    except ModuleNotFoundError as error:
        return Check(what, False, f"{error.name} is not installed: pip install 'ctgi[store]'")
    return Check(what, True, "put, get and delete")


def check_model(server: str, model: str, *, sees: bool = True) -> Check:
    """One short call, the first of an interview, about a grey picture; of a language model, text alone."""
    from ctgi.mllm.chat import ChatRequest
    from ctgi.mllm.client import ChatClient
    from ctgi.mllm.messages import picture_message, system_message, user_message
    from ctgi.mllm.prompt import Prompt

    async def call() -> None:
        prompt = Prompt.load("describe")
        messages = (
            (system_message(), picture_message(_grey(), prompt.text)) if sees else (user_message(TEXT),)
        )
        request = ChatRequest(messages, "describe", prompt.version, max_tokens=8, logprobs=False)
        key = api_key(VISION_KEY if sees else RECONSTRUCTOR_KEY)
        async with ChatClient(server, model, api_key=key, timeout=60.0, retries=1) as client:
            await client.chat(request)

    try:
        asyncio.run(call())
    except CtgiError as error:
        return Check(f"model {model}", False, _line(error))
    return Check(f"model {model}", True, f"{server} answered a call")


def _grey() -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (64, 192), (128, 128, 128)).save(out, format="PNG")
    return out.getvalue()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
