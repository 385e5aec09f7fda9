"""The ablation table of the paper's Table 4: none, MTG, MTI, both, with and without stretched positions
(PES).

A release stands for what it was trained on: --without-mtg on first descriptions (T_s), --with-mtg on
interviews (T_e), the same with -pes for 248 positions. Each is measured with and without MTI on the same
queries. Rows that are finished are kept in --out and not measured again.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctgi.cli import config, data, mti, reconstructor, server
from ctgi.cli.evaluate import add_cost, measure_mti, tell_effort
from ctgi.cli.figures import plain, write_figures
from ctgi.cli.progress import counter
from ctgi.errors import CtgiError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctgi.datasets.annotations import Sample

EXAMPLES = """\
examples:
  ctgi ablate RSTPReid --layout rstpreid --out ablation/ --without-mtg r1/ --with-mtg r2/ \\
      --without-mtg-pes r3/ --with-mtg-pes r4/ --server http://localhost:8000/v1 --model
      Qwen/Qwen2-VL-7B-Instruct
  ctgi ablate RSTPReid --layout rstpreid --out ablation/ --with-mtg r2/ --with-mtg-pes r4/    # no MTI rows"""

# (flag, MTG, PES), in the order of the table.
RELEASES = (
    ("without_mtg", False, False),
    ("with_mtg", True, False),
    ("without_mtg_pes", False, True),
    ("with_mtg_pes", True, True),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data set, releases, chat model, output."""
    parser.add_argument("root", nargs="?", metavar="DATASET", help="folder with the annotations and imgs/")
    data.add_layout(parser, "of the data set")
    parser.add_argument("--split", choices=data.SPLITS, default="test", help="split (default: %(default)s)")
    parser.add_argument(
        "--queries", type=server.positive, metavar="N", help="only N of the queries, spread evenly"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="table.md, table.tex, table.json and rows/ go there"
    )
    parser.add_argument("--method", default="CTGI", help="name in the first column (default: %(default)s)")
    for flag, with_mtg, pes in RELEASES:
        trained = "interviews (T_e)" if with_mtg else "first descriptions (T_s)"
        parser.add_argument(
            f"--{flag.replace('_', '-')}",
            type=Path,
            metavar="FOLDER",
            help=f"release trained on {trained}, {248 if pes else 77} positions",
        )
    server.add_arguments(parser, "it sees the pictures; with it there are rows with MTI")
    mti.add_arguments(parser)
    reconstructor.add_arguments(parser)
    add_cost(parser)


def run(options: argparse.Namespace) -> int:
    """Measure every row that is not there yet, and write the table."""
    config.need(
        options,
        root="no data set was named: ctgi ablate DATASET --layout LAYOUT",
        out="no place for the table was named: --out FOLDER",
    )
    given = [
        (getattr(options, flag), with_mtg, pes) for flag, with_mtg, pes in RELEASES if getattr(options, flag)
    ]
    if not given:
        raise CtgiError("no release was named; at least one of --without-mtg, --with-mtg, …-pes is needed")
    samples = data.read_split(options.root, options.layout, options.split)
    if options.dry_run:
        return _estimate(options, samples, len(given))
    with_model = server.wanted(options)
    from ctgi.evaluation.table import Row, as_json, latex, markdown
    from ctgi.storage.atomic import write_json, write_text

    rows: list[Row] = []
    for release, with_mtg, pes in given:
        for with_mti in (False, True) if with_model else (False,):
            rows.append(Row.from_dict(_row(options, samples, release, with_mtg, pes, with_mti)))
    rows.sort(key=lambda row: (row.pes, row.mtg, row.mti))
    table = markdown(rows)
    write_text(options.out / "table.md", table)
    write_text(
        options.out / "table.tex", latex(rows, f"Ablation on {Path(options.root).name}, {options.split}")
    )
    write_json(options.out / "table.json", as_json(rows))
    print(table, end="")
    print(f"95 % intervals in brackets, by identity; {options.out}/table.md, .tex, .json")
    write_figures(options.json, "ablate", as_json(rows))
    return 0


def _row(
    options: argparse.Namespace,
    samples: Sequence[Sample],
    release: Path,
    with_mtg: bool,
    pes: bool,
    with_mti: bool,
) -> dict[str, Any]:
    """One row of the table, from --out where the same was measured before."""
    from ctgi.evaluation.protocol import effort, embed_split, evaluate_plain
    from ctgi.evaluation.table import Row
    from ctgi.export.runtime import OnnxEncoders
    from ctgi.storage.atomic import write_json

    model = OnnxEncoders(release)
    pairs = [(str(s.picture.relative_to(options.root)), s.identity, s.captions) for s in samples]
    facts: dict[str, Any] = {
        "method": options.method,
        "release": model.fingerprint,
        "queries": hashlib.sha256(json.dumps([pairs, options.queries]).encode()).hexdigest(),
        "flags": [with_mtg, with_mti, pes],
    }
    if with_mti:
        facts |= {
            "mti": plain(mti.settings(options, 20)),
            "min_probability": options.mti_min_probability,
            "scale": plain(model.release.mti.get("calibration")),
            "model": options.model,
            "reconstructor": options.reconstructor_server and options.reconstructor_model,
        }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    file = options.out / "rows" / f"{key}.json"
    if file.exists():
        row: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["row"]
        return row
    name = (
        f"MTG {'on' if with_mtg else 'off'}, MTI {'on' if with_mti else 'off'}, PES {'on' if pes else 'off'}"
    )
    split = embed_split(samples, model, queries=options.queries, progress=counter(name, "pictures"))
    took: dict[str, Any] = {}
    if with_mti:
        scale, cache = mti.calibration(model.release.mti), options.out / "replies.sqlite"
        result, outcomes = asyncio.run(measure_mti(options, split, model.encode_texts, scale, cache))
        took = effort(outcomes)
        print(name)
        tell_effort(took)
    else:
        result = evaluate_plain(split)
    row = Row.of(options.method, result, mtg=with_mtg, mti=with_mti, pes=pes).as_dict()
    write_json(file, {"row": row, "effort": plain(took), "facts": facts})
    return row


def _estimate(options: argparse.Namespace, samples: Sequence[Sample], releases: int) -> int:
    from ctgi.cli.estimate import print_mti_estimate

    captions = sum(len(sample.captions) for sample in samples)
    count = min(captions, options.queries or captions)
    print(f"{releases} releases, each with MTI over {count} queries")
    figures = print_mti_estimate(options, releases * count, [sample.picture for sample in samples])
    write_figures(options.json, "ablate", figures)
    return 0
