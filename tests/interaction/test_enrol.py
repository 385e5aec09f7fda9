"""Asking pictures for their dossiers: once, in any order, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ctgi.captioning.pool import QuestionPool
from ctgi.captioning.progress import Progress
from ctgi.datasets.pictures import picture_id
from ctgi.errors import CtgiError
from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.dossier_store import DossierStore
from ctgi.interaction.enrol import EnrolReport, enrol
from ctgi.interaction.vocabulary import default_facets
from ctgi.mllm.cache import ReplyCache
from ctgi.mllm.client import ChatClient
from tests.chat_server import ChatServer, Reply, answer, chat_server, completion, error, last_text

PLACE = {facet.key: number for number, facet in enumerate(default_facets())}


def pictures(folder: Path, count: int) -> list[tuple[str, Path]]:
    folder.mkdir(exist_ok=True)
    found = []
    for number in range(count):
        path = folder / f"{number:03}.png"
        if not path.exists():
            Image.new("RGB", (16, 48), (number % 256, 7, 90)).save(path)
        found.append((picture_id(path.read_bytes()), path))
    return found


def ask(
    server: ChatServer,
    some: list[tuple[str, Path]],
    store: Path,
    *,
    cache: Path | None = None,
    model: str = "small",
    progress: Any = None,
) -> EnrolReport:
    async def work() -> EnrolReport:
        kept = None if cache is None else ReplyCache(cache)
        async with ChatClient(server.url, model, cache=kept, retries=0, backoff=0.01) as client:
            with DossierStore(store) as held:
                return await enrol(some, held, client, progress=progress)

    return asyncio.run(work())


def test_every_picture_is_asked_everything_once(tmp_path: Path) -> None:
    some, seen = pictures(tmp_path / "p", 4), []
    with chat_server() as server:
        report = ask(server, some, tmp_path / "d", progress=lambda p: seen.append((p.done, p.total)))
        assert (report.asked, report.fresh, report.calls) == (4, 0, 52) and len(server.asked) == 52
        assert report.prompt_tokens == 5200 and 0 < report.bytes_per_picture
        again = ask(server, some, tmp_path / "d")
        assert (again.asked, again.fresh, again.calls) == (0, 4, 0) and len(server.asked) == 52
    assert seen[-1] == (4, 4)
    dossiers = Dossiers.load(tmp_path / "d")
    assert set(dossiers.ids) == {key for key, _ in some} and dossiers.model == "small"
    values = dossiers.facets[PLACE["bag/colour"]].values
    assert dossiers.probability[PLACE["bag/colour"]][:, values.index("red")].min() > 0.9
    assert (dossiers.probability[PLACE["hat/kind"]][:, -1] > 0.9).all()  # "Cannot tell."
    assert {a.topic: a.text for a in dossiers.answers(some[0][0])}["held"] == "The person holds a phone."


def test_the_alternatives_are_asked_for_and_kept_in_the_cache(tmp_path: Path) -> None:
    """A dossier from cached replies is that of the replies themselves."""

    def script(body: dict[str, Any], number: int) -> Reply:
        assert body["logprobs"] and body["top_logprobs"] == 5
        if "a hat" not in last_text(body):
            return answer(body)
        tokens = [("The person wears a", 1.0), (" red", 0.7), (" cap", 0.6)]
        top = [
            [("The person wears a", 1.0)],
            [(" red", 0.7), (" blue", 0.3)],
            [(" cap", 0.6), (" bean", 0.4)],
        ]
        return Reply(completion("The person wears a red cap", tokens, top))

    some = pictures(tmp_path / "p", 1)
    with chat_server(script) as server:
        ask(server, some, tmp_path / "one", cache=tmp_path / "cache")
        report = ask(server, some, tmp_path / "two", cache=tmp_path / "cache")
        assert report.cached == 13 and report.calls == 0
    for name in ("one", "two"):
        found = Dossiers.load(tmp_path / name)
        facet = PLACE["hat/kind"]
        of = dict(zip(found.facets[facet].values, found.probability[facet][0].tolist(), strict=True))
        assert of["cap"] == pytest.approx(0.6, abs=1e-3) and of["beanie"] == pytest.approx(0.4, abs=1e-3)


def test_only_the_pictures_of_another_model_are_asked_again(tmp_path: Path) -> None:
    some = pictures(tmp_path / "p", 3)
    with chat_server() as server:
        ask(server, some[:2], tmp_path / "d", model="old")
        report = ask(server, some, tmp_path / "d", model="new")
        assert (report.asked, report.stale, report.fresh) == (3, 2, 0)
        assert Dossiers.load(tmp_path / "d").stale("new", Dossiers.load(tmp_path / "d").prompt_version) == ()
        assert Counter(body["model"] for body in server.asked) == {"old": 26, "new": 39}


def test_only_the_pictures_of_an_older_pool_are_asked_again(tmp_path: Path) -> None:
    """A question that is put differently makes what was answered to it stale, by name."""
    some = pictures(tmp_path / "p", 3)
    new = QuestionPool.load()
    first, *others = new.questions
    new = QuestionPool([replace(first, question=f"{first.question} Look well."), *others])

    async def work(url: str, some: list[tuple[str, Path]], pool: QuestionPool | None) -> EnrolReport:
        async with ChatClient(url, "small", cache=ReplyCache(tmp_path / "cache"), retries=0) as client:
            with DossierStore(tmp_path / "d") as held:
                return await enrol(some, held, client, pool=pool)

    with chat_server() as server:
        asyncio.run(work(server.url, some[:2], None))
        asyncio.run(work(server.url, some[2:], new))
        before = len(server.asked)
        assert before == 39
        report = asyncio.run(work(server.url, some, new))
        assert (report.asked, report.stale, report.fresh) == (2, 2, 1)
        asked = [last_text(body) for body in server.asked[before:]]
        assert len(asked) == 2 and all("Look well." in text for text in asked)  # the rest was kept


def test_what_cannot_be_asked_is_skipped_with_its_reason(tmp_path: Path) -> None:
    some = pictures(tmp_path / "p", 4)
    some[0][1].write_bytes(b"no picture any more")
    some[1][1].unlink()
    broken = tmp_path / "p" / "broken.png"
    broken.write_bytes(some[2][1].read_bytes()[:60])
    some.append((picture_id(broken.read_bytes()), broken))

    def script(body: dict[str, Any], number: int) -> Reply:
        shown = body["messages"][1]["content"][0]["image_url"]["url"]
        return error(400, "this picture is not taken") if shown == refused else answer(body)

    import base64

    refused = "data:image/png;base64," + base64.b64encode(some[3][1].read_bytes()).decode()
    with chat_server(script) as server:
        report = ask(server, some, tmp_path / "d")
    reasons = {Path(name).name: reason for name, reason in report.skipped}
    assert report.asked == 1 and set(reasons) == {"000.png", "001.png", "003.png", "broken.png"}
    assert "changed since it was indexed" in reasons["000.png"] and "cannot be read" in reasons["001.png"]
    assert "not taken" in reasons["003.png"] and "broken.png" in reasons["broken.png"]
    assert Dossiers.load(tmp_path / "d").ids == (some[2][0],)


def test_a_server_that_is_gone_ends_the_run_and_keeps_what_was_done(tmp_path: Path) -> None:
    some = pictures(tmp_path / "p", 6)

    def script(body: dict[str, Any], number: int) -> Reply:
        return answer(body) if number < 40 else error(401, "who are you?")

    with chat_server(script) as server:
        with pytest.raises(CtgiError, match="have their dossier, run again to go on"):
            ask(server, some, tmp_path / "d", cache=tmp_path / "cache")
        done = len(Dossiers.load(tmp_path / "d").ids)
        assert 0 < done < 6
        server.script = answer
        before = len(server.answered)
        report = ask(server, some, tmp_path / "d", cache=tmp_path / "cache")
    assert report.asked == 6 - done and report.fresh == done
    assert len(server.answered) == 78 and len(server.answered) - before == report.calls  # nothing twice


def test_one_bad_answer_costs_its_picture_and_not_its_other_answers(tmp_path: Path) -> None:
    some = pictures(tmp_path / "p", 2)

    def script(body: dict[str, Any], number: int) -> Reply:
        return error(500) if number == 7 else answer(body)

    with chat_server(script) as server:
        report = ask(server, some, tmp_path / "d", cache=tmp_path / "cache")
        assert report.asked == 1 and len(report.skipped) == 1
        report = ask(server, some, tmp_path / "d", cache=tmp_path / "cache")
        assert report.asked == 1 and report.calls == 1 and report.cached == 12


def test_answers_of_any_kind_make_a_dossier(tmp_path: Path) -> None:
    texts = ["", "�\x00\ud83d\ude00", "No. " * 400, "{}", "Yes, a red hat, no a blue cap, perhaps."]

    def script(body: dict[str, Any], number: int) -> Reply:
        return Reply(completion(texts[number % len(texts)]))

    some = pictures(tmp_path / "p", 3)
    with chat_server(script) as server:
        report = ask(server, some, tmp_path / "d")
    dossiers = Dossiers.load(tmp_path / "d")
    assert report.asked == 3
    for table in dossiers.probability:
        assert table.sum(axis=1) == pytest.approx(1, abs=1e-3) and table.min() >= 0
    assert len(dossiers.answers(some[0][0])) == 13


@pytest.mark.slow
def test_killed_at_any_point_it_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    some = pictures(tmp_path / "p", 12)

    def script(body: dict[str, Any], number: int) -> Reply:
        reply = answer(body)
        reply.delay = 0.005
        return reply

    listed = tmp_path / "list.json"
    listed.write_text(json.dumps([(key, str(path)) for key, path in some]), encoding="utf-8")
    program = """
import asyncio, json, sys
from pathlib import Path
from ctgi.interaction.dossier_store import DossierStore
from ctgi.interaction.enrol import enrol
from ctgi.mllm.cache import ReplyCache
from ctgi.mllm.client import ChatClient

async def work(url, listed, store, cache):
    some = [(key, Path(path)) for key, path in json.loads(Path(listed).read_text())]
    async with ChatClient(url, "small", cache=ReplyCache(cache)) as client:
        with DossierStore(store) as held:
            print(json.dumps(vars(await enrol(some, held, client))))

asyncio.run(work(*sys.argv[1:]))
"""
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with chat_server(script) as server:
        places = [str(listed), str(tmp_path / "d"), str(tmp_path / "cache")]
        for kills in (30, 90):
            process = subprocess.Popen(
                [*command, server.url, *places], env=environment, stdout=subprocess.PIPE
            )
            while len(server.answered) < kills and process.poll() is None:
                time.sleep(0.005)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        done = subprocess.run(
            [*command, server.url, *places], env=environment, stdout=subprocess.PIPE, check=True, text=True
        )
    report = json.loads(done.stdout)
    assert report["asked"] + report["fresh"] == 12 and report["fresh"] > 0
    assert set(Dossiers.load(tmp_path / "d").ids) == {key for key, _ in some}
    # What was under way at a kill had been answered and not yet kept: at most what was in flight, each time.
    assert len(server.answered) <= 12 * 13 + 2 * 8


def test_progress_is_that_of_captioning(tmp_path: Path) -> None:
    shown: list[str] = []

    def show(progress: Progress) -> None:
        shown.append(progress.line())

    with chat_server() as server:
        ask(server, pictures(tmp_path / "p", 2), tmp_path / "d", progress=show)
    assert shown[-1].startswith("2/2 pictures")
