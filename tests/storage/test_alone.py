"""The lock of a folder, with a second process at the door."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from ctgi.errors import CtgiError
from ctgi.storage.alone import alone

ENTER = (
    "import sys; from pathlib import Path; from ctgi.storage.alone import alone\n"
    "with alone(Path(sys.argv[1]), '--out'): print('inside')"
)


def enter(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", ENTER, str(folder)], capture_output=True, text=True)


def test_a_second_process_is_refused_until_the_first_has_left(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    with alone(folder, "--out"):
        refused = enter(folder)
        assert refused.returncode != 0 and f"{folder}: another run is at work there" in refused.stderr
        with pytest.raises(CtgiError, match="choose another --root"), alone(folder, "--root"):
            raise AssertionError("two were inside")
    assert enter(folder).stdout == "inside\n"


def test_a_folder_that_cannot_be_made_is_named_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CtgiError, match=r"file: cannot be written \(.*\); choose another --out"):
        with alone(tmp_path / "file", "--out"):
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_without_locks_keeps_nobody_out(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    with alone(tmp_path, "--out"):
        assert "no locks on this file system" in capsys.readouterr().err
