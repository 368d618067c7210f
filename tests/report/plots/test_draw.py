"""Which plots are drawn, here or in another process, and what is left of an earlier report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from harness.report.markdown import markdown
from harness.report.plots.draw import FEW, draw, draw_aside, drawings
from tests.report.conftest import OVERALL, SECTIONS


def test_another_process_draws_the_same_bytes(benchmark: pd.DataFrame, sample: pd.DataFrame, tmp_path: Path) -> None:
    asked = drawings(pd.concat([benchmark, sample]), {}, OVERALL)
    many = asked * (FEW // len(asked) + 1)
    here = draw(many, tmp_path / "here")
    finish = draw_aside(many, tmp_path / "aside")
    aside = finish()
    assert finish() is aside
    assert [path.name for path in aside.paths] == [path.name for path in here.paths]
    assert len(many) > FEW
    for one, other in zip(here.paths, aside.paths, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_plots_over_all_tasks_come_first_and_by_kind(benchmark: pd.DataFrame, sample: pd.DataFrame) -> None:
    asked = drawings(pd.concat([benchmark, sample]), {}, OVERALL)
    assert [(drawing.name, drawing.overall) for drawing in asked] == [
        ("overview", True), ("heat", True), ("frontier", True), ("latency", True), ("calibration", True),
        ("overview-sample", True), ("heat-sample", True), ("frontier-sample", True), ("latency-sample", True),
        ("calibration-sample", True), ("e2e_nlg", False), ("jigsaw", False), ("jigsaw-sample", False),
    ]  # fmt: skip


def test_a_plot_with_nothing_to_show_leaves_no_file(benchmark: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "frontier.svg").write_text("of an earlier report")
    drawn = draw(drawings(benchmark, {}, OVERALL | {"benchmark": replace(OVERALL["benchmark"], offers=())}), tmp_path)
    assert not (tmp_path / "frontier.svg").exists()
    assert drawn.overall("benchmark") == ["overview", "heat", "latency"]
    assert drawn.overall("sample") == []


def test_every_picture_of_the_markdown_exists(benchmark: pd.DataFrame, sample: pd.DataFrame, tmp_path: Path) -> None:
    both = pd.concat([benchmark, sample])
    drawn = draw(drawings(both, {}, OVERALL), tmp_path / "plots")
    sections = {kind: replace(section, plots=drawn.overall(kind)) for kind, section in SECTIONS.items()}
    linked = [part.split(")")[0] for part in markdown(both, {}, sections).split("](")[1:]]
    assert len(linked) == 3 + 4 + 2
    assert all((tmp_path / link).is_file() for link in linked)
