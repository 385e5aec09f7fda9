"""The ablation table in the shape of the paper's Table 4, as Markdown, LaTeX and JSON.

With `paper`, what the paper prints for a row stands in one more column, and `notes` below the table say what
has to be known to compare the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ctgi.evaluation.bootstrap import Interval, confidence_intervals
from ctgi.evaluation.metrics import METRICS, Evaluation
from ctgi.evaluation.paper import PAPER_METRICS

Paper = Sequence[Mapping[str, float] | None]
"""For each row what the paper prints (`ctgi.evaluation.paper`), None where it prints nothing."""

_HEADINGS = {"R@1": "Rank-1", "R@5": "Rank-5", "R@10": "Rank-10"}
_LATEX = str.maketrans(
    {sign: "\\" + sign for sign in "&%#_${}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
)


@dataclass(frozen=True)
class Row:
    """One configuration and what it reached.

    Attributes:
        method: e.g. "Ours (small CLIP)".
        mtg, mti, pes: which of the three parts were on.
        metrics: R@1, R@5, R@10, mAP, mINP in percent with their intervals.
        queries, excluded: how many queries counted, and how many had no positive in the gallery.
    """

    method: str
    mtg: bool
    mti: bool
    pes: bool
    metrics: Mapping[str, Interval]
    queries: int
    excluded: int

    @classmethod
    def of(
        cls,
        method: str,
        result: Evaluation,
        *,
        mtg: bool,
        mti: bool,
        pes: bool,
        level: float = 0.95,
        seed: int = 0,
    ) -> Row:
        """A row from an evaluation, with intervals by identity."""
        intervals = confidence_intervals(result, level=level, seed=seed)
        return cls(method, mtg, mti, pes, intervals, len(result.queries), result.excluded)

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON values."""
        return {
            "method": self.method,
            "mtg": self.mtg,
            "mti": self.mti,
            "pes": self.pes,
            "queries": self.queries,
            "excluded": self.excluded,
            "metrics": {
                name: {"value": item.value, "low": item.low, "high": item.high}
                for name, item in self.metrics.items()
            },
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Row:
        """The reverse of `as_dict`."""
        metrics = {name: Interval(**item) for name, item in fields["metrics"].items()}
        return cls(**{**fields, "metrics": metrics})


def markdown(rows: Sequence[Row], paper: Paper = (), notes: Sequence[str] = ()) -> str:
    """The table for a README: every figure as `value [low, high]`, the best of each column in bold."""
    lines = [
        _heads(paper),
        ["---", ":-:", ":-:", ":-:", *("--:" for _ in METRICS), *(["--:"] if paper else [])],
    ]
    lines += _cells(
        rows, paper, mark="✓", bold=lambda text: f"**{text}**", text=lambda text: text.replace("|", r"\|")
    )
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
    return table + ("\n" + "".join(f"- {note}\n" for note in notes) if notes else "")


def latex(
    rows: Sequence[Row],
    caption: str,
    label: str = "tab:ablation",
    *,
    paper: Paper = (),
    notes: Sequence[str] = (),
) -> str:
    """The table for a paper (needs the packages booktabs and amssymb)."""
    body = _cells(rows, paper, mark=r"\checkmark", bold=lambda text: rf"\textbf{{{text}}}", text=_latex_text)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex_text(caption)}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{lccc{'r' * (len(METRICS) + bool(paper))}}}",
        r"\toprule",
        " & ".join(_heads(paper)) + r" \\",
        r"\midrule",
        *(" & ".join(line) + r" \\" for line in body),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize {_latex_text(note)}" for note in notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def as_json(
    rows: Sequence[Row], level: float = 0.95, *, paper: Paper = (), notes: Sequence[str] = ()
) -> dict[str, Any]:
    """The table as JSON values, to write with `ctgi.storage.atomic.write_json`."""
    fields = [row.as_dict() for row in rows]
    if paper:
        fields = [
            {**row, "paper": None if printed is None else dict(printed)}
            for row, printed in zip(fields, paper, strict=True)
        ]
    return {"level": level, "unit": "percent", "rows": fields, **({"notes": list(notes)} if notes else {})}


def _heads(paper: Paper) -> list[str]:
    heads = ["Method", "MTG", "MTI", "PES", *(_HEADINGS.get(name, name) for name in METRICS)]
    return [*heads, f"paper: {' / '.join(PAPER_METRICS)}"] if paper else heads


def _latex_text(text: str) -> str:
    return text.translate(_LATEX)


def _cells(
    rows: Sequence[Row], paper: Paper, *, mark: str, bold: Callable[[str], str], text: Callable[[str], str]
) -> list[list[str]]:
    best = {name: max((_rounded(row.metrics[name].value) for row in rows), default=None) for name in METRICS}
    lines = []
    for row, printed in zip(rows, paper or [None] * len(rows), strict=True):
        line = [text(row.method), *(mark if on else "" for on in (row.mtg, row.mti, row.pes))]
        for name in METRICS:
            item = row.metrics[name]
            value = f"{item.value:.2f}"
            value = bold(value) if _rounded(item.value) == best[name] else value
            line.append(f"{value} [{item.low:.1f}, {item.high:.1f}]")
        if paper:
            line.append(" / ".join(f"{printed[name]:.2f}" for name in PAPER_METRICS) if printed else "–")
        lines.append(line)
    return lines


def _rounded(value: float) -> float:
    return round(value, 2)
