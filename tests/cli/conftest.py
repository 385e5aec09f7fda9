"""A world of one-coloured pictures: encoders that see the colour, a chat server that answers from pixels."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200), "white": (240, 240, 240)}


def colour_of(picture: Image.Image) -> str:
    small = picture.convert("RGB").resize(
        (4, 12), Image.Resampling.BOX
    )  # box: means stay, large ones are quick
    pixel = np.asarray(small, dtype=float).mean(axis=(0, 1))
    return min(COLOURS, key=lambda name: float(np.abs(pixel - COLOURS[name]).sum()))


class ColourEncoders:
    """Stands in for a release's: a text is the colours it names, a picture is its colour and shade."""

    fingerprint, dim = "f" * 64, len(COLOURS) + 1

    def __init__(self, folder: Path | str, **_: Any) -> None:
        self.release = SimpleNamespace(
            mti=json.loads((Path(folder) / "mti.json").read_text(encoding="utf-8"))
        )
        self.pictures_seen = 0

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        rows = [[float(name in text.lower()) for name in COLOURS] + [0.1] for text in texts]
        return self._unit(rows)

    def encode_pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        self.pictures_seen += len(pictures)
        rows = [
            [float(colour_of(p) == name) for name in COLOURS] + [np.asarray(p).mean() / 255] for p in pictures
        ]
        return self._unit(rows)

    @staticmethod
    def _unit(rows: list[list[float]]) -> np.ndarray:
        table = np.array(rows, dtype=np.float32).reshape(-1, ColourEncoders.dim)
        return table / np.linalg.norm(table, axis=1, keepdims=True)


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "mti.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr("ctgi.export.runtime.OnnxEncoders", ColourEncoders)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number, (name, value) in enumerate(COLOURS.items()):
        for shade in range(2):
            pixel = tuple(max(0, channel - 20 * shade) for channel in value)
            path = folder / ("deep" if number % 2 else ".") / f"{name}{shade}.png"
            Image.new("RGB", (32, 96), pixel).save(path)
    return folder


class ChatServer:
    """An OpenAI-compatible server; it sees the pictures it is sent and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = server.reply(request["messages"])
                body = {
                    "id": "1", "object": "chat.completion", "created": 0, "model": request["model"],
                    "choices": [{"index": 0, "finish_reason": "stop",
                                 "message": {"role": "assistant", "content": text}}],
                    "usage": {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107},
                }  # fmt: skip
                data = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # the client may have called it off
                    self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def reply(self, messages: list[dict[str, Any]]) -> str:
        shown = next(part for part in messages[1]["content"] if part["type"] == "image_url")
        data = base64.b64decode(shown["image_url"]["url"].partition(",")[2])
        colour = colour_of(Image.open(io.BytesIO(data)))
        last = messages[-1]["content"]
        text = last if isinstance(last, str) else last[1]["text"]
        if "match this description?" in text:
            self.asked["judge"] += 1
            named = [name for name in COLOURS if name in text]
            return "Yes." if all(name == colour for name in named) else "No."
        if text == "Describe the person in the picture.":
            self.asked["describe"] += 1
            return f"A person in a {colour} jacket."
        self.asked["answer"] += 1
        if "lower body" in text:
            return f"The person wears {colour} trousers."
        return "Cannot tell."

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    server = ChatServer()
    yield server
    server.stop()


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Four people of one colour each, two pictures a head, three splits, in RSTPReid's layout."""
    root = tmp_path / "rstp"
    (root / "imgs").mkdir(parents=True)
    entries = []
    for split_number, split in enumerate(("train", "val", "test")):
        for number, (name, value) in enumerate(COLOURS.items()):
            for view in range(2):
                file = f"{split}_{name}_{view}.png"
                pixel = tuple(max(0, channel - 9 * view - split_number) for channel in value)
                Image.new("RGB", (32, 96), pixel).save(root / "imgs" / file)
                captions = [f"A person in {name} clothes, take {take}." for take in range(3)]
                entries.append(
                    {"id": split_number * 4 + number, "img_path": file, "captions": captions, "split": split}
                )
    (root / "data_captions.json").write_text(json.dumps(entries), encoding="utf-8")
    return root
