"""Several training runs of one model, compared as one: rows and runs both vary."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.statistics import seed_coverage, several_seeds
from harness.compare.intervals import Sample, wilson
from harness.compare.paired import compare_models, swap_p_value
from harness.compare.seeds import compare_seeds, runs_of
from harness.errors import UserError
from harness.score.metrics.base import Basis
from tests.scored import ERROR, OVERLAP, right, scored

SEEDS = "lora-{1..3}"


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("lora", ("lora",)),
        ("lora-{1..3}", ("lora-1", "lora-2", "lora-3")),
        ("{3..1}", ("1", "2", "3")),
        ("lora-{terse, long}-v{1..2}", ("lora-terse-v1", "lora-terse-v2", "lora-long-v1", "lora-long-v2")),
        ("lora-{1}", ("lora-{1}",)),
        ("lora-{1..", ("lora-{1..",)),
        ("{a,a}", ("a",)),
    ],
)
def test_braces_stand_for_several_models(name: str, models: tuple[str, ...]) -> None:
    assert runs_of(name) == models


@given(st.text(alphabet="a1.,{}", max_size=20))
def test_any_name_is_read_or_refused(name: str) -> None:
    try:
        found = runs_of(name)
    except UserError:
        return
    assert len(found) == len(set(found)) >= 1


def test_too_many_models_are_refused() -> None:
    with pytest.raises(UserError, match="more than 1,000 models"):
        runs_of("lora-{1..100000000000}")


def test_the_mean_of_the_runs_is_compared() -> None:
    runs = [scored("t", f"lora-{number}", right(share)) for number, share in enumerate((0.80, 0.84, 0.88), start=1)]
    found = compare_seeds([*runs, scored("t", "other", right(0.5))], SEEDS, "other")
    one, spread = found.pair.tasks["t"], found.spreads["t"]
    assert one.difference == pytest.approx(0.34)
    assert (one.verdict, one.n, one.rests_on, one.comparisons) == ("better", 400, "3 runs", 1)
    assert spread.scores == (pytest.approx((0.80, 0.84, 0.88)), (0.5,))
    assert spread.between == (pytest.approx(0.04), None)
    assert spread.seed_error == pytest.approx(0.04 / np.sqrt(3))
    assert one.error == pytest.approx(np.hypot(spread.row_error, spread.seed_error))


def test_runs_that_differ_widely_separate_nothing() -> None:
    """One lucky seed beats the other model; the three together do not."""
    runs = [scored("t", f"lora-{number}", right(share)) for number, share in enumerate((0.90, 0.70, 0.50), start=1)]
    runs.append(scored("t", "other", right(0.6)))
    assert compare_models(runs, "lora-1", "other").tasks["t"].verdict == "better"
    assert compare_seeds(runs, SEEDS, "other").pair.tasks["t"].verdict == "not separable"


def test_turned_round_the_verdict_turns() -> None:
    runs = several_seeds(np.random.default_rng(1), 300, 3, 0.02)
    one, other = (compare_seeds(runs, *two).pair.tasks["t"] for two in ((SEEDS, "other"), ("other", SEEDS)))
    assert one.difference == pytest.approx(-other.difference)
    assert (one.low, one.high) == (pytest.approx(-other.high), pytest.approx(-other.low))
    assert one.p_value == pytest.approx(other.p_value)


def test_a_metric_of_errors_is_won_by_the_lower_one() -> None:
    runs = [scored("t", f"lora-{number}", right(0.2 + number / 100), ERROR) for number in (1, 2, 3)]
    found = compare_seeds([*runs, scored("t", "other", right(0.9), ERROR)], SEEDS, "other")
    assert found.pair.tasks["t"].verdict == "better"


def test_lost_rows_bound_the_verdict() -> None:
    runs = [scored("t", f"lora-{number}", right(0.8), failed=100) for number in (1, 2)]
    found = compare_seeds([*runs, scored("t", "other", right(0.9))], "lora-{1,2}", "other").pair.tasks["t"]
    assert (found.verdict, found.lost) == ("cannot be told", (200, 0))


def test_a_run_that_is_missing_on_a_task_is_named() -> None:
    runs = [scored(task, f"lora-{number}", right(0.8)) for task, number in (("s", 1), ("s", 2), ("t", 1))]
    runs += [scored(task, "other", right(0.5)) for task in "st"]
    found = compare_seeds(runs, "lora-{1,2}", "other").pair
    assert list(found.tasks) == ["s"]
    assert found.apart == {"t": "lora-2 was not asked it"}


def test_models_that_share_a_run_are_refused() -> None:
    with pytest.raises(UserError, match="both stand for 'lora-2'"):
        compare_seeds([], "lora-{1,2}", "lora-{2,3}")


def test_identical_runs_leave_the_error_of_what_was_not_seen() -> None:
    runs = [scored("t", f"lora-{number}", right(0.8)) for number in (1, 2)]
    found = compare_seeds([*runs, scored("t", "other", right(0.8))], "lora-{1,2}", "other").pair.tasks["t"]
    assert (found.difference, found.verdict) == (0, "within the margin")
    assert found.low < 0 < found.high


def test_identical_runs_are_as_equal_as_one_of_them() -> None:
    """Of 250 rows the plain comparison said "equal within 0.02", that of three seeds "not separable"."""
    scores = np.random.default_rng(1).random(250)
    runs = [scored("t", f"lora-{number}", scores, OVERLAP) for number in (1, 2, 3)] + [
        scored("t", "other", scores, OVERLAP)
    ]
    one = compare_models(runs[2:], "lora-3", "other").tasks["t"]
    several = compare_seeds(runs, SEEDS, "other").pair.tasks["t"]
    assert (several.verdict, one.verdict) == ("within the margin",) * 2


def test_what_counts_decides_and_not_the_rows() -> None:
    """F1 from 8 positives of 1,000 was "equal within 0.02, −0.004 to +0.004"."""
    rare = replace(OVERLAP, basis=Basis("positives", lambda stats: 8.0))
    runs = [scored("t", model, np.ones(1000), rare) for model in ("lora-1", "lora-2", "lora-3", "other")]
    found = compare_seeds(runs, SEEDS, "other").pair.tasks["t"]
    assert found.rests_on == "3 runs, 8 positives"
    assert found.verdict == "not separable"
    assert found.low == pytest.approx(-wilson(0, 8).high)


def test_clusters_are_shown_beside_the_runs() -> None:
    clusters = [row % 5 for row in range(400)]
    runs = [scored("t", f"lora-{number}", right(0.8), clusters=clusters) for number in (1, 2, 3)]
    found = compare_seeds([*runs, scored("t", "other", right(0.5), clusters=clusters)], SEEDS, "other")
    assert found.pair.tasks["t"].rests_on == "3 runs, 5 clusters"


@pytest.mark.parametrize("n", [5, 80])
def test_seeds_without_spread_separate_no_more_than_one_of_them(n: int) -> None:
    """Rare large gains: Student's distribution alone saw a difference of equal models in 15 % of samples of 80."""
    rng = np.random.default_rng(3)
    for _ in range(30):
        gains = np.where(rng.random(n) < 0.03, 1.0, -0.03) if n > 5 else np.ones(n)
        other = np.full(n, 0.03 if n > 5 else 0.0)
        runs = [scored("t", f"lora-{number}", other + gains, OVERLAP) for number in (1, 2, 3)]
        runs.append(scored("t", "other", other, OVERLAP))
        several = compare_seeds(runs, SEEDS, "other").pair.tasks["t"]
        one = compare_models(runs[2:], "lora-3", "other").tasks["t"]
        assert several.p_value >= swap_p_value(*(Sample(OVERLAP, run.rows.stats["rouge_l"]) for run in runs[2:]))
        if n == 5:
            assert (several.verdict, one.verdict) == ("not separable",) * 2


def test_more_models_to_compare_with_widen_the_interval() -> None:
    runs = several_seeds(np.random.default_rng(2), 300, 3, 0.02)
    widths = []
    for others in range(3):
        more = [scored("t", f"m{number}", right(0.4, 300)) for number in range(others)]
        one = compare_seeds([*runs, *more], SEEDS, "other").pair.tasks["t"]
        assert one.comparisons == 1 + others
        widths.append(one.high - one.low)
    assert all(before < after for before, after in pairwise(widths))


@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_intervals_cover_what_other_seeds_and_rows_would_give(spread: float) -> None:
    """100 draws, of which 88 are three standard errors below 95; docs/statistics.md has more."""
    assert seed_coverage(200, 3, spread, 100)[0] >= 0.88
