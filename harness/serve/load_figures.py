"""What a load test shows of a server, in the names and by the definitions of `vllm bench serve`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.models.entry import Price
from harness.report.scoreboard import break_even
from harness.serve.arrivals import Timed

TIMES = ("ttft", "tpot", "itl", "e2el")
"""Time to the first token, time per further token, time between parts of a stream, time of the whole answer."""
LATE_MS = 5.0
"""99th percentile of how late requests may be sent for their times to mean something."""
HOURS, SECONDS = 24, 86_400


def figures(timed: Sequence[Timed], lags: Sequence[float], cpu_s: float) -> dict[str, Any]:
    """Return what the requests of one level of load show; times in milliseconds, of answered requests.

    `cpu_s` is the processor time that sending them took.
    """
    answered = [one for one in timed if one.error is None]
    started = min((one.due for one in timed), default=0.0)
    duration = max((one.ended for one in timed), default=0.0) - started
    per_second = 1 / duration if duration else 0.0
    read = sum(one.input_tokens or 0 for one in answered)
    written = sum(tokens_of(one) for one in answered)
    found: dict[str, Any] = {
        "duration": duration,
        "completed": len(answered),
        "failed": len(timed) - len(answered),
        "errors": dict(Counter(one.error for one in timed if one.error)),
        "total_input_tokens": read,
        "total_output_tokens": written,
        "request_throughput": len(answered) * per_second,
        "output_throughput": written * per_second,
        "total_token_throughput": (read + written) * per_second,
        "max_concurrent_requests": most_at_once(timed),
    }
    for name, seconds in _times(answered).items():
        found |= _summary(name, seconds)
    return found | _switching(answered) | {
        "p99_late_ms": _p99(lags),
        "generator_cpu_s_per_1000_requests": 1000 * cpu_s / len(timed) if timed else None,
        "not_streamed": sum(not one.parts for one in answered),
        "without_usage": sum(one.output_tokens is None for one in answered),
    }  # fmt: skip


def tokens_of(one: Timed) -> int:
    """Tokens of an answer as the server counts them, else the parts in which it came."""
    return len(one.parts) if one.output_tokens is None else one.output_tokens


def most_at_once(timed: Sequence[Timed]) -> int:
    """The most requests that were in flight at one time; one that ends as another begins is not beside it."""
    changes = sorted([(one.sent, 1) for one in timed] + [(one.ended, -1) for one in timed])
    return int(np.cumsum([change for _, change in changes]).max()) if changes else 0


def _times(answered: Sequence[Timed]) -> dict[str, list[float]]:
    streamed = [(one, one.ttft) for one in answered if one.ttft is not None]
    return {
        "ttft": [ttft for _, ttft in streamed],
        "tpot": [(one.e2el - ttft) / (tokens_of(one) - 1) for one, ttft in streamed if tokens_of(one) > 1],
        "itl": [float(gap) for one, _ in streamed for gap in np.diff(one.parts)],
        "e2el": [one.e2el for one in answered],
    }


def _summary(name: str, seconds: Sequence[float]) -> dict[str, float | None]:
    known = 1000 * np.asarray(seconds)
    return {
        f"mean_{name}_ms": float(known.mean()) if seconds else None,
        f"median_{name}_ms": float(np.median(known)) if seconds else None,
        f"p99_{name}_ms": _p99(seconds),
    }


def _p99(seconds: Sequence[float]) -> float | None:
    return 1000 * float(np.percentile(seconds, 99)) if seconds else None


def _switching(answered: Sequence[Timed]) -> dict[str, float | None]:
    """The median time to the first token of requests after one for another model, and after one for the same."""
    of = {
        known: [one.ttft for one in answered if one.switched is known and one.ttft is not None]
        for known in (True, False)
    }
    after, same = (1000 * float(np.median(of[known])) if of[known] else None for known in (True, False))
    costs = None if after is None or same is None else after - same
    return {"median_ttft_switched_ms": after, "median_ttft_same_ms": same, "switching_ms": costs}


def costs(found: dict[str, Any], per_hour: float, api: Price | None) -> dict[str, float | None]:
    """Return what this load costs on a machine at a price an hour, and when it is cheaper than an API's tokens.

    `break_even_requests_per_day` is None where the machine cannot answer as many under this load.
    """
    tokens = found["total_token_throughput"] * 3600
    made: dict[str, float | None] = {
        "gpu_per_hour": per_hour,
        "usd_per_million_tokens": 1e6 * per_hour / tokens if tokens else None,
    }
    if api is None:
        return made
    made |= {"api_usd_per_1000_requests": None, "break_even_requests_per_day": None}
    if n := found["completed"]:
        usd = 1000 * api.usd(found["total_input_tokens"], found["total_output_tokens"]) / n
        made["api_usd_per_1000_requests"] = usd
        needed = HOURS * break_even(per_hour, usd) if usd else float("inf")
        made["break_even_requests_per_day"] = needed if needed <= SECONDS * found["request_throughput"] else None
    return made
