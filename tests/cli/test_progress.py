"""The line of commands whose library part only counts."""

from __future__ import annotations

import io
import sys

import pytest

from ctgi.cli.progress import counter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("done", "paced"), [(0, False), (1, False), (4, False), (5, True), (100, True)])
def test_a_pace_is_told_when_a_handful_is_done(
    done: int, paced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    counter("embed", "pictures")(done, 100)
    line = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert f"embed: {done}/100 pictures" in line and (" s left" in line) == paced
