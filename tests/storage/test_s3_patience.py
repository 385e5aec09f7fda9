"""How long is waited for a store, by a clock of the test's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from urllib3 import HTTPResponse
from urllib3.exceptions import MaxRetryError

from ctgi.storage import s3_patience
from ctgi.storage.s3_patience import Patience
from ctgi.storage.s3_settings import read_settings


def waited(seconds, monkeypatch):
    """The pauses between the tries of one request that is answered 500 again and again."""
    now, pauses = [100.0], []
    monkeypatch.setattr(s3_patience, "time", SimpleNamespace(monotonic=lambda: now[0]))
    patience = Patience.of(seconds)
    with pytest.raises(MaxRetryError):
        while True:
            patience = patience.increment("GET", "/x", response=HTTPResponse(status=500))
            pauses.append(patience.get_backoff_time())
            now[0] += pauses[-1]
    return pauses


def test_an_outage_of_a_minute_is_outlived_without_any_setting(monkeypatch, caplog):
    keys = {"CTGI_S3_ACCESS_KEY": "a", "CTGI_S3_SECRET_KEY": "b"}
    pauses = waited(read_settings({"CTGI_S3_ENDPOINT": "host", **keys}).patience, monkeypatch)
    assert 120 <= sum(pauses) < 130
    # There is a try within the eight seconds after the store is back, and no storm of them before.
    assert max(pauses) <= 8 and len(pauses) < 30
    [said] = caplog.messages
    assert "500" in said and "120 s" in said


def test_little_patience_ends_soon_and_says_nothing(monkeypatch, caplog):
    assert 1 <= sum(waited(1.0, monkeypatch)) < 4 and not caplog.messages
