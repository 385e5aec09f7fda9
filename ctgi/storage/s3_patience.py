"""Trying again: for as long as one is willing to wait, with growing and slightly random pauses."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Any

from urllib3 import BaseHTTPResponse, Retry
from urllib3.connectionpool import ConnectionPool

TRANSIENT = (429, 500, 502, 503, 504)
_LONGEST_PAUSE = 8.0
_WORTH_SAYING = 30.0  # seconds of patience after which people wonder what goes on
_LOG = logging.getLogger(__name__)


class Patience(Retry):
    """Retries counted in seconds: a server that fails fast and one that hangs are both given the same time.

    Every request of the SDK can be repeated: a put of the same bytes changes nothing, and a conditional put
    that had been carried out already is recognised by its caller.
    """

    seconds: float = 0.0
    started: float | None = None

    @classmethod
    def of(cls, seconds: float) -> Patience:
        """Retry what is transient for `seconds` after the first failure."""
        patience = cls(
            total=None,
            allowed_methods=None,
            status_forcelist=TRANSIENT,
            backoff_factor=0.25,
            backoff_max=_LONGEST_PAUSE,
            backoff_jitter=0.25,
            raise_on_status=False,  # the answer says more than "too many 500 error responses"
            redirect=0,
        )
        patience.seconds = seconds
        return patience

    def new(self, **changed: Any) -> Patience:
        fresh = super().new(**changed)
        fresh.seconds, fresh.started = self.seconds, self.started
        return fresh

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Patience:
        now = time.monotonic()
        if self.started is None and self.seconds >= _WORTH_SAYING:
            what = type(error).__name__ if response is None else response.status
            _LOG.warning("the store does not do it (%s); trying again for up to %g s", what, self.seconds)
        started = now if self.started is None else self.started
        current = self.new(total=0) if now - started >= self.seconds else self
        grown = Retry.increment(current, method, url, response, error, _pool, _stacktrace)
        assert isinstance(grown, Patience)
        grown.started = started
        return grown
