"""A judge's faults: what its own votes show, against habits that were planted and tables counted by hand."""

from __future__ import annotations

import math

import pytest

from benchmarks.judge import Judge, World, planted_figures
from harness.judge.faults import faults
from harness.judge.votes import FIRST, SECOND, TIE, Vote, Votes

UNREAD = math.nan


def pair(row: str, one: float, other: float, **more: float) -> list[Vote]:
    """The verdicts on x and y, first x in front, then y."""
    return [Vote(row, "x", "y", one, "j", **more), Vote(row, "y", "x", other, "j", **more)]


def test_shares_are_counted_over_all_that_could_show_them() -> None:
    votes = [
        *pair("same", FIRST, SECOND), *pair("first", FIRST, FIRST), *pair("tied", TIE, TIE),
        *pair("half", TIE, FIRST), *pair("lost", UNREAD, FIRST), Vote("free", "x", "y", TIE, "j", asked=False),
        Vote("single", "x", "y", SECOND, "j"),
    ]  # fmt: skip
    (found,) = faults(Votes.of(votes), resamples=50)
    assert (found.judge, found.asked) == ("j", 11)
    assert (found.unread.value, found.unread.n) == (pytest.approx(1 / 11), 11)
    assert (found.ties.value, found.ties.n) == (pytest.approx(3 / 10), 10)
    assert (found.flips.value, found.flips.n) == (pytest.approx(2 / 5), 5)
    assert (found.orders_agree.value, found.orders_agree.n) == (pytest.approx(2 / 5), 5)
    assert (found.first.value, found.first.n) == (pytest.approx(5 / 7), 7)
    assert found.usd is None
    assert found.longer.n == found.usd_each.n == 0
    for one in (found.unread, found.ties, found.flips, found.first):
        assert 0 <= one.low <= one.value <= one.high <= 1


def test_two_turns_of_a_conversation_are_not_two_orders_of_the_same_answers() -> None:
    one, other = pair("1", FIRST, FIRST)
    (found,) = faults(Votes.of([one._replace(turn="1"), other._replace(turn="2")]), resamples=50)
    assert found.flips.n == 0
    votes = Votes.of([vote._replace(turn=turn) for turn in "12" for vote in pair("1", FIRST, FIRST)])
    (found,) = faults(votes, resamples=50)
    assert (found.flips.value, found.flips.n) == (1, 2)
    assert len(set(votes.row)) == 1


def test_the_effect_of_length_is_not_claimed_where_the_better_model_always_wins() -> None:
    lengths = [(float(20 + 7 * n % 13), float(20 + 11 * n % 17)) for n in range(30)]
    clear = [Vote(str(n), "x", "y", FIRST, "j", lengths=one) for n, one in enumerate(lengths)]
    clear += [Vote(str(n), "y", "x", SECOND, "j", lengths=one[::-1]) for n, one in enumerate(lengths)]
    (found,) = faults(Votes.of(clear), resamples=50)
    assert found.longer.n == 0
    one_loss = [vote._replace(outcome=1 - vote.outcome) if vote.row == "3" else vote for vote in clear]
    (found,) = faults(Votes.of(one_loss), resamples=200)
    assert (found.longer.low, found.longer.high) == (0, math.inf), "a third of the resamples has no loss"


def test_cost_is_summed_and_has_an_interval_for_one_verdict() -> None:
    votes = [vote for n in range(20) for vote in pair(str(n), FIRST, SECOND, usd=0.01 + 0.001 * (n % 3))]
    (found,) = faults(Votes.of(votes), resamples=50)
    assert found.usd == pytest.approx(sum(vote.usd for vote in votes))
    assert found.usd_each.low < found.usd_each.value < found.usd_each.high


def test_each_judge_has_its_own_faults() -> None:
    votes = [*pair("1", FIRST, FIRST), *(vote._replace(judge="k") for vote in pair("1", FIRST, SECOND))]
    assert {one.judge: one.flips.value for one in faults(Votes.of(votes), resamples=50)} == {"j": 1.0, "k": 0.0}


def test_planted_habits_are_inside_their_intervals() -> None:
    """benchmarks/judge.py counts this over 100 seeds; here a few, so that one that is missed is no alarm."""
    habits = Judge(place=0.5, length=0.4, ties=0.2)
    held = 0
    for seed in range(4):
        world = World.drawn(seed, 4, 60, habits, effect=0.0)
        truths, seen = planted_figures(world, resamples=100)
        held += sum(seen[name].low <= truths[name] <= seen[name].high for name in truths)
        assert all(seen[name].n > 100 for name in truths)
    assert held >= 12 - 2


def test_a_judge_without_habits_shows_none() -> None:
    world = World.drawn(1, 4, 60, Judge(), effect=0.0)
    _, seen = planted_figures(world, resamples=100)
    assert seen["ties"].value == 0
    assert seen["first place"].low < 0.5 < seen["first place"].high
    assert seen["longer answer"].low < 1 < seen["longer answer"].high
