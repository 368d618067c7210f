"""Scores as pictures, as SVG and PNG: a kind of plot in each file, what they share in `style`."""

from __future__ import annotations

from harness.report.plots.adapters import adapter_plot, adapters
from harness.report.plots.bars import task_plot
from harness.report.plots.calibration import calibration_plot
from harness.report.plots.heat import heat_plot
from harness.report.plots.overview import overview_plot
from harness.report.plots.spent import frontier_plot, latency_plot
from harness.report.plots.style import WATERMARK

__all__ = [
    "WATERMARK",
    "adapter_plot",
    "adapters",
    "calibration_plot",
    "frontier_plot",
    "heat_plot",
    "latency_plot",
    "overview_plot",
    "task_plot",
]
