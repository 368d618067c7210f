"""Which comparisons come next, and what sampling in rounds saves."""

from __future__ import annotations

from benchmarks.judge import Judge, World, tournament, wrong
from harness.judge.sampling import FIRST_ROWS, Order, next_rows, order
from harness.judge.votes import FIRST, SECOND, TIE, Vote

PAIRS = {("a", "b"): 0, ("a", "c"): 0, ("b", "c"): 0}


def games(first: str, second: str, wins: int, losses: int) -> list[Vote]:
    """Rows on which the first wins in both orders, and those on which it loses in both."""
    return [
        Vote(f"{n}", *pair, won if pair[0] == first else 1 - won)
        for n in range(wins + losses)
        for won in [FIRST if n < wins else SECOND]
        for pair in ((first, second), (second, first))
    ]


def test_the_first_round_takes_some_rows_of_each_pair() -> None:
    assert next_rows(PAIRS, 300, None) == dict.fromkeys(PAIRS, FIRST_ROWS)
    assert next_rows(PAIRS, 5, None) == dict.fromkeys(PAIRS, 5)


def test_later_rounds_take_rows_of_open_neighbours_only_until_they_are_spent() -> None:
    taken = dict.fromkeys(PAIRS, 12)
    found = Order(("a", "b", "c"), (("b", "a"),))
    assert next_rows(taken, 300, found) == {("a", "b"): 18}
    assert next_rows(taken, 15, found) == {("a", "b"): 15}
    assert next_rows(taken, 12, found) == {}
    assert next_rows(taken, 300, Order(("a", "b", "c"), ())) == {}


def test_models_that_never_meet_are_told_apart_by_their_references() -> None:
    taken = {("a", "ref"): 12, ("b", "ref"): 12, ("c", "ref"): 12}
    assert next_rows(taken, 300, Order(("a", "b", "ref", "c"), (("a", "b"),))) == {("a", "ref"): 18, ("b", "ref"): 18}


def test_clear_wins_settle_an_order_and_even_ones_leave_it_open() -> None:
    clear = order([*games("a", "b", 11, 1), *games("b", "c", 11, 1)], ["c", "b", "a"])
    assert clear == Order(("a", "b", "c"), ())
    even = order([*games("a", "b", 7, 5), *games("b", "c", 12, 0)], ["a", "b", "c"])
    assert even == Order(("a", "b", "c"), (("a", "b"),))


def test_two_references_need_no_order() -> None:
    votes = [*games("a", "r", 6, 6), *games("a", "s", 6, 6)]
    found = order(votes, ["a", "r", "s"], ["r", "s"])
    assert ("r", "s") not in found.open
    assert ("s", "r") not in found.open


def test_unread_votes_and_ties_settle_nothing() -> None:
    ties = [vote._replace(outcome=TIE) for vote in games("a", "b", 12, 0)]
    assert order(ties, ["a", "b"]).open
    unread = [vote._replace(outcome=float("nan")) for vote in games("a", "b", 12, 0)]
    assert order(unread, ["a", "b"]).open
    assert order([], ["a", "b"]) == Order((), ())


def test_a_judge_that_favours_the_first_place_does_not_decide_the_order() -> None:
    votes = [Vote(str(n), *pair, FIRST) for n in range(100) for pair in (("a", "b"), ("b", "a"))]
    assert order(votes, ["a", "b"]).open


def test_rounds_need_far_fewer_verdicts_than_even_sampling() -> None:
    """benchmarks/judge.py shows it over 100 seeds, docs/judge.md has its table."""
    used = even = settled = mistakes = 0
    for seed in range(3):
        world = World.drawn(seed, 8, 120, Judge(place=0.4, length=0.2, ties=0.15))
        (count, found), (whole, _) = (tournament(world, even=how) for how in (False, True))
        used, even = used + count, even + whole
        right_and_wrong = wrong(world, found)
        settled, mistakes = settled + right_and_wrong[0], mistakes + right_and_wrong[1]
    assert used <= 0.55 * even
    assert settled >= 5
    assert mistakes <= 1
