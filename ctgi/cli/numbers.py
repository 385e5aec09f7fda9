"""Numbers on the command line: types for argparse that name the value and what is allowed."""

from __future__ import annotations

import argparse
import math


def rate(text: str) -> float:
    """argparse type: a number above 0, within reason."""
    value = finite(text)
    if not 1e-6 <= value <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number from 0.000001 to 1,000,000,000")
    return value


def amount(text: str) -> float:
    """argparse type: a number from 0, within reason."""
    value = finite(text)
    if not 0 <= value <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number from 0 to 1,000,000,000")
    return value


def probability(text: str) -> float:
    """argparse type: a number from 0 to 1."""
    value = finite(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number from 0 to 1")
    return value


def seconds(text: str) -> float:
    """argparse type: a time above 0, a year at most."""
    value = finite(text)
    if not 0 < value <= 365 * 86400:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of seconds above 0")
    return value


def positive(text: str) -> int:
    """argparse type: a whole number from 1."""
    return _whole(text, 1)


def count(text: str) -> int:
    """argparse type: a whole number from 0."""
    return _whole(text, 0)


def finite(text: str) -> float:
    """argparse type: any number but infinity and NaN."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return value


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from {least}")
    return number
