"""What a server gives under load: times and throughput, a curve for each number of adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from harness.report.plots.style import FAINT, canvas, look, model_legend, save, style, titles
from harness.report.words import plural

_TIMES = "median, dashed 99th percentile; of answered requests"
_PLOTS = (
    ("latency", "Seconds per answer", _TIMES, ("median_e2el_ms", "p99_e2el_ms")),
    ("throughput", "Answers per second", "answered requests per second", ("request_throughput",)),
)


def load_plots(levels: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write the curves of a load test into a folder: latency and throughput; returns the files written.

    `levels` are those of one test, all with a `concurrency` or all with a `rate`, and a number of `adapters`.
    """
    return [path for plot in _PLOTS for path in _plot(levels, folder, *plot)]


def _plot(
    levels: Sequence[Mapping[str, Any]], folder: Path, file: str, title: str, about: str, keys: Sequence[str]
) -> list[Path]:
    counts = list(dict.fromkeys(level["adapters"] for level in levels))
    load = "rate" if levels[0]["rate"] is not None else "concurrency"
    share = 1000.0 if keys[0].endswith("_ms") else 1.0
    with style():
        figure: Figure
        figure, axes = canvas(9.0, 4.6, top=1.0 + 0.22 * ((len(counts) - 1) // 4), bottom=0.65, left=0.8)
        axes.grid(axis="y", **FAINT)
        for place, count in enumerate(counts):
            colour, marker = look(place)
            of = sorted((level for level in levels if level["adapters"] == count), key=lambda level: level[load])
            for key, line in zip(keys, ("-", "--"), strict=False):
                points = [(level[load], level[key] / share) for level in of if level[key] is not None]
                if points:
                    axes.plot(*zip(*points, strict=True), line, color=colour, marker=marker, markersize=5)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.set_xlabel("requests due per second" if load == "rate" else "clients")
        axes.set_ylabel(title.lower())
        titles(figure, title, [about])
        model_legend(figure, [plural(count, "model") for count in counts])
        described = f"{about}, by {axes.get_xlabel()}, for {', '.join(plural(count, 'model') for count in counts)}."
        return save(figure, folder / file, False, title, described)
