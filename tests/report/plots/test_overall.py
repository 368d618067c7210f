"""Plots over all tasks: adapters, heat map, costs, latency, calibration of n."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from harness.report.plots import (
    WATERMARK,
    adapter_plot,
    calibration_plot,
    frontier_plot,
    heat_plot,
    latency_plot,
)
from harness.report.plots.cost import Cost, costs, frontier
from harness.report.plots.overall import half_widths
from harness.report.plots.tasks import adapters
from tests.report.conftest import ADAPTER, GPT_4, long_row
from tests.report.plots.test_tasks import words


@pytest.fixture
def tuned(benchmark: pd.DataFrame) -> pd.DataFrame:
    """The benchmark with the adapter's base on both tasks and prices for all but the baseline."""
    base = [
        long_row("jigsaw", "mistral-7b", "accuracy", 0.52, **ADAPTER | {"base": None}),
        long_row("e2e_nlg", "mistral-7b", "rouge_l", 0.20, **ADAPTER | {"base": None}),
        long_row("e2e_nlg", "gpt-4", "rouge_l", 0.50, **GPT_4),
    ]
    frame = pd.concat([benchmark, pd.DataFrame(base)], ignore_index=True)
    frame.loc[frame["model"].str.startswith("mistral"), "usd"] = 0.125
    return frame


class TestAdapters:
    def test_are_those_whose_base_was_asked_too(self, tuned: pd.DataFrame, benchmark: pd.DataFrame) -> None:
        assert adapters(tuned) == {"mistral-7b-lora": "mistral-7b"}
        assert adapters(benchmark) == {}

    def test_plot_names_adapter_base_and_reference(self, tuned: pd.DataFrame, tmp_path: Path) -> None:
        svg, png = adapter_plot(tuned, "mistral-7b-lora", "mistral-7b", "gpt-4", tmp_path / "adapter")
        text = words(svg)
        assert png.stat().st_size > 0
        for expected in (
            "What tuning gave mistral-7b-lora", "higher than its base on 2 of 2 tasks; benchmark (mirror); n = 1,000",
            "mistral-7b (base)", "gpt-4 (reference)",
        ):  # fmt: skip
            assert expected in text
        assert text.index("jigsaw") < text.index("e2e_nlg")

    def test_a_reference_that_is_the_base_is_not_drawn_twice(self, tuned: pd.DataFrame, tmp_path: Path) -> None:
        svg, _ = adapter_plot(tuned, "mistral-7b-lora", "mistral-7b", "mistral-7b", tmp_path / "adapter")
        assert "reference" not in words(svg)

    def test_without_a_common_task_there_is_no_plot(self, tuned: pd.DataFrame, tmp_path: Path) -> None:
        apart = tuned[(tuned["model"] == "mistral-7b") ^ (tuned["task"] == "jigsaw")]
        assert adapter_plot(apart, "mistral-7b-lora", "mistral-7b", None, tmp_path / "adapter") == []


def test_heat_map_has_every_number(tuned: pd.DataFrame, tmp_path: Path) -> None:
    svg, _ = heat_plot(tuned, tmp_path / "heat")
    text = words(svg)
    for expected in (
        "0.93",
        "0.87",
        "0.91",
        "0.52",
        "0.54",
        "0.20",
        "4 models, 2 tasks; benchmark (mirror); n = 1,000",
    ):
        assert expected in text


class TestCosts:
    def test_are_per_thousand_rows_over_the_common_tasks(self, tuned: pd.DataFrame) -> None:
        found, tasks = costs(tuned)
        assert tasks == 2
        by_model = {cost.model: cost for cost in found}
        assert by_model["gpt-4"].usd == pytest.approx(13.0584)
        assert by_model["gpt-4"].score == pytest.approx((0.873 + 0.50) / 2)
        assert by_model["gpt-4"].half == pytest.approx(math.sqrt(2) * 0.0175 / 2)
        assert by_model["tfidf"].usd == 0

    def test_frontier_holds_who_is_not_beaten_for_less(self) -> None:
        cheap, dear = Cost("a", 0.6, 0, 1), Cost("b", 0.8, 0, 9)
        worse, same = Cost("c", 0.5, 0, 5), Cost("d", 0.6, 0, 2)
        assert frontier([dear, worse, cheap, same]) == [cheap, dear]

    def test_plot_names_models_and_those_that_are_free(self, tuned: pd.DataFrame, tmp_path: Path) -> None:
        svg, _ = frontier_plot(tuned, tmp_path / "frontier")
        text = words(svg)
        for expected in ("gpt-4", "mistral-7b-lora", "tfidf (free)", "USD per 1,000 rows", "mean over the 2 tasks"):
            assert expected in text
        assert "mathdefault" not in text

    def test_one_price_is_no_frontier(self, benchmark: pd.DataFrame, tmp_path: Path) -> None:
        assert frontier_plot(benchmark, tmp_path / "frontier") == []


class TestLatency:
    def test_plot_gives_seconds(self, benchmark: pd.DataFrame, tmp_path: Path) -> None:
        svg, _ = latency_plot(benchmark, tmp_path / "latency")
        assert "0.41 s, 95 % within 1.30 s" in words(svg)

    def test_none_known_is_no_plot(self, benchmark: pd.DataFrame, tmp_path: Path) -> None:
        unknown = benchmark.assign(p50_s=math.nan, p95_s=math.nan)
        assert latency_plot(unknown, tmp_path / "latency") == []


class TestCalibration:
    def test_half_widths_are_shares_of_the_scale(self, benchmark: pd.DataFrame) -> None:
        percent = benchmark.copy()
        percent.loc[percent["task"] == "e2e_nlg", ["score", "low", "high"]] *= 100
        assert half_widths(percent)["half"].tolist() == pytest.approx([0.0175] * 5)

    def test_plot_names_categories(self, benchmark: pd.DataFrame, tmp_path: Path) -> None:
        svg, _ = calibration_plot(benchmark, tmp_path / "calibration")
        text = words(svg)
        for expected in ("classification", "generation", "5 runs; benchmark (mirror); n = 1,000"):
            assert expected in text

    def test_without_intervals_there_is_no_plot(self, benchmark: pd.DataFrame, tmp_path: Path) -> None:
        assert calibration_plot(benchmark.assign(low=0.5, high=0.5), tmp_path / "calibration") == []


def test_all_are_watermarked_on_sample_rows(sample: pd.DataFrame, tmp_path: Path) -> None:
    for name, plot in (("heat", heat_plot), ("latency", latency_plot), ("calibration", calibration_plot)):
        svg, _ = plot(sample, tmp_path / name)
        assert WATERMARK in words(svg)


def test_equal_scores_give_equal_files(tuned: pd.DataFrame, tmp_path: Path) -> None:
    for name, plot in (("heat", heat_plot), ("frontier", frontier_plot), ("calibration", calibration_plot)):
        first = [path.read_bytes() for path in plot(tuned, tmp_path / f"{name}-1")]
        assert first == [path.read_bytes() for path in plot(tuned.iloc[::-1], tmp_path / f"{name}-2")]
