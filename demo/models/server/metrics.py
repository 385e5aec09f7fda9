"""What the server counts, in Prometheus' text format at /metrics. Tests and `make demo` read calls from
here."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    def __init__(self) -> None:
        r = self.registry = CollectorRegistry()
        self.requests = Counter(
            "chat_requests", "Chat requests answered, by HTTP status", ["status"], registry=r
        )
        self.prompt_tokens = Counter("chat_prompt_tokens", "Prompt tokens of answered requests", registry=r)
        self.cached_tokens = Counter(
            "chat_cached_prompt_tokens",
            "Prompt tokens whose keys and values were found in the prefix cache",
            registry=r,
        )
        self.completion_tokens = Counter("chat_completion_tokens", "Generated tokens", registry=r)
        self.pictures = Counter(
            "chat_pictures_encoded", "Pictures that went through the vision tower", registry=r
        )
        self.cancelled = Counter(
            "chat_cancelled", "Requests given up by their client or timed out", registry=r
        )
        sizes = (1, 2, 4, 8, 16, 32, 64)
        self.prefill_rows = Histogram(
            "chat_prefill_batch", "Conversations in one prefill step", buckets=sizes, registry=r
        )
        self.decode_rows = Histogram(
            "chat_decode_batch", "Conversations in one decode step", buckets=sizes, registry=r
        )
        self.seconds = Histogram(
            "chat_request_seconds",
            "Seconds from a request's arrival to its answer",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=r,
        )
        self.running = Gauge("chat_running", "Conversations being answered", registry=r)
        self.waiting = Gauge("chat_waiting", "Conversations waiting for a free row", registry=r)
