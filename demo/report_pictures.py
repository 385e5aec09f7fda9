"""The parts of the report that show pictures and what was said about them."""

from __future__ import annotations

from html import escape
from pathlib import Path

from PIL import Image

from ctgi.captioning.transcript import Transcript, read_transcript
from ctgi.datasets.annotations import Sample, read_dataset
from ctgi.datasets.pictures import picture_id
from demo.learn import LAYOUT
from demo.page import figure, paragraph, picture, table

_PEOPLE, _CARDS = 12, 6


def contact_sheet(world: Path) -> list[str]:
    """Test people, each by several cameras."""
    people: dict[int, list[Path]] = {}
    for sample in read_dataset(world, LAYOUT).test:
        people.setdefault(sample.identity, []).append(sample.picture)
    shown = list(people.values())[:_PEOPLE]
    each = max(len(pictures) for pictures in shown)
    columns = min(3, len(shown))
    width, height, gap = 80, 240, 4
    block = each * (width + gap) + 16
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * block, rows * (height + 2 * gap)), "white")
    for number, pictures in enumerate(shown):
        for place, path in enumerate(pictures):
            with Image.open(path) as opened:
                small = opened.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(
                small,
                (number % columns * block + place * (width + gap), number // columns * (height + 2 * gap)),
            )
    words = f"{len(shown)} people of the test split, each seen by {each} cameras"
    return [figure(picture(sheet, words), words)]


def interview(out: Path) -> list[str]:
    """One training picture's dialogue, as it was held: the first that kept and dropped answers alike."""
    told = [pair for pair in _told(out) if pair[1].pairs]
    mixed = [pair for pair in told if 2 <= sum(p.kept for p in pair[1].pairs) < len(pair[1].pairs)]
    sample, transcript = (mixed or told or _told(out))[0]
    lines = []
    for pair in transcript.pairs:
        sure = "" if pair.probability is None else f"{pair.probability:.2f}"
        kept = "kept" if pair.kept else f"dropped: {pair.reason}"
        row = [escape(pair.question), escape(pair.answer), sure, escape(kept)]
        lines.append(row if pair.kept else [f'<span class="dropped">{cell}</span>' for cell in row])
    return [
        paragraph(
            f"Model {transcript.model}, prompts {transcript.prompt_version}. Each question is chosen for "
            "what the dialogue does not know yet; p is the model's own probability of its answer."
        ),
        '<div class="side">'
        + _small(sample.picture)
        + "<div>"
        + _said("First description, T_s", transcript.static_caption)
        + table(["Question", "Answer", "p", ""], lines, kinds="llnl")
        + _said(f"Caption, T_e, by the {transcript.reconstructor}", transcript.caption)
        + "</div></div>",
    ]


def captions_beside(out: Path) -> list[str]:
    """Pictures with T_s, T_e and what the annotations say in the manner of people."""
    told = _told(out)
    chosen = [told[n * len(told) // _CARDS] for n in range(min(_CARDS, len(told)))]
    cards = [
        f'<div class="side">{_small(sample.picture)}<div>'
        + _said("T_s", transcript.static_caption)
        + _said("T_e", transcript.caption)
        + _said("Annotation (not used in training)", sample.captions[0])
        + "</div></div>"
        for sample, transcript in chosen
    ]
    return [
        paragraph(
            "Pictures at even distances through the training set. Annotations use words that no caption has."
        ),
        f'<div class="cards">{"".join(cards)}</div>',
    ]


def _told(out: Path) -> list[tuple[Sample, Transcript]]:
    found = []
    for sample in read_dataset(out / "world", LAYOUT).train:
        record = read_transcript(out / "captions" / "interviews", picture_id(sample.picture.read_bytes()))
        if record is not None:
            found.append((sample, record))
    return found


def _small(path: Path) -> str:
    with Image.open(path) as opened:
        return picture(opened, path.name)


def _said(what: str, text: str) -> str:
    return f"<p><b>{escape(what)}:</b> {escape(text)}</p>"
