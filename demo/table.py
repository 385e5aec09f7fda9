"""The ablation table in the shape of the paper's Table 4, what each part adds, and by kind of query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ctgi.evaluation.bootstrap import confidence_intervals, paired_difference
from ctgi.evaluation.table import Row
from demo.measure import unpacked


@dataclass(frozen=True)
class Variant:
    """A retrieval model of the table. The paper leaves open what its row "MTI only" was trained on."""

    name: str
    trained_on: str
    mtg: bool
    pes: bool


VARIANTS = (
    Variant("pretrained", "nothing (pre-trained CLIP)", False, False),
    Variant("ts77", "first descriptions T_s", False, False),
    Variant("te77", "interviews T_e", True, False),
    Variant("ts248", "first descriptions T_s", False, True),
    Variant("te248", "interviews T_e", True, True),
)
RELEASED = "te248"

#: What is compared with what: (sentence, before, after), each a variant and whether MTI is on.
COMPARISONS = (
    ("fine-tuning on T_s against no fine-tuning (77 positions)", ("pretrained", False), ("ts77", False)),
    ("MTG: T_e against T_s (PES)", ("ts248", False), ("te248", False)),
    ("MTG: T_e against T_s (77 positions)", ("ts77", False), ("te77", False)),
    ("MTG: T_e against T_s, both with MTI (PES)", ("ts248", True), ("te248", True)),
    ("PES: 248 against 77 positions (T_e)", ("te77", False), ("te248", False)),
    ("PES: 248 against 77 positions (T_e, MTI)", ("te77", True), ("te248", True)),
    ("MTI on the pre-trained CLIP", ("pretrained", False), ("pretrained", True)),
    ("MTI on the model of T_s (PES)", ("ts248", False), ("ts248", True)),
    ("MTI on the model of T_e (PES)", ("te248", False), ("te248", True)),
    ("MTG and MTI together (PES)", ("ts248", False), ("te248", True)),
)


def table_rows(measured: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every row with its intervals; rows with MTI also with what MTI took. ``measured``: by variant."""
    rows = []
    for variant in VARIANTS:
        facts = measured[variant.name]
        for mti in (False, True):
            result = unpacked(facts["mti" if mti else "plain"])
            row = Row.of(variant.trained_on, result, mtg=variant.mtg, mti=mti, pes=variant.pes)
            fields = {**row.as_dict(), "variant": variant.name, "trained_on": variant.trained_on}
            if mti:
                fields |= {"effort": facts["effort"], "anchors": facts["anchors"]}
            rows.append(fields)
    return rows


def as_rows(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """For ``ctgi.evaluation.table``."""
    names = ("method", "mtg", "mti", "pes", "metrics", "queries", "excluded")
    return [Row.from_dict({name: row[name] for name in names}) for row in rows]


def by_kind(measured: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """R@1 to mINP of every row for each kind of query, with intervals."""
    rows = []
    for variant in VARIANTS:
        facts = measured[variant.name]
        for mti in (False, True):
            fields = facts["mti" if mti else "plain"]
            kinds = np.array(facts["kinds"])[np.array(fields["queries"])]
            for kind in sorted(set(facts["kinds"])):
                result = unpacked(fields, kinds == kind)
                if len(result.queries):
                    metrics = {name: asdict(i) for name, i in confidence_intervals(result).items()}
                    rows.append(
                        {
                            "variant": variant.name,
                            "mti": mti,
                            "kind": kind,
                            "queries": len(result.queries),
                            "metrics": metrics,
                        }
                    )
    return rows


def differences(measured: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What each part adds, paired over the same queries, and in a word whether that is an improvement."""
    rows = []
    for sentence, before, after in COMPARISONS:
        sides = [unpacked(measured[name]["mti" if mti else "plain"]) for name, mti in (before, after)]
        found = {name: asdict(item) for name, item in paired_difference(*sides).items()}
        rows.append(
            {
                "what": sentence,
                "metrics": found,
                "verdict": {name: verdict(item) for name, item in found.items()},
            }
        )
    return rows


def verdict(difference: Mapping[str, float]) -> str:
    """A difference counts where its 95 % interval leaves out 0."""
    if difference["low"] > 0:
        return "better"
    return "worse" if difference["high"] < 0 else "no clear difference"
