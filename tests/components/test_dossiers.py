"""Dossiers in the pipelines: asked when a shard is embedded, joined in the gallery, asked for once."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from components.build_index import bring_up_to_date
from components.plan_shards import plan
from components.shards import read_list, write_list
from components.workspace import Workspace
from ctgi.captioning.pool import default_pool
from ctgi.gallery.index import Gallery
from ctgi.interaction.dossier_store import DOSSIERS, DossierStore
from tests.chat_server import Reply, error
from tests.components.story import PICTURES, STORY, World, script

pytestmark = pytest.mark.slow


def asked_in(folder: Path) -> set[str]:
    with DossierStore(folder / DOSSIERS, must_exist=True) as store:
        return store.ids()


def planned(world: World, asked_by: str) -> set[str]:
    """The pictures that a shard of the next run would have."""
    work, out = world.given["work"], str(world.place / "planned")
    items = plan(
        f"{world.place}/photos", work, out, f"{out}.txt", "", "train", 100,
        f"{world.place}/gallery", "1", world.given["fingerprint"], asked_by,
    )  # fmt: skip
    return {p.id for item in items for p in read_list(item["digest"], Workspace(work))}


def test_every_question_is_asked_once_and_a_picture_without_an_answer_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.back_to_before("embed")
    unlucky = base64.b64encode((world.place / "photos" / "3.png").read_bytes()).decode()
    busy, questions, before = True, len(default_pool()), len(world.server.asked)

    def overloaded(body: dict[str, Any], number: int) -> Reply:
        if busy and unlucky in json.dumps(body):
            return error(429, "busy for an hour", {"retry-after": "3600"})
        return script(body, number)

    monkeypatch.setattr(world.server, "script", overloaded)
    end = world.run("embed")
    assert end.code == 2 and "gave no answer about 1 of 6 pictures" in end.said and "3.png: http" in end.said
    assert len(world.server.asked) - before == PICTURES * questions
    busy, before = False, len(world.server.asked)
    end = world.run("embed")
    assert end.code == 0, end.said
    assert len(world.server.asked) - before == questions
    assert STORY["embed"].outcome(world, world.out("embed")) == world.outcomes["embed"]
    assert world.said("embed")["metadata"]["metrics"]["asked"] == 1
    assert not list(world.out("embed").glob("embedded/replies*"))  # they are of use in the workspace alone


def test_only_pictures_that_this_model_has_not_been_asked_about_are_planned(world: World) -> None:
    world.back_to_before("promote")  # the gallery is built
    [folder] = (world.place / "gallery").iterdir()
    everything = set(Gallery.open(folder, None).ids)
    assert len(everything) == PICTURES and asked_in(folder) == everything
    assert planned(world, "") == planned(world, "m") == set()
    assert planned(world, "another model") == everything
    forgotten = min(everything)
    with DossierStore(folder / DOSSIERS) as store:
        store.forget([forgotten])
    assert planned(world, "m") == {forgotten} and planned(world, "") == set()


def test_a_gallery_keeps_the_dossiers_of_its_pictures_and_of_no_others(world: World, tmp_path: Path) -> None:
    world.back_to_before("promote")
    [folder] = (world.place / "gallery").iterdir()
    work, fingerprint = world.given["work"], world.given["fingerprint"]
    there = read_list(world.given["listing"], Workspace(work))
    part = str(world.out("embed") / "embedded")

    def build(parts: list[str], count: int) -> None:
        listing = write_list(there[:count], Workspace(work))
        bring_up_to_date(
            parts, str(world.place / "gallery"), fingerprint, listing, f"{world.place}/photos", work,
            str(tmp_path / "report"), str(tmp_path / "index"),
        )  # fmt: skip

    kept = {picture.id for picture in there[:4]}
    build([part], 4)
    assert asked_in(folder) == kept == set(Gallery.open(folder, None).ids)
    with DossierStore(folder / DOSSIERS) as store:
        before = store.read()
    (Path(part) / DOSSIERS).unlink()  # a run without a chat model touches no dossier
    build([part], 4)
    with DossierStore(folder / DOSSIERS) as store:
        after = store.read()
    assert after.ids == before.ids and after.said == before.said and after.model == "m"
