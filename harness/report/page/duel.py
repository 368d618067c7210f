"""One model against another as the page shows it: the verdict, a bar of results, prices, and a line for each task."""

from __future__ import annotations

import math
from typing import Any

from harness.report import words
from harness.report.scoreboard import Duel, DuelLine, Scoreboard
from harness.report.words import number, plural, signed, signed_interval

RESULTS = {
    "better": ("▲", "won"),
    "within the margin": ("=", "equal"),
    "not separable": ("~", "not separable"),
    "cannot be told": ("?", "cannot be told"),
    "worse": ("▼", "lost"),
}
"""The mark and the word of each verdict, in the order of the bar."""
STEPS = (0.5, 1, 2, 5, 10, 20, 25, 50, 100)
"""Distances between the ticks of an axis, in hundredths of the scale."""
MOST_TICKS = 6


def duel_view(board: Scoreboard, a: str, b: str) -> dict[str, Any]:
    """Everything the template says about model `a` against model `b`."""
    duel = board.duel(a, b)
    low, high = extent(duel)
    counts = [(verdict, sum(line.found.verdict == verdict for line in duel.lines)) for verdict in RESULTS]
    return {
        "a": a,
        "b": b,
        "verdict": words.headline(board, a, b),
        "size": words.lead(board, a, b),
        "small_print": words.small_print(board, a, b),
        "counts": [
            {"verdict": verdict, "n": n, "mark": RESULTS[verdict][0], "word": RESULTS[verdict][1]}
            for verdict, n in counts
        ],
        "tasks": len(duel.lines),
        "means": _means(duel),
        "cost": None
        if duel.usd == (None, None)
        else {"a": words.usd(duel.usd[0]), "b": words.usd(duel.usd[1]), "tasks": plural(duel.priced, "task")},
        "lines": [_line(line, low, high) for line in duel.lines],
        "ticks": [
            {"at": _place(tick, low, high), "text": signed(tick, 0 if tick % 1 == 0 else 1) if tick else "0"}
            for tick in ticks(low, high)
        ],
        "zero": _place(0.0, low, high),
        "apart": [f"{task}: {why}" for task, why in sorted(duel.pair.apart.items())],
    }


def _means(duel: Duel) -> dict[str, str] | None:
    lead = duel.lead
    if lead is None or len(lead.tasks) == 1:
        return None
    return {
        "a": number(lead.scores[0]),
        "b": number(lead.scores[1]),
        "difference": signed(100 * lead.difference.value, 1),
        "interval": words.points(lead.difference),
        "tasks": plural(len(lead.tasks), "task"),
    }


def _line(line: DuelLine, low: float, high: float) -> dict[str, Any]:
    mark, word = RESULTS[line.found.verdict]
    shown: dict[str, Any] = {"task": line.task, "metric": line.metric, "n": line.found.n}
    shown |= {"verdict": line.found.verdict, "mark": mark, "word": word, "p": line.found.p}
    if line.gain is None:
        text, interval = signed(line.found.difference), signed_interval(line.found.low, line.found.high)
        return shown | {"text": text, "interval": interval, "left": None}
    gain, least, most = line.gain
    left, right = _place(least, low, high), _place(most, low, high)
    return shown | {
        "text": signed(gain, 1),
        "interval": signed_interval(least, most, 1),
        "left": left,
        "width": round(right - left, 2),
        "dot": _place(gain, low, high),
    }


def extent(duel: Duel) -> tuple[float, float]:
    """Where the axis of a duel begins and ends: all intervals and 0, with some air."""
    known = [value for line in duel.lines if line.gain for value in line.gain if math.isfinite(value)]
    low, high = min([*known, 0.0]), max([*known, 0.0])
    air = max(0.04 * (high - low), 0.5)
    return low - air, high + air


def ticks(low: float, high: float) -> list[float]:
    """Round numbers on an axis, 0 among them."""
    step = next((step for step in STEPS if (high - low) / step <= MOST_TICKS), STEPS[-1])
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _place(value: float, low: float, high: float) -> float:
    return round(100 * (value - low) / (high - low), 2)


def pairs(board: Scoreboard) -> list[tuple[str, str]]:
    """The two models of each view that a reader can choose, the headline's first."""
    first = [(board.subject, board.reference)] if board.subject else []
    rest = [(a, b) for b in board.references for a in board.models if a != b]
    return list(dict.fromkeys([*((a, b) for a, b in first if a), *rest]))
