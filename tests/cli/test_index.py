"""`ctgi index`: incremental, safe to kill, kind to bad files."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctgi.cli import index
from ctgi.cli.index import index_folder
from ctgi.cli.main import main
from ctgi.datasets.pictures import find_pictures, picture_id
from ctgi.gallery.index import Gallery
from ctgi.storage.alone import alone


def run(photos: Path, release: Path, gallery: Path, *more: str) -> dict[str, object]:
    figures = gallery.parent / "index.json"
    assert (
        main(
            [
                "index",
                str(photos),
                "--release",
                str(release),
                "--out",
                str(gallery),
                "--json",
                str(figures),
                *more,
            ]
        )
        == 0
    )
    written: dict[str, object] = json.loads(figures.read_text(encoding="utf-8"))
    return written


def test_a_second_run_embeds_only_what_is_new(photos: Path, release: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "gallery"
    assert run(photos, release, gallery)["embedded"] == 8
    again = run(photos, release, gallery)
    assert (again["embedded"], again["known"]) == (0, 8)
    Image.new("RGB", (20, 60), (1, 2, 3)).save(photos / "new.png")
    later = run(photos, release, gallery)
    assert (later["embedded"], later["known"]) == (1, 8)
    opened = Gallery.open(gallery, None)
    key = picture_id((photos / "new.png").read_bytes())
    assert opened.payloads([key]) == [{"path": "new.png", "root": str(photos.resolve())}]


def test_bad_files_are_skipped_with_a_line_each(
    photos: Path, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "notes.txt").write_text("no picture", encoding="utf-8")
    (photos / "cut.png").write_bytes((photos / "red0.png").read_bytes()[:60])
    (photos / "empty.jpg").touch()
    report = run(photos, release, tmp_path / "gallery")
    assert report["embedded"] == 8 and len(report["skipped"]) == 3  # type: ignore[arg-type]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped: ")]
    assert len(lines) == 3
    for name in ("notes.txt", "cut.png", "empty.jpg"):
        assert sum(name in line for line in lines) == 1


def test_the_same_picture_under_two_names_is_one(photos: Path, release: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "red0.png", photos / "zcopy.png")
    report = run(photos, release, tmp_path / "gallery")
    assert (report["embedded"], report["duplicates"]) == (8, 1)


def test_a_renamed_picture_keeps_its_vector_and_gets_its_path(
    photos: Path, release: Path, tmp_path: Path
) -> None:
    gallery = tmp_path / "gallery"
    run(photos, release, gallery)
    key = picture_id((photos / "red0.png").read_bytes())
    before = Gallery.open(gallery, None).vectors([key])
    (photos / "red0.png").rename(photos / "deep" / "renamed.png")
    report = run(photos, release, gallery)
    assert (report["embedded"], report["moved"]) == (0, 1)
    opened = Gallery.open(gallery, None)
    assert opened.payloads([key])[0]["path"] == "deep/renamed.png"
    assert np.array_equal(opened.vectors([key]), before)


def test_prune_forgets_what_is_gone_and_only_that(photos: Path, release: Path, tmp_path: Path) -> None:
    gallery, other = tmp_path / "gallery", tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (20, 60), (9, 9, 9)).save(other / "x.png")
    run(photos, release, gallery)
    run(other, release, gallery)
    (photos / "red0.png").unlink()
    assert run(photos, release, gallery)["pruned"] == 0
    assert run(photos, release, gallery, "--prune")["pruned"] == 1
    assert len(Gallery.open(gallery, None)) == 8  # seven here, one of the other folder


def test_killed_in_between_it_goes_on(
    photos: Path, tmp_path: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctgi.export.runtime import OnnxEncoders

    monkeypatch.setattr(index, "BATCH", 2)
    monkeypatch.setattr(index, "WRITE_EVERY", 2)
    encoders = OnnxEncoders(release)
    files = find_pictures(photos)

    class Dying:
        seen = 0

        def encode_pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
            if self.seen >= 4:
                raise KeyboardInterrupt
            self.seen += len(pictures)
            return encoders.encode_pictures(pictures)

    gallery = Gallery.create(tmp_path / "killed", encoders.fingerprint, encoders.dim)
    with pytest.raises(KeyboardInterrupt):
        index_folder(gallery, Dying(), photos, files)
    again = Gallery.open(tmp_path / "killed", encoders.fingerprint)
    assert len(again) == 4  # what was embedded is kept
    report = index_folder(again, encoders, photos, files)
    assert (report.embedded, report.known) == (4, 4)
    whole = Gallery.create(tmp_path / "whole", encoders.fingerprint, encoders.dim)
    index_folder(whole, encoders, photos, files)
    assert again.ids == whole.ids and np.array_equal(again.vectors(again.ids), whole.vectors(whole.ids))


def test_a_gallery_of_another_release_is_refused(
    photos: Path,
    release: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gallery = tmp_path / "gallery"
    run(photos, release, gallery)
    monkeypatch.setattr("ctgi.export.runtime.OnnxEncoders.fingerprint", "e" * 64)
    assert main(["index", str(photos), "--release", str(release), "--out", str(gallery)]) == 2
    assert "built with release ffff" in capsys.readouterr().err


def test_a_gallery_inside_the_folder_is_not_taken_for_pictures(
    photos: Path, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for said in ("8 files: 8 embedded, 0 known", "8 files: 0 embedded, 8 known"):
        words = ["index", str(photos), "--release", str(release), "--out", str(photos / "gallery")]
        assert main(words) == 0
        assert said in capsys.readouterr().out


def test_prune_keeps_what_could_only_not_be_read(
    photos: Path, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    gallery = tmp_path / "gallery"
    run(photos, release, gallery)
    (photos / "red0.png").write_bytes(b"")  # truncated
    gone = photos / "red1.png"
    gone.unlink()
    gone.symlink_to(tmp_path / "elsewhere" / "red1.png")  # a disk that is not mounted
    closed(monkeypatch, photos / "deep")
    capsys.readouterr()
    report = run(photos, release, gallery, "--prune")
    assert report["pruned"] == 0 and len(Gallery.open(gallery, None)) == 8
    said = capsys.readouterr().err
    assert f"skipped: {photos / 'deep'}: cannot be read (Permission denied)" in said
    gone.unlink()
    assert run(photos, release, gallery, "--prune")["pruned"] == 1  # of this one it is known


def test_prune_forgets_a_picture_whose_file_is_another_now(
    photos: Path, release: Path, tmp_path: Path
) -> None:
    gallery = tmp_path / "gallery"
    run(photos, release, gallery)
    Image.new("RGB", (20, 60), (9, 9, 9)).save(photos / "red0.png")
    report = run(photos, release, gallery, "--prune")
    assert (report["embedded"], report["pruned"]) == (1, 1)


@pytest.mark.parametrize("left", [[], ["notes.txt"]])
def test_prune_removes_nothing_where_no_picture_is_found(
    photos: Path, release: Path, tmp_path: Path, capsys: Any, left: list[str]
) -> None:
    """As under a disk that is not mounted."""
    gallery = tmp_path / "gallery"
    run(photos, release, gallery)
    shutil.rmtree(photos)
    photos.mkdir()
    for name in left:
        (photos / name).write_text("no picture")
    words = ["index", str(photos), "--release", str(release), "--out", str(gallery)]
    assert main([*words, "--prune"]) == 2
    assert "no picture was found there, so that none was removed" in capsys.readouterr().err
    assert len(Gallery.open(gallery, None)) == 8
    assert main(words) == 0  # nothing was asked for that could do harm


def test_a_gallery_is_not_made_among_other_files(
    photos: Path, release: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ["index", str(photos), "--release", str(release), "--out"]
    other = tmp_path / "run"
    other.mkdir()
    (other / "run.json").write_text("{}")
    for place in (other, release):
        before = sorted(place.iterdir())
        assert main([*words, str(place)]) == 2
        assert "is no gallery; name a folder that is new, empty or a gallery" in capsys.readouterr().err
        assert sorted(place.iterdir()) == before
    (other / "manifest.json").write_text('{"name": "an app of the web"}')
    assert main([*words, str(other)]) == 2 and not (other / ".lock").exists()
    kept = tmp_path / "kept"
    kept.mkdir()
    # What a killed first run left, and the answers of an older gallery.
    for name in (".lock", "lock", ".manifest.json.x1.tmp", "dossiers.sqlite", "replies.sqlite-wal"):
        (kept / name).touch()
    assert main([*words, str(kept)]) == 0


def test_one_run_at_a_time_in_a_gallery(photos: Path, release: Path, tmp_path: Path, capsys: Any) -> None:
    gallery = tmp_path / "gallery"
    with alone(gallery, "--out"):
        assert main(["index", str(photos), "--release", str(release), "--out", str(gallery)]) == 2
    assert "another run is at work there; wait for it or choose another --out" in capsys.readouterr().err
    run(photos, release, gallery)


def test_names_that_are_no_text_do_not_stop_the_figures_or_write_on_the_terminal(
    photos: Path, release: Path, tmp_path: Path, capsys: Any
) -> None:
    (photos / os.fsdecode(b"bad\xff.jpg")).write_text("no picture")
    (photos / "a\nskipped: b\x1b[2J.jpg").write_text("no picture")
    report = run(photos, release, tmp_path / "gallery")
    assert len(report["skipped"]) == 2  # type: ignore[arg-type]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped")]
    assert len(said) == 2 and "\x1b" not in "".join(said)
    assert "a\\x0askipped: b\\x1b[2J.jpg" in said[0] and "bad\\xff.jpg" in said[1]


def test_a_damaged_gallery_is_told_with_a_remedy_that_helps(
    photos: Path, release: Path, tmp_path: Path, capsys: Any
) -> None:
    gallery, words = tmp_path / "gallery", ["index", str(photos), "--release", str(release), "--out"]
    run(photos, release, gallery)
    (gallery / "dossiers.sqlite").touch()
    [segment] = gallery.glob("0*")
    (segment / "vectors.npy").write_bytes(b"rot")
    capsys.readouterr()
    assert main([*words, str(gallery)]) == 2
    said = capsys.readouterr().err
    assert f"move {gallery} away, or name another folder" in said and "dossiers.sqlite can be put" in said
    gallery.rename(tmp_path / "away")
    gallery.mkdir()
    (tmp_path / "away" / "dossiers.sqlite").rename(gallery / "dossiers.sqlite")
    assert main([*words, str(gallery)]) == 0


def closed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """No right to list this folder, whoever runs the tests."""
    real = os.scandir

    def scandir(path: Any = ".") -> Any:
        if Path(os.fsdecode(path)) == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
