"""Charts as inline SVG in the page's colours, each with a description for those who do not see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from harness.report.findings import Offer

LINE = 26
LEFT = 210  # at most: shorter names leave more room
LETTER = 9.3  # of the type on a phone, where a chart is shown at 0.6 of its size and its type is set larger
WIDTH = 600
RIGHT = 80


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with its interval on a line of a chart; `shape` is a class of the style sheet: dot, ring or diamond."""

    value: float
    low: float
    high: float
    shape: str = "dot"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart: its name, its marks, what is written at its end, and whether the marks are joined."""

    name: str
    marks: Sequence[Mark]
    note: str = ""
    joined: bool = False


def lines_chart(title: str, description: str, lines: Sequence[Line], unit: str, *, zero: bool = False) -> str:
    """One horizontal line per name with its marks on a shared scale; `zero` makes the scale begin at 0."""
    values = [v for line in lines for m in line.marks for v in (m.value, m.low, m.high) if math.isfinite(v)]
    if not values:
        return ""
    ticks = nice_ticks(min([*values, 0.0] if zero else values), max(values))
    height = LINE * len(lines) + 44
    left = min(LEFT, 24 + LETTER * max(len(line.name) for line in lines))
    x = _scale(ticks, left, WIDTH - RIGHT)
    parts = _grid(ticks, x, 8, height - 36, unit)
    for place, line in enumerate(lines):
        y = 8 + LINE * (place + 0.5)
        parts.append(f'<text class="name" x="{left - 10:.1f}" y="{y + 4:.1f}">{escape(_short(line.name))}</text>')
        parts += _line(line, x, y)
    return _svg(title, description, WIDTH, height, parts)


def cost_chart(offers: Sequence[Offer], description: str) -> str:
    """Mean score over USD per 1,000 rows, on a logarithmic axis with a place for what is free; frontier joined.

    Empty when no model has a price above 0.
    """
    known = [offer for offer in offers if offer.usd is not None]
    if not any(offer.usd for offer in known):
        return ""
    height, top, bottom = 360, 16, 310
    paid = [math.log10(offer.usd) for offer in known if offer.usd]
    lowest = math.floor(min(paid))
    decades = list(range(lowest, max(lowest + 1, math.ceil(max(paid))) + 1))
    free = any(offer.usd == 0 for offer in known)
    across = _scale([float(d) for d in decades], 150.0 if free else 80.0, WIDTH - 150)
    ticks = nice_ticks(min(o.score for o in known), max(o.score for o in known))
    up = _scale(ticks, bottom, top)
    parts = [
        f'<line class="grid" x1="50" x2="{WIDTH - 10}" y1="{up(t):.1f}" y2="{up(t):.1f}"/>'
        f'<text class="tick end" x="44" y="{up(t) + 4:.1f}">{_tick(t, ticks)}</text>'
        for t in ticks
    ]
    parts += [f'<text class="tick" x="{across(d):.1f}" y="{bottom + 22}">{_usd(10.0**d)}</text>' for d in decades]
    if free:
        parts.append(f'<text class="tick" x="90" y="{bottom + 22}">free</text>')
    parts.append(f'<text class="tick" x="{WIDTH / 2}" y="{height - 6}">USD per 1,000 rows (log scale)</text>')
    points = {o.model: (across(math.log10(o.usd)) if o.usd else 90.0, up(o.score)) for o in known}
    frontier = sorted(points[o.model] for o in known if o.frontier)
    if len(frontier) > 1:
        steps = " ".join(f"{a:.1f},{b:.1f}" for a, b in _staircase(frontier))
        parts.append(f'<polyline class="frontier" points="{steps}"/>')
    for (model, (px, py)), label in zip(points.items(), _apart([y for _, y in points.values()]), strict=True):
        on = next(o.frontier for o in known if o.model == model)
        parts.append(f'<circle class="{"dot" if on else "ring"}" cx="{px:.1f}" cy="{py:.1f}" r="6"/>')
        parts.append(f'<text class="label" x="{px + 11:.1f}" y="{label + 4:.1f}">{escape(_short(model))}</text>')
    return _svg("Mean score against cost", description, WIDTH, height, parts)


def nice_ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers whose range holds both ends."""
    if high - low < 1e-9:
        low, high = low - 0.05, high + 0.05
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def _scale(ticks: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    """The place of a value, where the first tick is at `start` and the last at `end`."""
    slope = (end - start) / (ticks[-1] - ticks[0])
    return lambda value: start + (value - ticks[0]) * slope


def _grid(ticks: Sequence[float], x: Callable[[float], float], top: float, bottom: float, unit: str) -> list[str]:
    parts = []
    for tick in ticks:
        at = f"{x(tick):.1f}"
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{at}" y="{bottom + 14}">{_tick(tick, ticks)}</text>')
    middle = (x(ticks[0]) + x(ticks[-1])) / 2
    return [*parts, f'<text class="tick" x="{middle:.1f}" y="{bottom + 30}">{escape(unit)}</text>']


def _line(line: Line, x: Callable[[float], float], y: float) -> list[str]:
    marks = [mark for mark in line.marks if math.isfinite(mark.value)]
    parts = []
    if line.joined and len(marks) > 1:
        ends = x(min(m.value for m in marks)), x(max(m.value for m in marks))
        parts.append(f'<line class="join" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y}" y2="{y}"/>')
    for mark in marks:
        at = x(mark.value)
        if math.isfinite(mark.low) and mark.high > mark.low:
            parts.append(f'<line class="range" x1="{x(mark.low):.1f}" x2="{x(mark.high):.1f}" y1="{y}" y2="{y}"/>')
        if mark.shape == "diamond":
            corners = f"{at:.1f},{y - 6} {at + 6:.1f},{y} {at:.1f},{y + 6} {at - 6:.1f},{y}"
            parts.append(f'<polygon class="diamond" points="{corners}"/>')
        else:
            parts.append(f'<circle class="{mark.shape}" cx="{at:.1f}" cy="{y}" r="5"/>')
    if line.note:
        parts.append(f'<text class="note" x="{WIDTH - RIGHT + 12}" y="{y + 4:.1f}">{escape(line.note)}</text>')
    return parts


def _svg(title: str, description: str, width: int, height: float, parts: Sequence[str]) -> str:
    """One picture; the numbers in it stand in a table beside it, so the description tells what it shows."""
    return (
        f'<svg class="chart" role="img" aria-label="{escape(f"{title}. {description}")}" '
        f'viewBox="0 0 {width} {height:g}">{"".join(parts)}</svg>'
    )


def _staircase(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The frontier as steps: between two models there is no third to buy."""
    steps = [points[0]]
    for x, y in points[1:]:
        steps += [(x, steps[-1][1]), (x, y)]
    return steps


def _apart(heights: Sequence[float], gap: float = 15.0) -> list[float]:
    """The heights moved down where labels would stand on each other, in the given order."""
    moved = list(heights)
    last = -math.inf
    for place in sorted(range(len(heights)), key=lambda i: heights[i]):
        last = moved[place] = max(heights[place], last + gap)
    return moved


def _tick(value: float, ticks: Sequence[float]) -> str:
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return f"{value + 0.0:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _usd(value: float) -> str:
    return f"${value:,.0f}" if value >= 1 else f"${value:g}" if value >= 1e-4 else f"${value:.0e}"


def _short(name: str, length: int = 20) -> str:
    """A name with its middle left out where it is too long: names of versions differ at the end."""
    return name if len(name) <= length else f"{name[: length // 2]}…{name[-(length // 2 - 1) :]}"
