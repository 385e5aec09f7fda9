"""The pseudo-captions of many shards as one set, without those that say too little."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctgi.captioning.reconstruct_file import read_transcripts
from ctgi.captioning.transcript import Transcript, write_parquet
from ctgi.errors import CtgiError


@dataclass(frozen=True)
class Merged:
    """`rows` written; `left_out` by reason; `digest` is of pictures and captions, in hex: it does not change
    when the same captions are merged again, or made again at other times."""

    rows: int
    left_out: dict[str, int]
    digest: str


def merge_captions(shards: Sequence[Path], out: Path, *, min_answers: int = 0) -> Merged:
    """Merge pseudo-caption files into `out`, ordered by picture id.

    Left out are captions without words, pictures whose interview kept fewer than `min_answers` answers (all
    others were uncertain, irrelevant or redundant), and a picture that another shard has already.

    Raises CtgiError for a file that is no pseudo-caption file, and where nothing is left.
    """
    left_out: Counter[str] = Counter()
    whole = hashlib.sha256()
    streams = [sorted(read_transcripts(shard), key=lambda row: row.picture_id) for shard in shards]

    def kept() -> Iterator[Transcript]:
        last = ""
        for row in heapq.merge(*streams, key=lambda row: row.picture_id):
            if row.picture_id == last:
                left_out["listed twice"] += 1
                continue
            last = row.picture_id
            if not row.caption.strip() or not row.static_caption.strip():
                left_out["no words"] += 1
            elif sum(pair.kept for pair in row.pairs) < min_answers:
                left_out["too few answers"] += 1
            else:
                said = (row.picture_id, row.path, str(row.identity), row.static_caption, row.caption)
                whole.update("\0".join(said).encode() + b"\n")
                yield row

    rows = write_parquet(out, kept())
    if not rows:
        raise CtgiError(
            f"none of the captions of {len(shards)} shards is left ({dict(left_out)}); lower min_answers"
        )
    return Merged(rows, dict(left_out), whole.hexdigest())
