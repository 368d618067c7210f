"""Scores as pictures, as SVG and PNG: a kind of plot in each file, what they share in `style`."""

from __future__ import annotations

from harness.report.plots.cost import frontier_plot, latency_plot
from harness.report.plots.forest import verdict_plot
from harness.report.plots.overall import calibration_plot, heat_plot, overview_plot
from harness.report.plots.score_over_time import history_plot
from harness.report.plots.style import WATERMARK
from harness.report.plots.tasks import adapter_plot, task_plot

__all__ = [
    "WATERMARK",
    "adapter_plot",
    "calibration_plot",
    "frontier_plot",
    "heat_plot",
    "history_plot",
    "latency_plot",
    "overview_plot",
    "task_plot",
    "verdict_plot",
]
