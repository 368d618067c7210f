"""What a server counts, in the form of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

UNKNOWN = "unknown"
"""The label of requests for a model that is not served: names of strangers would be labels without end."""
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Requests by model and status, what waits, times, tokens and switches of adapters.

    `waiting` tells how many requests wait or are being answered, `switches` how often an adapter followed another.
    """

    def __init__(self, waiting: Callable[[], float], switches: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        registry, by_model = self._registry, ("model",)
        self._requests = Counter(
            "harness_requests", "Requests answered.", labelnames=("model", "status"), registry=registry
        )
        self._first = Histogram(
            "harness_time_to_first_token_seconds", "From a request to the first part of a stream.", by_model,
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._latency = Histogram(
            "harness_request_seconds", "From a request to the end of its answer.", by_model, buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._read = Counter("harness_prompt_tokens", "Tokens read, by models here.", by_model, registry=registry)
        self._written = Counter("harness_completion_tokens", "Tokens written.", by_model, registry=registry)
        waits = Gauge("harness_queue", "Requests that wait or are being answered.", registry=self._registry)
        waits.set_function(waiting)
        switched = Gauge(
            "harness_adapter_switches", "Requests for another adapter than the one before.", registry=self._registry
        )
        switched.set_function(switches)

    def answered(self, model: str, status: str, seconds: float, first: float | None) -> None:
        """Count an answer; `first` is the time to the first part of a stream."""
        self._requests.labels(model, status).inc()
        self._latency.labels(model).observe(seconds)
        if first is not None:
            self._first.labels(model).observe(first)

    def tokens(self, model: str, read: int, written: int) -> None:
        """Count the tokens of an answer."""
        self._read.labels(model).inc(read)
        self._written.labels(model).inc(written)

    def text(self) -> bytes:
        """Return all, as Prometheus reads it."""
        return generate_latest(self._registry)
