"""How the public data sets write their annotations: one JSON list of pictures beside a folder of pictures.

Sources: the readers of IRRA (github.com/anosorae/IRRA, datasets/), the READMEs of SSAN (ICFG-PEDES),
RSTPReid-Dataset and UFineBench. The sizes are the published ones; those of UFine6926 by split are from its
paper (arXiv:2312.03441).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple


class Size(NamedTuple):
    """How much a split holds."""

    people: int
    pictures: int
    captions: int


@dataclass(frozen=True)
class Layout:
    """How one data set is laid out.

    Attributes:
        title: the data set's name as its authors write it.
        files: names of the annotation file, the first that is there counts; a pattern must fit one file.
        pictures: folder below the root in which the annotations' paths begin; "" is the root itself.
        picture_key: field of an entry that holds the path.
        first_identity: smallest identity.
        splits: the names an entry's split may have.
        contiguous: whether training identities are published as numbered without gaps. Where they are, a
            gap means a damaged file; where nothing is known they are renumbered.
        sizes: what the published splits hold.
    """

    title: str
    files: tuple[str, ...]
    pictures: str
    picture_key: str
    first_identity: int
    splits: tuple[str, ...]
    contiguous: bool = True
    sizes: Mapping[str, Size] = field(default_factory=lambda: MappingProxyType({}))


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "cuhk-pedes": Layout(
            "CUHK-PEDES",
            ("reid_raw.json",),
            "imgs",
            "file_path",
            1,
            ("train", "val", "test"),
            sizes={
                "train": Size(11003, 34054, 68126),
                "val": Size(1000, 3078, 6158),
                "test": Size(1000, 3074, 6156),
            },
        ),
        # The folders imgs/train and imgs/test are MSMT17's and say nothing of the split.
        "icfg-pedes": Layout(
            "ICFG-PEDES",
            ("ICFG-PEDES.json", "ICFG_PEDES.json"),
            "imgs",
            "file_path",
            0,
            ("train", "test"),
            sizes={"train": Size(3102, 34674, 34674), "test": Size(1000, 19848, 19848)},
        ),
        "rstpreid": Layout(
            "RSTPReid",
            ("data_captions.json",),
            "imgs",
            "img_path",
            0,
            ("train", "val", "test"),
            sizes={
                "train": Size(3701, 18505, 37010),
                "val": Size(200, 1000, 2000),
                "test": Size(200, 1000, 2000),
            },
        ),
        # The name of the annotation file is not documented, nor how the people of a split are numbered.
        "ufine6926": Layout(
            "UFine6926",
            ("UFine6926_Annotations.json", "*.json"),
            "",
            "file_path",
            1,
            ("train", "val", "test"),
            contiguous=False,
            sizes={"train": Size(4926, 18577, 37154), "test": Size(2000, 7629, 15258)},
        ),
        "ufine3c": Layout(
            "UFine3C",
            ("UFine3C_Annotations.json", "*.json"),
            "",
            "file_path",
            1,
            ("test",),
            contiguous=False,
            sizes={"test": Size(2250, 7446, 37939)},
        ),
    }
)
