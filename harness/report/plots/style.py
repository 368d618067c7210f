"""What all plots share: canvas, colours, scale, titles, and how a figure becomes files.

matplotlib's object interface throughout, so that no state outlives a call; the same scores give the same bytes.
Colours are Okabe and Ito's (jfly, 2008), which people with colour-blindness can distinguish.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from harness.errors import UserError
from harness.printable import printable
from harness.report.tables import higher_is_better, highest_value, rows_asked

INK = "#333333"
"""Text, axes and whatever takes the reader's text colour in an SVG: there it becomes `currentColor`."""
GREY, VERMILION = "#7F7F7F", "#D55E00"
SERIES = (
    "#0072B2", VERMILION, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", INK, GREY,
    "#332288", "#AA4499", "#882255", "#999933", "#44AA99", "#6B4C2A", "#DDAA33", "#BB5566",
)  # fmt: skip
"""Okabe and Ito's, then Tol's (2021): a colour for each of 16 models."""
MARKERS = ("o", "s", "^", "D", "v", "p", "<", ">")
FAINT: dict[str, Any] = {"color": INK, "alpha": 0.15, "linewidth": 0.6}
"""Lines of a grid, on light and on dark paper."""
WATERMARK = "SAMPLE ROWS \N{EN DASH} not a benchmark"
DPI = 120
ROOM = 1.65
"""Width of a bar plot's axis over its scale: the figures stand to the right of the bars."""


def style() -> AbstractContextManager[None]:
    """The look of all plots, as a context."""
    return mpl.rc_context(
        {
            "font.family": "sans-serif",
            # The later ones are for readers of an SVG who lack the first.
            "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.spines.left": False,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.axisbelow": True,
            "text.color": INK,
            "text.parse_math": False,
            "xtick.color": INK,
            "ytick.color": INK,
            "svg.hashsalt": "lora-leaderboard",
            "svg.fonttype": "none",
        }
    )


def look(place: int) -> tuple[str, str]:
    """Colour and marker of the series in that place; no two of the first 64 share both."""
    return SERIES[place % len(SERIES)], MARKERS[(place + place // len(MARKERS)) % len(MARKERS)]


def looks(models: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each model, the same in every plot that is given the same models."""
    return {model: look(place) for place, model in enumerate(models)}


def named(df: pd.DataFrame) -> dict[str, str]:
    """What each model is called in a plot: its name, and whether it is a baseline, an adapter or recorded."""
    kinds = {"recorded": " (recorded)", "baseline": " (baseline)"}
    found = {}
    for row in df.drop_duplicates("model").to_dict("records"):
        adapter = " (adapter)" if isinstance(row["base"], str) else ""
        found[str(row["model"])] = str(row["model"]) + kinds.get(str(row["backend"]), adapter)
    return found


def canvas(width: float, height: float, *, top: float, bottom: float, left: float) -> tuple[Figure, Axes]:
    """A figure of that size in inches whose one axes leaves those margins, in inches."""
    figure = Figure(figsize=(width, height), facecolor="white")
    right = 0.25
    box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    axes = figure.add_axes(box)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.grid(axis="x", **FAINT)
    return figure, axes


def scale(axes: Axes, values: Iterable[float], *, bars: bool) -> None:
    """0 to 1 for a metric of that range, else as far as the values go; with room for the figures beside bars."""
    known = [v for v in values if math.isfinite(v)]
    low, high = min(0.0, *known, 0.0), max(1.0, *known, 1.0)
    width = high - low
    slack = 0.02 * width if low < 0 or not bars else 0.0
    axes.set_xlim(low - slack, low + ROOM * width if bars else high + slack)
    axes.set_xticks([t for t in MaxNLocator(nbins=6 if bars else 10).tick_values(low, high) if low <= t <= high])
    axes.spines["bottom"].set_bounds(low, high)


def task_label(part: pd.DataFrame) -> str:
    """Two lines: the task, and its metric with the highest value, unless that is 1, and n."""
    top = highest_value(part)
    metric = str(part.loc[part["is_main"], "metric"].iloc[0]) + (
        f" / {top:g}" if math.isfinite(top) and top != 1 else ""
    )
    sense = "" if higher_is_better(part) else ", lower is better"
    return f"{short(str(part['task'].iloc[0]), 30)}\n{metric}{sense}, {rows_asked(part)}"


def on_scale(parts: Sequence[pd.DataFrame]) -> tuple[list[pd.DataFrame], list[str]]:
    """The tasks whose scores can be shown as shares of their metric's highest value, and a line on the others."""
    shown = [part for part in parts if math.isfinite(highest_value(part))]
    left = [str(part["task"].iloc[0]) for part in parts if not math.isfinite(highest_value(part))]
    return shown, [f"Not shown, because their metric has no highest value: {', '.join(left)}."] if left else []


def short(text: str, most: int) -> str:
    """The text, with its middle left out when it is too long: names of versions differ at the end."""
    tail = most // 2
    return text if len(text) <= most else f"{text[: most - tail - 1]}\N{HORIZONTAL ELLIPSIS}{text[-tail:]}"


def luminance(colour: tuple[float, ...]) -> float:
    """Relative luminance (WCAG 2); at 0.18 black and white text have the same contrast, 4.6 to 1."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def titles(figure: Figure, title: str, lines: Sequence[str]) -> None:
    """Title and small print at the top left, at fixed distances in inches."""
    height = figure.get_figheight()
    figure.text(0.015, 1 - 0.1 / height, title, fontsize=12, fontweight="bold", va="top")
    for i, line in enumerate(lines):
        figure.text(0.015, 1 - (0.34 + 0.17 * i) / height, line, fontsize=8.5, va="top")


def model_legend(figure: Figure, models: Sequence[str]) -> None:
    """The models in a fixed grid of four columns below the title."""
    width, height = figure.get_size_inches()
    for place, model in enumerate(models):
        x, y = 0.25 + (width - 0.4) / 4 * (place % 4), height - 0.7 - 0.22 * (place // 4)
        colour, marker = look(place)
        figure.add_artist(mpl.lines.Line2D([x / width], [y / height], color=colour, marker=marker, markersize=5.5))
        figure.text((x + 0.12) / width, y / height, short(model, 26), fontsize=8.5, va="center_baseline")


def save(figure: Figure, path: Path, sample: bool, title: str, description: str) -> list[Path]:
    """Write SVG and PNG without dates or versions, so that equal scores give equal files.

    The SVG has a title and a description for those who do not see it, and takes the colour of the text around it where
    a page holds it.

    Raises:
        UserError: they cannot be written.
    """
    if sample:
        figure.text(
            0.5, 0.5, WATERMARK, fontsize=22, fontweight="bold", color=VERMILION, alpha=0.3, ha="center", va="center"
        )
    svg, png = path.with_name(f"{path.name}.svg"), path.with_name(f"{path.name}.png")
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": "lora-leaderboard"})
    start, end, rest = text.getvalue().partition(' version="1.1">')
    labels = f"\n <title>{escape(title)}</title>\n <desc>{escape(description)}</desc>"
    drawing = re.sub(f'(?<=: ){INK.lower()}(?=[;"])', "currentColor", rest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        svg.write_text(printable(f"{start}{end}{labels}{drawing}"), encoding="utf-8", newline="\n")
        # Level 3 makes files as small as the default of 6 does, in half the time.
        figure.savefig(png, dpi=DPI, metadata={"Software": "lora-leaderboard"}, pil_kwargs={"compress_level": 3})
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    return [svg, png]


def key(figure: Figure, entries: Sequence[tuple[str, str, str]]) -> None:
    """Say below the small print what signs stand for: sign, its colour, and the words, side by side."""
    width, height = figure.get_size_inches()
    for place, (sign, colour, words) in enumerate(entries):
        x, y = (0.15 + 2.9 * place) / width, 1 - 0.62 / height
        figure.text(x, y, sign, color=colour, fontsize=9, va="center")
        figure.text(x + 0.17 / width, y, short(words, 36), fontsize=8.5, va="center")


def logarithmic(axes: Axes) -> None:
    """A logarithmic x axis, its limits set, with plain numbers at 1, 2 and 5 of each decade, of many only at 1."""
    low, high = axes.get_xlim()
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
