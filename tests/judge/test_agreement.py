"""Agreement of judges with people, of people with each other, and preference for the own family."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from harness.judge.agreement import agreements, family_preference
from harness.judge.family import related
from harness.judge.votes import FIRST, SECOND, TIE, Vote
from harness.models.entry import LocalModel, ModelEntry, OpenAIModel


def drawn(judge: str, count: int, seed: int, truth: list[float] | None = None) -> list[Vote]:
    """Votes of a judge that says the truth two times in three, else anything."""
    rng = np.random.default_rng(seed)
    said = rng.choice([FIRST, TIE, SECOND], count)
    if truth is not None:
        said = np.where(rng.random(count) < 2 / 3, truth, said)
    return [Vote(str(n), "x", "y", float(one), judge) for n, one in enumerate(said)]


def test_share_and_kappa_are_those_of_scikit_learn() -> None:
    people = drawn("ann", 200, 0)
    judge = drawn("gpt", 200, 1, [vote.outcome for vote in people])
    (found,) = agreements(judge, people)
    a, b = ([str(vote.outcome) for vote in votes] for votes in (judge, people))
    assert found.share.value == pytest.approx(np.mean([x == y for x, y in zip(a, b, strict=True)]))
    assert found.kappa.value == pytest.approx(cohen_kappa_score(a, b))
    decided = [(x, y) for x, y in zip(a, b, strict=True) if "0.5" not in (x, y)]
    assert found.share_without_ties.n == len(decided)
    assert found.kappa_without_ties.value == pytest.approx(cohen_kappa_score(*zip(*decided, strict=True)))
    assert found.kappa.low < found.kappa.value < found.kappa.high


def test_which_side_was_shown_first_does_not_change_who_agrees() -> None:
    people = drawn("ann", 50, 0)
    turned = [Vote(v.row, "y", "x", 1 - v.outcome, "gpt") for v in people]
    (found,) = agreements(turned, people)
    assert (found.share.value, found.kappa.value) == (1, pytest.approx(1))


def test_people_are_one_majority_and_a_split_vote_is_a_tie() -> None:
    people = [Vote("1", "x", "y", one, name) for name, one in (("a", FIRST), ("b", FIRST), ("c", SECOND))]
    people += [Vote("2", "x", "y", one, name) for name, one in (("a", FIRST), ("b", SECOND))]
    judge = [Vote("1", "x", "y", FIRST, "gpt"), Vote("2", "x", "y", TIE, "gpt")]
    found = {(one.first, one.second): one.share for one in agreements(judge, people)}
    assert (found["gpt", "people"].value, found["gpt", "people"].n) == (1, 2)
    assert (found["a", "b"].value, found["a", "b"].n) == (0.5, 2)
    assert (found["a", "c"].value, found["a", "c"].n) == (0, 1)


def test_people_who_voted_on_different_turns_did_not_vote_on_the_same() -> None:
    people = [Vote("1", "x", "y", FIRST, "ann", turn="1"), Vote("1", "x", "y", SECOND, "ann", turn="2")]
    judge = [vote._replace(judge="gpt") for vote in people]
    (found,) = agreements(judge, people)
    assert (found.share.value, found.share.n) == (1, 2)


def test_an_unread_verdict_does_not_agree() -> None:
    people = drawn("ann", 4, 0)
    judge = [vote._replace(judge="gpt", outcome=math.nan if vote.row == "0" else vote.outcome) for vote in people]
    (found,) = agreements(judge, people)
    assert (found.share.value, found.share.n) == (0.75, 4)


def test_many_people_are_compared_all_together() -> None:
    truth = [vote.outcome for vote in drawn("", 30, 0)]
    people = [vote for n in range(7) for vote in drawn(f"p{n}", 30, n + 1, truth)]
    (found,) = agreements([], people)
    assert (found.first, found.second) == ("people", "each other")
    same = [a.outcome == b.outcome for a in people for b in people if a.row == b.row and a.judge < b.judge]
    assert found.share.value == pytest.approx(np.mean(same))


def test_preference_for_the_own_family_is_a_difference_to_other_judges() -> None:
    mine = [Vote(str(n), "gpt-4", "claude", FIRST if n < 15 else SECOND, "gpt-5") for n in range(20)]
    other = [Vote(str(n), "claude", "gpt-4", FIRST if n < 10 else SECOND, "ann") for n in range(20)]
    found = family_preference("gpt-5", {"gpt-4"}, [*mine, *other])
    assert found.value == pytest.approx(0.75 - 0.5)
    assert found.low < 0.25 < found.high
    assert family_preference("gpt-5", {"gpt-4"}, mine).n == 0, "one judge alone shows nothing"
    assert family_preference("gpt-5", {"gpt-4", "claude"}, [*mine, *other]).n == 0, "both are of the family"


def entry(name: str, **settings: str) -> ModelEntry:
    kind = LocalModel if settings.get("backend") == "local" else OpenAIModel
    return ModelEntry(name, kind.model_validate({"backend": "openai", **settings}), ())


def test_judges_are_related_by_vendor_family_or_base() -> None:
    entries = {
        one.name: one
        for one in (
            entry("judge", model="gpt-5"),
            entry("o3", model="o3"),
            entry("llama", model="meta-llama/Llama-3.1-8B", base_url="http://127.0.0.1:1/v1"),
            entry("tuned", model="./x", backend="local", base="llama"),
            entry("llama-judge", model="Llama-3-70B", base_url="http://127.0.0.1:1/v1"),
        )
    }
    assert set(related("judge", ["o3", "llama", "tuned", "gpt-4-recorded"], entries)) == {"o3", "gpt-4-recorded"}
    assert set(related("llama-judge", ["o3", "llama", "tuned"], entries)) == {"llama", "tuned"}
    assert related("tuned", ["llama"], entries) == {"llama": "family llama, model llama"}
