"""Plots over all tasks: adapters, heat map, costs, latency, calibration of n."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from harness.compare.intervals import NOTHING, Estimate
from harness.compare.paired import Comparison, ModelPair
from harness.compare.standings import Lift
from harness.report.plots import (
    WATERMARK,
    adapter_plot,
    calibration_plot,
    frontier_plot,
    heat_plot,
    latency_plot,
    overview_plot,
)
from harness.report.plots.overall import half_widths
from harness.report.scoreboard import Latencies, Latency, Offer
from tests.report.conftest import ADAPTER, GPT_4, long_row
from tests.report.plots.test_tasks import words

MODELS = ("gpt-4", "mistral-7b", "mistral-7b-lora", "tfidf")
WON = Comparison(0.4, 0.3, 0.5, 0.001, 1000, "better", None)
GAIN = Estimate(0.4, 0.3, 0.5, 2000)
LIFT = Lift(GAIN, ModelPair("mistral-7b-lora", "mistral-7b", {"e2e_nlg": WON, "jigsaw": WON}))


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
    def test_plot_names_adapter_base_and_reference(self, tuned: pd.DataFrame, tmp_path: Path) -> None:
        svg, png = adapter_plot(tuned, LIFT, "gpt-4", MODELS, tmp_path / "adapter")
        text = words(svg)
        assert png.stat().st_size > 0
        for expected in (
            "What tuning gave mistral-7b-lora",
            "mistral-7b-lora beats mistral-7b on 2 of 2 tasks, ties 0, loses 0; benchmark (mirror); n = 1,000",
            "mistral-7b (base)", "gpt-4 (reference)",
        ):  # fmt: skip
            assert expected in text
        assert text.index("jigsaw") < text.index("e2e_nlg")

    def test_a_reference_that_is_the_base_is_not_drawn_twice(self, tuned: pd.DataFrame, tmp_path: Path) -> None:
        svg, _ = adapter_plot(tuned, LIFT, "mistral-7b", MODELS, tmp_path / "adapter")
        assert "reference" not in words(svg)

    def test_without_a_common_task_there_is_no_plot(self, tuned: pd.DataFrame, tmp_path: Path) -> None:
        apart = Lift(NOTHING, ModelPair("mistral-7b-lora", "mistral-7b", {}, ("jigsaw",)))
        assert adapter_plot(tuned, apart, "gpt-4", MODELS, tmp_path / "adapter") == []


def test_heat_map_has_every_number(tuned: pd.DataFrame, tmp_path: Path) -> None:
    svg, _ = heat_plot(tuned, MODELS, tmp_path / "heat")
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


class TestScale:
    """A score is divided by its metric's highest value, whatever the scores are; without one it has no place."""

    @pytest.fixture
    def mixed(self, tuned: pd.DataFrame) -> pd.DataFrame:
        """On e2e_nlg a metric to 100 on which no model passes 1, on jigsaw one without a highest value."""
        return tuned.assign(highest=tuned["task"].map({"e2e_nlg": 100.0, "jigsaw": math.nan}))

    def test_heat_map(self, mixed: pd.DataFrame, tmp_path: Path) -> None:
        svg, _ = heat_plot(mixed, MODELS, tmp_path / "heat")
        assert "rouge_l / 100, n = 1,000" in words(svg)
        assert words(svg).count("0.01") == 2  # 0.54 and 0.50 of 100
        assert "0.93" in words(svg)

    def test_overview_leaves_out_and_says_so(self, mixed: pd.DataFrame, tmp_path: Path) -> None:
        svg, _ = overview_plot(mixed, MODELS, tmp_path / "overview")
        assert "Not shown, because their metric has no highest value: jigsaw." in words(svg)
        assert "4 models, 1 task; " in words(svg)
        nothing = mixed[mixed["task"] == "jigsaw"]
        assert overview_plot(nothing, MODELS, tmp_path / "overview") == []

    def test_adapter(self, mixed: pd.DataFrame, tmp_path: Path) -> None:
        svg, _ = adapter_plot(mixed, LIFT, "gpt-4", MODELS, tmp_path / "adapter")
        assert "Not shown, because their metric has no highest value: jigsaw." in words(svg)


def offer(model: str, score: float, usd: float | None, *, frontier: bool = False) -> Offer:
    return Offer(model, Estimate(score, score - 0.02, score + 0.01, 2000), usd, frontier)


class TestFrontier:
    OFFERS = (
        offer("mistral-7b-lora", 0.74, 0.125, frontier=True), offer("gpt-4", 0.69, 13.06),
        offer("tfidf", 0.66, 0.0, frontier=True), offer("mistral-7b", 0.36, None),
    )  # fmt: skip

    def test_plot_names_models_and_those_that_are_free(self, tuned: pd.DataFrame, tmp_path: Path) -> None:
        svg, _ = frontier_plot(tuned, self.OFFERS, 2, MODELS, tmp_path / "frontier")
        text = words(svg)
        for expected in (
            "gpt-4", "mistral-7b-lora (adapter)", "tfidf (baseline), free", "USD per 1,000 rows",
            "over the 2 tasks of the mean score",
        ):  # fmt: skip
            assert expected in text
        assert "mathdefault" not in text

    def test_one_known_price_is_no_frontier(self, tuned: pd.DataFrame, tmp_path: Path) -> None:
        alone = [self.OFFERS[1], self.OFFERS[3]]
        assert frontier_plot(tuned, alone, 2, MODELS, tmp_path / "frontier") == []

    def test_without_any_price_there_is_no_plot(self, tuned: pd.DataFrame, tmp_path: Path) -> None:
        free = [offer("tfidf", 0.6, 0.0), offer("mistral-7b", 0.5, 0.0)]
        assert frontier_plot(tuned, free, 2, MODELS, tmp_path / "frontier") == []


class TestLatency:
    def test_plot_gives_seconds_and_answers(self, benchmark: pd.DataFrame, tmp_path: Path) -> None:
        found = Latencies(("jigsaw",), (Latency("gpt-4", 0.412, 1.3, 1000),))
        svg, _ = latency_plot(benchmark, found, MODELS, tmp_path / "latency")
        assert "0.412 s, 95 % within 1.300 s, n = 1,000" in words(svg)
        assert "all answers to the 1 task that every timed model has" in words(svg)

    def test_none_known_is_no_plot(self, benchmark: pd.DataFrame, tmp_path: Path) -> None:
        assert latency_plot(benchmark, Latencies((), ()), MODELS, tmp_path / "latency") == []


class TestCalibration:
    def test_half_widths_are_shares_of_the_scale(self, benchmark: pd.DataFrame) -> None:
        percent = benchmark.copy()
        percent.loc[percent["task"] == "e2e_nlg", ["score", "low", "high", "highest"]] *= 100
        assert half_widths(percent)["half"].tolist() == pytest.approx([0.0175] * 5)

    def test_plot_names_categories(self, benchmark: pd.DataFrame, tmp_path: Path) -> None:
        fewer = benchmark.assign(n=benchmark["n"].where(benchmark["task"] != "e2e_nlg", 500))
        svg, _ = calibration_plot(fewer, tmp_path / "calibration")
        text = words(svg)
        for expected in ("classification", "generation", "5 runs; benchmark (mirror); n = 500 to 1,000"):
            assert expected in text

    def test_with_one_number_of_rows_there_is_no_plot(self, benchmark: pd.DataFrame, tmp_path: Path) -> None:
        assert calibration_plot(benchmark, tmp_path / "calibration") == []

    def test_without_intervals_there_is_no_plot(self, benchmark: pd.DataFrame, tmp_path: Path) -> None:
        assert calibration_plot(benchmark.assign(low=0.5, high=0.5), tmp_path / "calibration") == []


def test_all_are_watermarked_on_sample_rows(sample: pd.DataFrame, tmp_path: Path) -> None:
    names = ("majority", "tfidf")
    latency = Latencies((), (Latency("tfidf", 0.1, 0.2, 24),))
    for files in (
        heat_plot(sample, names, tmp_path / "heat"),
        latency_plot(sample, latency, names, tmp_path / "latency"),
        calibration_plot(sample.assign(n=[*range(24, 24 + len(sample))]), tmp_path / "calibration"),
        overview_plot(sample, names, tmp_path / "overview"),
    ):
        assert WATERMARK in words(files[0])


def test_equal_scores_give_equal_files(tuned: pd.DataFrame, tmp_path: Path) -> None:
    first, again = (
        [
            path.read_bytes()
            for files in (
                heat_plot(frame, MODELS, tmp_path / "heat"),
                frontier_plot(frame, TestFrontier.OFFERS, 2, MODELS, tmp_path / "frontier"),
                calibration_plot(frame, tmp_path / "calibration"),
            )
            for path in files
        ]
        for frame in (tuned, tuned.iloc[::-1])
    )
    assert first == again
