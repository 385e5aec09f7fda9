from __future__ import annotations

import io
import time

from ctgi.captioning.progress import Progress, ProgressLine, duration


def progress(**counts: int) -> Progress:
    return Progress(100, started=time.monotonic() - 10.0, **counts)


def test_rates_are_of_this_run() -> None:
    some = progress(captioned=20, resumed=30, skipped=5, duplicates=5, calls=140)
    assert some.done == 60
    assert round(some.pictures_per_second, 1) == 2.0
    assert round(some.calls_per_second) == 14
    assert some.eta is not None and round(some.eta) == 20


def test_no_eta_before_the_first_picture() -> None:
    assert progress(resumed=30).eta is None
    assert "ETA --" in progress().line()


def test_no_eta_from_the_pictures_that_began_together() -> None:
    assert progress(captioned=1).eta is None
    assert progress(captioned=4).eta is None and progress(captioned=5).eta is not None
    assert progress(captioned=15, warm_up=16).eta is None
    assert 52 <= (progress(captioned=16, warm_up=16).eta or 0) < 54  # 84 at 1.6 a second
    assert progress(captioned=1, resumed=99).eta == 0


def test_the_line() -> None:
    line = progress(captioned=20, skipped=1, prompt_tokens=9000, completion_tokens=1000, calls=140).line()
    assert "21/100 pictures" in line and "2.00 pictures/s" in line and "14.0 calls/s" in line
    assert "10,000 tokens" in line and "ETA 0:40" in line and "1 skipped" in line


def test_duration() -> None:
    assert [duration(s) for s in (0.4, 59.6, 61, 3723)] == ["0:00", "1:00", "1:01", "1:02:03"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_rewritten_and_a_file_is_not() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        show = ProgressLine(stream)
        show(progress(captioned=1))
        show(progress(captioned=2))  # too soon
        show(progress(captioned=100))
    assert terminal.getvalue().count("\r") == 2 and terminal.getvalue().endswith("\n")
    assert file.getvalue().count("\n") == 1 and "\r" not in file.getvalue()
