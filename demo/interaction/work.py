"""The stages of the measurement: ask for dossiers, choose every method's parameters on val, measure on test.

Within a stage every method that is done is kept in a file of its own, and replies of the chat model are kept
anyway, so an interrupted stage goes on where it was.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctgi.cli.figures import plain
from ctgi.cli.progress import counter
from ctgi.errors import CtgiError
from ctgi.storage.atomic import read_json, write_bytes, write_json, write_text
from demo.interaction.methods import BY_NAME, METHODS

if TYPE_CHECKING:
    from demo.interaction.measured import Bench
    from demo.loop import Loop

RESULTS, TABLE, FIGURE, CURVES = "results.json", "table.md", "figure.png", "chosen.png"
RELIABILITY = "reliability.png"


def interact(loop: Loop) -> None:
    """All stages, after `Loop.publish`."""
    s, records = loop.settings, loop.stages.records
    asked = loop.stage(
        "dossiers",
        {"world": records["world"].digest, "model": loop.chat.digest, "prompts": _recipe()},
        lambda place: _enrol(loop, place),
        outputs=("val.sqlite", "test.sqlite", RELIABILITY),
    )
    _into_gallery(loop.out / "dossiers" / "test.sqlite", loop.out / "gallery")
    shared = {
        "dossiers": asked.digest,
        "release": records["export"].digest,
        "calibration": records["choose"].result["calibration"],
        "least": records["choose"].result["min_probability"],
        "methods": [[m.name, m.fixed, m.axes, m.like] for m in METHODS],
        **loop.searching(),
    }
    chosen = loop.stage("tune", {**shared, "queries": s.val_queries}, lambda place: _choose(loop, place))
    _into_release(loop.out / "release", asked.result["calibration"], chosen.result)
    choices = {name: record["settings"] for name, record in chosen.result.items()}
    loop.stage(
        "interaction",
        {**shared, "chosen": choices, "queries": s.interaction_queries, "size": s.large_gallery},
        lambda place: _measure(loop, place, choices),
        outputs=(RESULTS,),
    )
    _present(loop.out / "interaction")


def _recipe() -> str:
    from ctgi.captioning.pool import default_pool
    from ctgi.interaction.enrol import prompt_version
    from ctgi.interaction.vocabulary import default_vocabulary

    return prompt_version(default_pool(), default_vocabulary())


def _enrol(loop: Loop, place: Path) -> Mapping[str, Any]:
    from ctgi.captioning.progress import ProgressLine
    from ctgi.datasets.annotations import read_dataset
    from ctgi.datasets.pictures import picture_id
    from ctgi.interaction.dossier_store import DossierStore
    from ctgi.interaction.enrol import enrol
    from demo.learn import LAYOUT

    data = read_dataset(loop.out / "world", LAYOUT)
    reports = {}
    for split in ("val", "test"):
        samples = getattr(data, split)
        pictures = [(picture_id(sample.picture.read_bytes()), sample.picture) for sample in samples]

        async def work(split: str = split, pictures: Any = pictures) -> Any:
            async with loop.chat.client(2 * loop.settings.concurrency) as client:
                with DossierStore(place / f"{split}.sqlite") as store:
                    return await enrol(pictures, store, client, progress=ProgressLine())

        reports[split] = asyncio.run(work())
        if reports[split].skipped:
            raise CtgiError(f"dossiers of {split}: {reports[split].skipped[0][1]}; run again")
    return {"asked": reports, "calibration": _calibrated(loop.out / "world", place)}


def _calibrated(world: Path, place: Path) -> Mapping[str, Any]:
    """What the answers' probabilities are worth, learnt on all val queries, and drawn."""
    from ctgi.datasets.annotations import read_dataset
    from ctgi.datasets.pictures import picture_id
    from ctgi.evaluation.reliability import save_reliability
    from ctgi.interaction.config import MTIConfig
    from ctgi.interaction.dossier import Dossiers
    from ctgi.interaction.reading import read_query
    from ctgi.interaction.temperature import fit_temperatures, known_answers, reliability
    from demo.learn import LAYOUT

    dossiers = Dossiers.load(place / "val.sqlite")
    samples = read_dataset(world, LAYOUT).val
    mine: dict[int, list[int]] = {}
    for sample in samples:
        mine.setdefault(sample.identity, []).append(
            int(dossiers.rows([picture_id(sample.picture.read_bytes())])[0])
        )
    said = [(read_query(text, dossiers.facets), mine[s.identity]) for s in samples for text in s.captions]
    answered = known_answers(dossiers, [reading for reading, _ in said], [rows for _, rows in said])
    found = fit_temperatures(dossiers, answered, MTIConfig().doubt)
    save_reliability(reliability(answered), reliability(answered, dossiers, found), place / RELIABILITY)
    return found.to_dict()


def _into_gallery(store: Path, gallery: Path) -> None:
    """The test pictures' dossiers beside their vectors, where `ctgi search` looks for them."""
    from ctgi.interaction.dossier_store import DOSSIERS

    data = store.read_bytes()
    if not (gallery / DOSSIERS).exists() or (gallery / DOSSIERS).read_bytes() != data:
        write_bytes(gallery / DOSSIERS, data)


def _into_release(release: Path, calibration: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    """What was chosen on val for each judge, as `ctgi tune` leaves it."""
    from ctgi.export.release import Release, record_mti

    tuned = {judge: chosen[name] for judge, name in (("hard", "paper"), ("soft", "soft"), ("dossier", "all"))}
    held = Release.load(release, verify=False).mti
    facts = {**held, "dossiers": calibration, "tuned": tuned}
    if held != facts:
        record_mti(release, facts)


def _bench(loop: Loop, split: str, queries: int) -> tuple[Bench, list[str]]:
    from ctgi.interaction.calibration import Calibration
    from ctgi.interaction.dossier import Dossiers
    from ctgi.interaction.temperature import Temperatures
    from demo.interaction.measured import Bench
    from demo.interaction.remembered import remembered
    from demo.measure import chosen_queries, embedded

    encoders = loop.released()
    world, records = loop.out / "world", loop.stages.records
    made, kinds = embedded(world, split, chosen_queries(world, split, queries), encoders)
    held = Dossiers.load(loop.out / "dossiers" / f"{split}.sqlite")
    bench = Bench(
        made,
        Temperatures.of(loop.stages.records["dossiers"].result["calibration"]).applied(held),
        remembered(encoders.encode_texts) if split == "val" else encoders.encode_texts,
        Calibration.of(records["choose"].result["calibration"]),
        float(records["choose"].result["min_probability"]),
        loop.chat,
        loop.settings,
    )
    return bench, kinds


def _once(path: Path, work: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """What ``work`` gave before, or gives now."""
    if path.exists():
        return dict(read_json(path))
    found: Mapping[str, Any] = plain(work())
    write_json(path, found)
    return found


def _choose(loop: Loop, place: Path) -> Mapping[str, Any]:
    """Method -> the record of its choice; methods without axes of their own take another's."""
    from ctgi.evaluation.protocol import evaluate_plain
    from ctgi.evaluation.tuning import AXES, as_record
    from demo.interaction.measured import choose

    bench, _ = _bench(loop, "val", loop.settings.val_queries)
    before = evaluate_plain(bench.split)
    records: dict[str, Any] = {}
    for method in METHODS:
        if method.axes:
            axes = {axis: AXES[str((method.fixed or {})["judge"])][axis] for axis in method.axes}
            records[method.name] = _once(
                place / f"{method.name}.json",
                lambda m=method, a=axes: as_record(choose(m, bench), a, before, "val"),  # type: ignore[misc]
            )
    return records


def _measure(loop: Loop, place: Path, choices: Mapping[str, Any]) -> Mapping[str, Any]:
    from demo.interaction.large import time_large
    from demo.interaction.measured import measure
    from demo.interaction.rounds import compare_ways
    from demo.interaction.tell import summarise

    s = loop.settings
    bench, kinds = _bench(loop, "test", s.interaction_queries)
    measured = {}
    for method in METHODS:
        chosen = choices.get(method.like or method.name, {})
        measured[method.name] = _once(
            place / f"{method.name}.json",
            lambda m=method, c=chosen: measure(m, c, bench),  # type: ignore[misc]
        )
    best = BY_NAME["all"].config(choices["all"], 100)
    large = _once(place / "large.json", lambda: time_large(bench, best, s.alone, s.large_gallery))
    rounds = _once(
        place / "rounds.json",
        lambda: compare_ways(bench.split, bench.dossiers, best, counter("rounds", "queries")),
    )
    results = {
        "queries": len(bench.split.texts),
        "people": len(set(bench.split.wanted.tolist())),
        "gallery": len(bench.split.ids),
        "summary": summarise(measured, kinds),
        "large": large,
        "large_aim": {
            "aim": f"under 100 ms beyond the plain search on {large['pictures']:,} pictures "
            f"({os.cpu_count()} cores)",
            "found": f"{large['beyond_ms']:.0f} ms",
            "reached": large["beyond_ms"] < 100,
        },
        "rounds": rounds,
        "calibration": loop.stages.records["dossiers"].result["calibration"],
        "chosen": loop.stages.records["tune"].result,
    }
    results = dict(plain(results))
    write_json(place / RESULTS, results)
    return {"aims": [*results["summary"]["aims"], results["large_aim"]]}


def _present(place: Path) -> None:
    """Table and figures, in every run: they are quick, and what one looks at after changing their words."""
    from ctgi.evaluation.curves import save_curves
    from demo.interaction.figure import save_figure
    from demo.interaction.tell import markdown

    results = read_json(place / RESULTS)
    write_text(place / TABLE, markdown(results))
    save_figure(results, place / FIGURE)
    save_curves(results["chosen"]["all"], place / CURVES)
