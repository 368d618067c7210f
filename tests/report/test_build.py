"""The whole report from scored runs: which files it writes, and that it needs nothing else."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from harness.report import build

OVERALL = ("overview", "heat", "latency", "calibration")


def names(paths: list[Path], out: Path) -> set[str]:
    assert all(path.stat().st_size > 0 for path in paths)
    return {path.relative_to(out).as_posix() for path in paths}


def pictures(*stems: str) -> set[str]:
    return {f"plots/{stem}.{ending}" for stem in stems for ending in ("svg", "png")}


def test_benchmark_and_sample_runs_get_files_of_their_own(
    benchmark: pd.DataFrame, sample: pd.DataFrame, tmp_path: Path
) -> None:
    written = build(pd.concat([benchmark, sample]), tmp_path, tmp_path / "absent")
    tables = {f"leaderboard{end}" for end in (".md", ".csv", ".tex", "-sample.csv", "-sample.tex")}
    plots = pictures("jigsaw", "e2e_nlg", "jigsaw-sample", *OVERALL, *(f"{stem}-sample" for stem in OVERALL))
    assert names(written, tmp_path) == tables | plots
    assert "sample" not in (tmp_path / "leaderboard.csv").read_text(encoding="utf-8")
    assert "benchmark" not in (tmp_path / "leaderboard-sample.csv").read_text(encoding="utf-8")


def test_with_sample_runs_alone_the_csv_holds_them(sample: pd.DataFrame, tmp_path: Path) -> None:
    written = build(sample, tmp_path, tmp_path / "absent")
    plots = pictures("jigsaw-sample", *(f"{stem}-sample" for stem in OVERALL))
    assert names(written, tmp_path) == {"leaderboard.md", "leaderboard.csv", "leaderboard.tex"} | plots
    assert "sample (n=24)" in (tmp_path / "leaderboard.csv").read_text(encoding="utf-8")


def test_every_picture_of_the_markdown_exists(benchmark: pd.DataFrame, sample: pd.DataFrame, tmp_path: Path) -> None:
    build(pd.concat([benchmark, sample]), tmp_path, tmp_path / "absent")
    text = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    linked = [part.split(")")[0] for part in text.split("](")[1:]]
    assert len(linked) == 3 + 2 * len(OVERALL)
    assert all((tmp_path / link).is_file() for link in linked)


def test_a_report_can_be_built_again_over_the_last(
    benchmark: pd.DataFrame, sample: pd.DataFrame, tmp_path: Path
) -> None:
    build(pd.concat([benchmark, sample]), tmp_path, tmp_path / "absent")
    build(benchmark, tmp_path, tmp_path / "absent")
    assert not (tmp_path / "leaderboard-sample.csv").exists()


def test_no_runs_give_a_report_that_says_so(benchmark: pd.DataFrame, tmp_path: Path) -> None:
    build(benchmark.head(0), tmp_path, tmp_path / "absent")
    assert "No runs are recorded." in (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
