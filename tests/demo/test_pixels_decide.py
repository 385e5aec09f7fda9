"""A dossier is made of its picture's pixels: swap pictures under the same names, and the dossiers follow.

With the small model's own server. Nothing that is sent names a picture, and nothing is cached, so the only
way for a dossier to follow the pixels is to have been read off them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from ctgi.datasets.pictures import picture_id
from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.dossier_store import DossierStore
from ctgi.interaction.enrol import enrol
from ctgi.mllm.client import ChatClient
from demo.models.launch import running
from demo.pedestrians.attributes import sample_person
from demo.pedestrians.camera import sample_view
from demo.pedestrians.render import render
from demo.pedestrians.world import jpeg

PEOPLE = 3


def by_name(folder: Path, url: str, place: Path) -> tuple[list[str], Dossiers]:
    """Enrol every picture of a folder; its dossiers in the order of the names."""
    files = sorted(folder.iterdir())
    some = [(picture_id(path.read_bytes()), path) for path in files]

    async def work() -> None:
        async with ChatClient(url, "qwen2vl", concurrency=13) as client:
            with DossierStore(place) as store:
                report = await enrol(some, store, client)
                assert report.asked == len(some) and report.cached == 0

    asyncio.run(work())
    return [path.name for path in files], Dossiers.load(place).of([key for key, _ in some])


def gaps(before: Dossiers, one: int, after: Dossiers, other: int) -> list[float]:
    """For each facet, how far two pictures' distributions lie apart at most."""
    return [
        float(np.abs(b[one] - a[other]).max())
        for b, a in zip(before.probability, after.probability, strict=True)
    ]


@pytest.mark.slow
def test_dossiers_follow_the_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(31)
    shown = [jpeg(render(sample_person(rng), sample_view(rng))[0]) for _ in range(PEOPLE)]
    for name, order in (
        ("as-rendered", range(PEOPLE)),
        ("swapped", [(n + 1) % PEOPLE for n in range(PEOPLE)]),
    ):
        (tmp_path / name).mkdir()
        for number, row in enumerate(order):
            (tmp_path / name / f"person-{number}.jpg").write_bytes(shown[row])
    with running() as url:
        names, before = by_name(tmp_path / "as-rendered", url, tmp_path / "one.sqlite")
        again, after = by_name(tmp_path / "swapped", url, tmp_path / "two.sqlite")
    assert names == again
    for number in range(PEOPLE):
        same, other = before.ids.index(after.ids[number]), number
        assert same == (number + 1) % PEOPLE
        follows = gaps(before, same, after, number)
        stays = gaps(before, other, after, number)
        # The same pixels, asked anew. Where two first words are as likely as each other, which one is said
        # depends on the batch it is computed in: one answer may fall the other way.
        assert sum(gap > 0.05 for gap in follows) <= 1
        assert sum(gap > 0.5 for gap in stays) >= 4  # the same name, another person
        said, anew = before.answers(before.ids[same]), after.answers(after.ids[number])
        assert sum(a.text != b.text for a, b in zip(said, anew, strict=True)) <= 1
