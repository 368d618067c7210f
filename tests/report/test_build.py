"""The tables of a report: which files are written, and that they need nothing but scores."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from harness.report import write_tables
from tests.report.conftest import SECTIONS


def names(paths: list[Path], out: Path) -> set[str]:
    assert all(path.stat().st_size > 0 for path in paths)
    return {path.relative_to(out).as_posix() for path in paths}


def test_benchmark_and_sample_runs_get_files_of_their_own(
    benchmark: pd.DataFrame, sample: pd.DataFrame, tmp_path: Path
) -> None:
    written = write_tables(pd.concat([benchmark, sample]), {}, SECTIONS, tmp_path)
    assert names(written, tmp_path) == {
        f"leaderboard{end}" for end in (".md", ".csv", ".tex", "-sample.csv", "-sample.tex")
    }
    assert "sample" not in (tmp_path / "leaderboard.csv").read_text(encoding="utf-8")
    assert "benchmark" not in (tmp_path / "leaderboard-sample.csv").read_text(encoding="utf-8")


def test_with_sample_runs_alone_the_csv_holds_them(sample: pd.DataFrame, tmp_path: Path) -> None:
    written = write_tables(sample, {}, SECTIONS, tmp_path)
    assert names(written, tmp_path) == {"leaderboard.md", "leaderboard.csv", "leaderboard.tex"}
    assert "sample (n=24)" in (tmp_path / "leaderboard.csv").read_text(encoding="utf-8")


def test_a_report_can_be_written_over_the_last(benchmark: pd.DataFrame, sample: pd.DataFrame, tmp_path: Path) -> None:
    write_tables(pd.concat([benchmark, sample]), {}, SECTIONS, tmp_path)
    write_tables(benchmark, {}, SECTIONS, tmp_path)
    assert not (tmp_path / "leaderboard-sample.csv").exists()


def test_no_runs_give_a_report_that_says_so(benchmark: pd.DataFrame, tmp_path: Path) -> None:
    write_tables(benchmark.head(0), {}, SECTIONS, tmp_path)
    assert "No runs are recorded." in (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
