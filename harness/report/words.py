"""Numbers and verdicts in words, each worded once for every output."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.compare.paired import (
    Comparison,
)

if TYPE_CHECKING:
    import pandas as pd


MINUS = "\N{MINUS SIGN}"


def _one_task(a: str, b: str, where: str, metric: str, found: Comparison, corrected: str = "") -> str:
    interval = f"95 % interval {signed(found.low)} to {signed(found.high)}"
    needed = ""
    if found.verdict == "not separable" and found.rows_needed:
        needed = f"; about {found.rows_needed:,} rows would separate them"
    p = f"{found.p}{corrected}"
    numbers = f"{signed(found.difference)} {metric}, {interval}, {p}, n = {found.n:,}{needed}"
    match found.verdict:
        case "better":
            return f"{a} beats {b}{where} ({numbers})"
        case "worse":
            return f"{a} loses to {b}{where} ({numbers})"
        case "within the margin":
            return f"{a} and {b} are equal within {found.margin:g}{where} ({numbers})"
        case _:
            return f"{a} and {b} cannot be told apart{where} ({numbers})"


def _figures(ratio: float) -> str:
    """Two figures, or all digits before the point when there are more."""
    return f"{ratio:.1f}".removesuffix(".0") if ratio < 10 else f"{ratio:,.0f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign, with a true minus; an en dash when there is none."""
    if value is None or math.isnan(value):
        return "\N{EN DASH}"
    return f"{value:+.{digits}f}".replace("-", MINUS)


def _sentence(first: str, second: str, metric: str, compared: Comparison, note: str) -> str:
    numbers = (
        f"{compared.difference:+.3f} {metric}, 95 % interval {compared.low:+.3f} to {compared.high:+.3f}, "
        f"{compared.p}{note}, n = {compared.n}"
    )
    if compared.verdict == "better":
        return f"{first} beats {second} ({numbers})."
    if compared.difference == 0:
        return f"{first} and {second} score the same ({numbers})."
    needed = f"; about {compared.rows_needed:,} rows would separate them" if compared.rows_needed else ""
    if compared.verdict == "within the margin":
        return f"{first} and {second} are equal within {compared.margin:g} ({numbers})."
    return f"{first} leads {second}, but not beyond chance at n = {compared.n} ({numbers}{needed})."


ABSENT = "\N{EN DASH}"


def number(value: Any, digits: int = 3) -> str:
    """A number with that many decimals; an en dash for None and NaN."""
    return ABSENT if absent(value) else f"{value:.{digits}f}"


def plural(count: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def with_interval(row: Mapping[Hashable, Any]) -> str:
    """A score as `0.912 [0.893, 0.928]`."""
    return ABSENT if absent(row["score"]) else f"{row['score']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def absent(value: Any) -> bool:
    """Whether a cell of the long form holds nothing."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _small(value: Any) -> str:
    """Seconds or USD, where 0.000 would hide that something was spent."""
    if not absent(value) and 0 < value < 0.0005:
        return "<0.001"
    return number(value)


def count(value: Any) -> str:
    """A whole number with separators; an en dash when absent."""
    return ABSENT if absent(value) else f"{int(value):,}"
