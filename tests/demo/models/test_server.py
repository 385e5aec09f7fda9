"""The protocol, through OpenAI's own client against a server that was really started."""

from __future__ import annotations

import base64
import io
import json
import math
import socket
import struct
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from demo.models.server.load import load

ROOT_MODULE = "demo.models.server"


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def url(picture):
    def as_url(number: int, kind: str = "PNG") -> str:
        file = io.BytesIO()
        picture(number).save(file, kind)
        return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"

    return as_url


def look(url: str, text: str = "What is the person wearing?") -> list[dict]:
    shown = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return [{"role": "system", "content": "You look at a picture."}, {"role": "user", "content": shown}]


def ask(client, messages, **more):
    more = {"temperature": 0, "max_tokens": 8, **more}
    return client.chat.completions.create(model="tiny", messages=messages, **more)


def test_one_clear_line_says_where_it_is(server, client):
    assert server.first_line.startswith("serving tiny (")
    assert server.url in server.first_line
    assert [m.id for m in client.models.list()] == ["tiny"]
    health = httpx.get(server.url.removesuffix("/v1") + "/health")
    assert health.status_code == 200 and health.json()["status"] == "ok"


def test_an_answer_has_the_shape_of_openai(client, url):
    reply = ask(client, look(url(0)), logprobs=True, top_logprobs=3)
    (choice,) = reply.choices
    assert choice.message.role == "assistant" and choice.message.content
    tokens = choice.logprobs.content
    assert b"".join(bytes(t.bytes) for t in tokens).decode("utf-8", "replace") == choice.message.content
    for token in tokens:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.top_logprobs[0].token == token.token  # greedy
        assert sum(math.exp(t.logprob) for t in token.top_logprobs) <= 1.0001
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.usage.prompt_tokens > 27
    assert reply.usage.prompt_tokens_details.cached_tokens >= 0
    assert ask(client, look(url(0))).choices[0].logprobs is None


def test_several_turns_reuse_the_turns_before(client, url):
    messages = look(url(1), "Describe the person in the picture.")
    answer = ask(client, messages)
    messages += [
        {"role": "assistant", "content": answer.choices[0].message.content},
        {"role": "user", "content": "Is the person carrying a bag?"},
    ]
    second = ask(client, messages)
    assert second.usage.prompt_tokens_details.cached_tokens >= answer.usage.prompt_tokens - 8


def test_seed_temperature_and_stop(client, url):
    hot = {"temperature": 1.5, "max_tokens": 12}
    texts = [ask(client, look(url(0)), seed=seed, **hot).choices[0].message.content for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    full = ask(client, look(url(0))).choices[0].message.content
    cut = ask(client, look(url(0)), stop=full[3:5])
    assert cut.choices[0].message.content == full[: full.index(full[3:5])]
    assert cut.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    "extra", [{"structured_outputs": {"choice": ["yes", "no"]}}, {"guided_choice": ["yes", "no"]}]
)
def test_choices(client, url, extra):
    reply = ask(client, look(url(2)), extra_body=extra, logprobs=True, top_logprobs=5)
    assert reply.choices[0].message.content in ("yes", "no")
    assert {t.token for t in reply.choices[0].logprobs.content[0].top_logprobs} == {"yes", "no"}
    assert reply.choices[0].finish_reason == "stop"


def test_json_schema(client, url):
    schema = {
        "type": "object",
        "properties": {"bag": {"type": "boolean"}, "kind": {"enum": ["backpack", "none"]}},
    }
    form = {"type": "json_schema", "json_schema": {"name": "bag", "schema": schema}}
    value = json.loads(
        ask(client, look(url(0)), response_format=form, max_tokens=60).choices[0].message.content
    )
    assert isinstance(value["bag"], bool) and value["kind"] in ("backpack", "none")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_picture_formats(client, url, kind):
    assert ask(client, look(url(0, kind))).usage.completion_tokens


def _bomb(side: int) -> str:
    """A PNG of a few bytes that says it has side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(png).decode()


@pytest.mark.parametrize(
    "bad, said",
    [
        ("data:image/png;base64,@@@@", "base64"),
        ("data:image/png;base64," + base64.b64encode(b"not a picture").decode(), "decoded"),
        ("data:image/png,plain", "base64"),
        ("https://example.org/a.png", "data URL"),
        ("file:///etc/passwd", "data URL"),
        (_bomb(6_000), "6000x6000"),
        (_bomb(60_000), "decompression bomb"),
        ("data:image/png;base64," + "A" * 12_000_000, "larger than"),
    ],
)
def test_bad_pictures_are_refused_by_reason(client, bad, said):
    with pytest.raises(openai.BadRequestError, match=said) as refused:
        ask(client, look(bad))
    assert refused.value.body["type"] == "invalid_request_error"
    assert refused.value.body["param"] == "messages"


def test_truncated_picture_is_refused(client, url):
    data = base64.b64decode(url(0).split(",")[1])
    with pytest.raises(openai.BadRequestError, match="decoded"):
        ask(client, look("data:image/png;base64," + base64.b64encode(data[: len(data) // 2]).decode()))


@pytest.mark.parametrize(
    "body, param",
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"n": 2}, "n"),
        ({"stream": True}, "stream"),
        ({"temperature": 9}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"stop": [""]}, "stop"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "a"}}, "structured_outputs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}},
            "response_format",
        ),
        ({"messages": [{"role": "user", "content": "word " * 2000}]}, "messages"),
        ({"max_tokens": 100_000}, "messages"),
    ],
)
def test_bad_requests_name_the_parameter(server, body, param):
    whole = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], **body}
    reply = httpx.post(server.url + "/chat/completions", json=whole, timeout=20)
    error = reply.json()["error"]
    assert reply.status_code == 400, error
    assert error["param"] == param and error["type"] == "invalid_request_error" and error["message"]


def test_unknown_model_path_and_body(server, client):
    with pytest.raises(openai.NotFoundError, match="'gpt'"):
        client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "x"}])
    assert "error" in httpx.get(server.url + "/nothing").json()
    for content in (b"{", b"[1]", b"\xff\xfe", b"[" * 100_000):
        reply = httpx.post(server.url + "/chat/completions", content=content)
        assert reply.status_code == 400 and "error" in reply.json()


def test_thirty_two_at_once_are_answered_together_and_as_alone(server, client, url):
    asked = [(look(url(n % 8), f"Question {n // 8}?"), 6 + n % 5) for n in range(64)]
    alone = [
        ask(client, messages, max_tokens=limit).choices[0].message.content for messages, limit in asked[:16]
    ]
    before = {name: server.counted(name) for name in ("chat_requests_total", "chat_decode_batch_sum")}
    steps = server.counted("chat_decode_batch_count")
    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(lambda a: ask(client, a[0], max_tokens=a[1]), asked))
    assert [r.choices[0].message.content for r in replies[:16]] == alone
    assert server.counted("chat_requests_total") - before["chat_requests_total"] == 64
    tokens = server.counted("chat_decode_batch_sum") - before["chat_decode_batch_sum"]
    assert tokens > 2 * (server.counted("chat_decode_batch_count") - steps)


def test_clients_that_hang_up_free_their_place(server, client):
    host, port = server.url.removeprefix("http://").removesuffix("/v1").split(":")
    body = json.dumps({"messages": [{"role": "user", "content": "Go on."}], "temperature": 1.9}).encode()
    given_up = server.counted("chat_cancelled_total")
    for _ in range(3):
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
                + body
            )
            time.sleep(0.03)
    with socket.create_connection((host, int(port))) as raw:  # and one that never finishes its request
        raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
    deadline = time.monotonic() + 10
    while server.counted("chat_running") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.counted("chat_running") == 0
    assert server.counted("chat_cancelled_total") > given_up
    assert ask(client, [{"role": "user", "content": "Still there?"}]).choices


def test_deadline_gives_up_with_a_gateway_timeout(start):
    hurried = start("--timeout", "0.0005", "--name", "hurried")
    reply = httpx.post(
        hurried.url + "/chat/completions",
        json={"model": "hurried", "messages": [{"role": "user", "content": "Go on."}], "temperature": 0},
    )
    assert reply.status_code == 504 and reply.json()["error"]["code"] == "timeout"
    hurried.process.terminate()
    assert hurried.process.wait(10) is not None


def _run(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", ROOT_MODULE, *flags], capture_output=True, text=True, timeout=60
    )


def test_errors_at_start_are_one_line(model_directory, server, tmp_path):
    nowhere = _run("--model", str(tmp_path / "none"))
    assert nowhere.returncode == 2 and nowhere.stderr.count("\n") == 1 and "config.json" in nowhere.stderr
    port = server.url.removesuffix("/v1").rsplit(":", 1)[1]
    taken = _run("--model", str(model_directory), "--port", port)
    assert taken.returncode == 2 and taken.stderr.count("\n") == 1 and port in taken.stderr
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in model_directory.iterdir():
        (damaged / file.name).write_bytes(
            file.read_bytes()[: 3000 if file.suffix == ".safetensors" else None]
        )
    with pytest.raises(ValueError, match="cannot be loaded") as refused:
        load(damaged)
    assert "\n" not in str(refused.value)


def test_one_that_refuses_at_start_says_one_line_and_ends_also_when_it_watches_its_parent(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).touch()
    command = [sys.executable, "-m", ROOT_MODULE, "--model", str(tmp_path), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--exit-with-parent"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # whose parent lives on, and keeps the pipe open
    assert process.wait(60) == 2 and process.stderr is not None
    said = process.stderr.read()
    assert said.count("\n") == 1 and "model_type is 'bert'" in said


def test_help_teaches():
    told = _run("--help")
    assert told.returncode == 0 and "example:" in told.stdout and "curl" in told.stdout
    assert "demo/models/weights/qwen2vl" in told.stdout


def test_the_demos_own_weights_are_the_default(server):
    port = server.url.removesuffix("/v1").rsplit(":", 1)[1]
    taken = _run("--port", port)  # found there, since a missing file would be said before
    assert taken.returncode == 2 and "cannot listen" in taken.stderr


def test_the_server_ends_with_the_program_that_started_it(model_directory) -> None:
    command = [sys.executable, "-m", "demo.models.server", "--model", str(model_directory), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--exit-with-parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline().startswith(b"serving")
    process.stdin.close()  # what the kernel does when the parent is killed
    assert process.wait(30) == 0
