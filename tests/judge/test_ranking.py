"""Bradley-Terry rankings: strengths, intervals over rows, ranks, and what votes cannot rank."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.judge.ranking import ELO, connected, design, fit, rank
from harness.judge.votes import FIRST, SECOND, TIE, Vote, Votes


def record(*results: tuple[str, str, int, int]) -> Votes:
    """Votes of which `a` won and lost this many against `b`, each on a row of its own."""
    votes = [
        Vote(f"{a}{b}{number}", a, b, FIRST if number < won else SECOND)
        for a, b, won, lost in results
        for number in range(won + lost)
    ]
    return Votes.of(votes)


def drawn(strengths: dict[str, float], rows: int, seed: int = 0, place: float = 0.0, length: float = 0.0) -> Votes:
    """Votes on each two models in both orders, on the same rows, by a judge with these habits."""
    rng = np.random.default_rng(seed)
    votes = []
    for row in range(rows):
        lengths = {name: float(rng.lognormal(4, 0.6)) for name in strengths}
        for a in strengths:
            for b in strengths:
                if a != b:
                    ratio = math.log2((1 + lengths[a]) / (1 + lengths[b]))
                    odds = strengths[a] - strengths[b] + place + length * ratio
                    won = FIRST if rng.random() < 1 / (1 + math.exp(-odds)) else SECOND
                    votes.append(Vote(str(row), a, b, won, "j", lengths=(lengths[a], lengths[b])))
    return Votes.of(votes)


def test_odds_of_two_models_are_the_ratio_of_their_wins() -> None:
    ranking = rank(record(("x", "y", 30, 10)), anchor="y", resamples=50)
    first, second = ranking.standings
    assert (first.model, second.model) == ("x", "y")
    assert second.elo.value == 1000
    assert first.elo.value == pytest.approx(1000 + ELO * math.log(3), abs=1e-3)
    assert (first.win_rate, first.votes) == (0.75, 40)


def test_three_models_against_a_solution_by_hand() -> None:
    """Zermelo's iteration, strength = wins / sum(games / (own + other)), on a table small enough to follow."""
    games = {("x", "y"): (7, 3), ("y", "z"): (6, 4), ("x", "z"): (9, 2)}
    names, strength = ("x", "y", "z"), dict.fromkeys("xyz", 1.0)
    won = {n: sum(w if a == n else lost for (a, b), (w, lost) in games.items() if n in (a, b)) for n in names}
    for _ in range(2000):
        for n in names:
            met = [(b if a == n else a, w + lost) for (a, b), (w, lost) in games.items() if n in (a, b)]
            strength[n] = won[n] / sum(count / (strength[n] + strength[other]) for other, count in met)
    ranking = rank(record(*((a, b, w, lost) for (a, b), (w, lost) in games.items())), anchor="x", resamples=100)
    found = {one.model: one.elo.value for one in ranking.standings}
    for n in names:
        assert found[n] == pytest.approx(1000 + ELO * math.log(strength[n] / strength["x"]), abs=1e-3)


def test_a_tie_is_half_a_win_for_each() -> None:
    ties = Votes.of([Vote(str(n), "x", "y", TIE) for n in range(10)])
    halves = record(("x", "y", 5, 5))
    for votes in (ties, halves):
        made = design(votes)
        assert fit(made, made.weight) == pytest.approx([0, 0], abs=1e-6)
    mixed = Votes.of([Vote(str(n), "x", "y", TIE if n < 4 else FIRST) for n in range(10)])
    ranking = rank(mixed, anchor="y", resamples=100)
    assert ranking.standings[0].elo.value == pytest.approx(1000 + ELO * math.log(8 / 2), abs=1e-3)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=30)
)
def test_the_order_in_which_votes_and_sides_come_does_not_matter(results: list[tuple[int, int, float]]) -> None:
    votes = [Vote(str(n), f"m{a}", f"m{b}", won) for n, (a, b, won) in enumerate(results) if a != b]
    turned = [Vote(one.row, one.second, one.first, 1 - one.outcome) for one in reversed(votes)]
    if votes:
        one, other = (rank(Votes.of(some), resamples=1) for some in (votes, turned))
        assert one.unrankable == other.unrankable
        found = {standing.model: standing.win_rate for standing in one.standings}
        assert found == pytest.approx({standing.model: standing.win_rate for standing in other.standings})


def test_models_of_equal_strength_have_the_same_rank() -> None:
    found = rank(record(("x", "y", 3, 3), ("y", "z", 4, 1), ("x", "z", 4, 1)), resamples=50)
    assert [one.rank for one in found.standings] == [1, 1, 3]


def test_an_undefeated_a_winless_and_an_unconnected_model_get_no_number() -> None:
    votes = record(("x", "y", 6, 4), ("best", "x", 5, 0), ("y", "last", 5, 0), ("p", "q", 3, 0))
    ranking = rank(votes, resamples=100)
    assert [one.model for one in ranking.standings] == ["x", "y"]
    assert ranking.unrankable["best"] == "undefeated"
    assert ranking.unrankable["last"] == "winless"
    assert ranking.unrankable.keys() == {"best", "last", "p", "q"}


def test_two_groups_that_never_met_are_not_one_ranking() -> None:
    votes = record(("a", "b", 5, 5), ("b", "c", 6, 4), ("p", "q", 5, 5))
    ranking = rank(votes, resamples=100)
    assert {one.model for one in ranking.standings} == {"a", "b", "c"}
    assert ranking.unrankable["p"] == "no chain of wins connects it with the ranked models"


def test_without_a_chain_of_wins_nothing_is_ranked() -> None:
    ranking = rank(record(("x", "y", 5, 0), ("y", "z", 5, 0)), resamples=100)
    assert ranking.standings == ()
    assert ranking.unrankable == {
        "x": "undefeated",
        "y": "no chain of wins connects it with the ranked models",
        "z": "winless",
    }


def test_the_reasons_name_the_missing_direction() -> None:
    points = np.array([[0, 3, 0, 0], [3, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 0]], dtype=float)
    main, reasons = connected(points)
    assert main.tolist() == [0, 1]
    assert reasons == dict.fromkeys((2, 3), "no chain of wins leads from it to the ranked models")


def test_an_interval_has_no_limit_where_resamples_leave_a_model_undefeated() -> None:
    ranking = rank(record(("x", "y", 19, 1), ("y", "z", 10, 10)), resamples=150)
    first = ranking.standings[0]
    assert first.model == "x"
    assert first.elo.high == math.inf
    assert math.isfinite(first.elo.low)


def test_unread_votes_do_not_count() -> None:
    votes = [Vote(str(n), "x", "y", FIRST if n % 3 else SECOND) for n in range(30)]
    unread = [Vote(f"u{n}", "x", "y", math.nan) for n in range(30)]
    assert rank(Votes.of([*votes, *unread]), resamples=100).standings == rank(Votes.of(votes), resamples=100).standings


def test_rows_are_drawn_again_not_votes() -> None:
    """Ten votes on each row that say the same are no more than one."""
    single = [Vote(str(n), "x", "y", FIRST if n % 3 else SECOND) for n in range(60)]
    one, ten = (rank(Votes.of(single * times), resamples=150).standings[0].elo for times in (1, 10))
    assert (ten.value, ten.low, ten.high) == pytest.approx((one.value, one.low, one.high), abs=1e-2)
    apart = [vote._replace(row=f"{vote.row}-{n}") for vote in single for n in range(10)]
    narrow = rank(Votes.of(apart), resamples=150).standings[0].elo
    assert narrow.high - narrow.low < 0.5 * (one.high - one.low)


def test_intervals_hold_the_strengths_that_votes_were_drawn_from() -> None:
    strengths = {"a": 0.6, "b": 0.2, "c": 0.0, "d": -0.5}
    held = 0
    for seed in range(10):
        ranking = rank(drawn(strengths, 40, seed), anchor="c", resamples=100)
        elo = {one.model: one.elo for one in ranking.standings}["a"]
        held += elo.low <= 1000 + ELO * (strengths["a"] - strengths["c"]) <= elo.high
        assert all(one.best_rank <= one.rank <= one.worst_rank for one in ranking.standings)
        assert all(lead.low <= lead.value <= lead.high for lead in ranking.next)
    assert held >= 7


def test_holding_the_place_equal_takes_it_out() -> None:
    both = drawn({"strong": 0.5, "weak": -0.5}, 400, place=1.5)
    one_way = both.take(both.first == both.models.index("weak"))
    assert rank(one_way, anchor="weak", resamples=50).standings[0].model == "weak", "the place decides"
    held = rank(both, anchor="weak", position=True, resamples=50)
    assert held.standings[0].elo.value - 1000 == pytest.approx(ELO, abs=40)
    assert held.controlled == ("position",)


def test_holding_the_length_equal_takes_it_out() -> None:
    """The weaker model's answers are four times as long, and a doubled length is worth as much as the difference."""
    rng = np.random.default_rng(2)
    votes = []
    for n in range(2400):
        a, b = ("strong", "weak") if n % 2 else ("weak", "strong")
        lengths = tuple(float((400 if name == "weak" else 100) * 2 ** rng.normal(0, 1)) for name in (a, b))
        odds = (1 if a == "strong" else -1) + math.log2((1 + lengths[0]) / (1 + lengths[1]))
        won = FIRST if rng.random() < 1 / (1 + math.exp(-odds)) else SECOND
        votes.append(Vote(str(n), a, b, won, lengths=(lengths[0], lengths[1])))
    found = Votes.of(votes)
    assert rank(found, resamples=50).standings[0].model == "weak"
    held = rank(found, length=True, anchor="weak", resamples=50)
    assert held.standings[0].model == "strong"
    assert held.standings[0].elo.value - 1000 == pytest.approx(ELO, abs=60)


def test_where_the_place_alone_decides_nothing_is_ranked_with_it_held_equal() -> None:
    votes = Votes.of(Vote(str(n), *pair, FIRST) for n in range(9) for pair in (("x", "y"), ("y", "x")))
    found = rank(votes, position=True, resamples=50)
    assert found.standings == ()
    assert set(found.unrankable.values()) == {"with position held equal, no finite strengths fit these votes best"}


def test_where_the_length_decides_all_but_ties_nothing_is_ranked_with_it_held_equal() -> None:
    lengths = [(10.0, 20.0), (30.0, 15.0), (40.0, 90.0), (7.0, 3.0)] * 5
    votes = [Vote(str(n), "x", "y", FIRST if a > b else SECOND, lengths=(a, b)) for n, (a, b) in enumerate(lengths)]
    assert len(rank(Votes.of(votes), resamples=50).standings) == 2
    assert rank(Votes.of(votes), length=True, resamples=50).standings == ()


def test_totals_of_scores_are_kept_for_each_two_models() -> None:
    votes = [Vote(str(n), "x", "y", FIRST, scores=(8, 7.5)) for n in range(4)]
    votes += [Vote("9", "y", "x", FIRST, scores=(9, 1))]
    ranking = rank(Votes.of(votes), resamples=10)
    x, y = (ranking.models.index(name) for name in "xy")
    assert (ranking.scores[x, y], ranking.scores[y, x]) == (33, 39)


def test_the_matrix_is_in_the_order_of_the_ranking() -> None:
    names, rates, games = rank(record(("x", "y", 2, 8), ("best", "y", 3, 0)), resamples=10).matrix
    assert names == ("y", "x", "best")
    assert rates[1, 0] == 0.2
    assert (games[2, 1], math.isnan(rates[2, 1])) == (0, True)


def test_an_anchor_that_cannot_be_ranked_is_refused() -> None:
    votes = record(("x", "y", 6, 4), ("best", "x", 5, 0))
    with pytest.raises(UserError, match="--anchor best cannot be ranked: undefeated"):
        rank(votes, anchor="best")
    with pytest.raises(UserError, match="--anchor z cannot be ranked: there is no vote on it"):
        rank(votes, anchor="z")
