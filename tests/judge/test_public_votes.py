"""Public votes give the figures that were published of them.

The real files are read where HARNESS_DATA names a mirror's folder that holds them; a few votes in the same form, whose
figures can be counted by hand, are always read.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import evalica
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.judge.agreement import agreements
from harness.judge.faults import faults
from harness.judge.ranking import ELO, Ranking, rank
from harness.judge.votes import FIRST, SECOND, TIE, Vote, Votes, read_votes

PANDALM = "WeOpenML__PandaLM-testset-v1/default/test.parquet"
VICUNA = "lmsys__vicuna_bench_gpt4_reviews/default/train.parquet"
LLMBAR = "princeton-nlp__LLMBar/LLMBar/test.parquet"
LLMBAR_VERDICTS = "princeton-nlp__LLMBar/judgements/test.parquet"
CROWD = "dustalov__llmfao/crowd/votes.parquet"
GPT4_CROWD = "dustalov__llmfao/gpt4_crowd/votes.parquet"
GOLDEN = "dustalov__llmfao/golden/scores.parquet"
LLMFAO_COLUMNS = {"a": "left", "b": "right", "winner": "winner", "row": "id"}


@pytest.fixture
def public() -> Path:
    """The folder of real data."""
    folder = os.environ.get("HARNESS_DATA")
    if not folder:
        pytest.skip("HARNESS_DATA does not name a folder with the public votes")
    return Path(folder)


def write(folder: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as one file of a mirror."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / name)


def rows_of(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


# PandaLM: three people's votes on the same pairs, each in a column of its own.


def pandalm_kappas(folder: Path) -> list[float]:
    people = ("annotator1", "annotator2", "annotator3")
    votes = list(read_votes([folder / PANDALM], {"winner": "+".join(people)}))
    found = agreements([], votes)
    assert [(one.first, one.second) for one in found] == [(people[0], people[1]), (people[0], people[2]), people[1:]]
    return [one.kappa.value for one in found]


def test_kappas_of_three_annotators(tmp_path: Path) -> None:
    """The first and the third agree in all; with the second in 3 of 4, of which chance explains 0.5."""
    chosen = [("1", "1", "1"), ("1", "1", "1"), ("2", "2", "2"), ("2", "1", "2")]
    write(
        tmp_path,
        PANDALM,
        (
            {"question_id": str(number), "model_a": "x", "model_b": "y", **dict(zip(names, said, strict=True))}
            for number, said in enumerate(chosen)
            for names in [("annotator1", "annotator2", "annotator3")]
        ),
    )
    assert pandalm_kappas(tmp_path) == pytest.approx([0.5, 1, 0.5])


def test_published_kappas_of_pandalm(public: Path) -> None:
    kappas = pandalm_kappas(public)
    assert [round(one, 2) for one in kappas] == [0.85, 0.88, 0.86]
    assert kappas == pytest.approx([0.852, 0.879, 0.862], abs=5e-4)


# Vicuna: GPT-4's scores of two answers to 80 questions, totalled for each pair of models.


def totals(folder: Path, a: str, b: str) -> tuple[float, float]:
    ranking = rank(Votes.of(read_votes([folder / VICUNA], {})), resamples=2)
    i, j = ranking.models.index(a), ranking.models.index(b)
    return float(ranking.scores[i, j]), float(ranking.scores[j, i])


def test_totals_of_scores(tmp_path: Path) -> None:
    scores = [(9.0, 8.0, "model_a"), (7.0, 7.5, "model_b"), (6.0, 6.0, "tie")]
    write(
        tmp_path,
        VICUNA,
        (
            {"question_id": number, "model_a": "x", "model_b": "y", "score_a": a, "score_b": b, "winner": winner}
            for number, (a, b, winner) in enumerate(scores)
        ),
    )
    assert totals(tmp_path, "x", "y") == (22, 21.5)


@pytest.mark.parametrize(
    ("model", "own", "vicuna"),
    [
        ("gpt-3.5-turbo:20230327", 693.0, 638.0),
        ("bard:20230327", 664.0, 655.5),
        ("alpaca-13b:v1", 583.0, 704.0),
        ("llama-13b:v1", 513.0, 694.0),
    ],
)
def test_published_totals_of_vicuna(public: Path, model: str, own: float, vicuna: float) -> None:
    assert totals(public, model, "vicuna-13b:20230322-clean-lang") == (own, vicuna)


# LLMBar: judges' own texts on two outputs in both orders, of which one is known to be right.


@dataclass(frozen=True)
class Judge:
    """Shares of right verdicts, of pairs with the same verdict in both orders, and of the first place; n of each."""

    accuracy: float
    orders_agree: float
    first: float
    unread: float
    verdicts: int


def llmbar(folder: Path, work: Path) -> dict[str, Judge]:
    """Read the judges' texts themselves, as `harness rank --columns completion=completion` does."""
    sides = {"output_1": ("output_1", "output_2"), "output_2": ("output_2", "output_1")}
    verdicts, right = work / "verdicts.jsonl", work / "right.jsonl"
    with verdicts.open("w") as file:
        for line in rows_of(folder / LLMBAR_VERDICTS):
            a, b = sides[line["first"]]
            vote = {"row": line["id"], "model_a": a, "model_b": b, "judge": line["judge"]}
            file.write(json.dumps({**vote, "completion": line["completion"] or ""}) + "\n")
    with right.open("w") as file:
        for line in rows_of(folder / LLMBAR):
            vote = {"row": line["id"], "model_a": "output_1", "model_b": "output_2"}
            file.write(json.dumps({**vote, "winner": str(line["label"]), "judge": "right"}) + "\n")
    votes = list(read_votes([verdicts], {"completion": "completion"}))
    accuracy = {one.first: one.share for one in agreements(votes, read_votes([right], {}))}
    return {
        one.judge: Judge(
            accuracy[one.judge].value, one.orders_agree.value, one.first.value, one.unread.value, accuracy[one.judge].n
        )
        for one in faults(Votes.of(votes), resamples=2)
    }


def test_accuracy_and_agreement_of_both_orders(tmp_path: Path) -> None:
    """Four of six verdicts are right, one empty; one of three pairs keeps its verdict; four of five say the first."""
    write(tmp_path, LLMBAR, ({"id": f"r{n}", "label": label} for n, label in enumerate((1, 2, 1))))
    said = {
        ("r0", "output_1"): "Output (a)",  # right
        ("r0", "output_2"): "Output (b)",  # right
        ("r1", "output_1"): "Output (a) is better.",  # wrong
        ("r1", "output_2"): "Output (a)",  # right
        ("r2", "output_1"): "Output (a)",  # right
        ("r2", "output_2"): "",
    }
    write(
        tmp_path,
        LLMBAR_VERDICTS,
        ({"id": row, "judge": "j", "first": first, "completion": text} for (row, first), text in said.items()),
    )
    assert llmbar(tmp_path, tmp_path)["j"] == Judge(
        accuracy=pytest.approx(4 / 6),
        orders_agree=pytest.approx(1 / 3),
        first=pytest.approx(4 / 5),
        unread=pytest.approx(1 / 6),
        verdicts=6,
    )


def test_published_judges_of_llmbar(public: Path, tmp_path: Path) -> None:
    """PaLM2's published 0.7255 counts two unreadable verdicts as agreement; without them it is 0.7160."""
    found = llmbar(public, tmp_path)
    assert {name: one.verdicts for name, one in found.items()} == dict.fromkeys(found, 838)
    assert {
        name: tuple(round(one, 4) for one in (judge.accuracy, judge.orders_agree)) for name, judge in found.items()
    } == {
        "GPT-4": (0.8449, 0.9284),
        "ChatGPT": (0.3998, 0.6587),
        "PaLM2": (0.6981, 0.7160),
        "LLaMA2": (0.4415, 0.7494),
        "Falcon": (0.5644, 0.4153),
    }
    # Where every verdict could be read: others published the share of all verdicts, ours is of those that were.
    first = {name: round(judge.first, 3) for name, judge in found.items() if not judge.unread}
    assert first == {"GPT-4": 0.512, "ChatGPT": 0.647, "Falcon": 0.776}
    assert {name: round(838 * judge.unread) for name, judge in found.items() if judge.unread} == {
        "PaLM2": 8,
        "LLaMA2": 2,
    }


# LLMFAO: votes of a crowd on 59 models, the published Bradley-Terry scores, and GPT-4 on the same pairs.


def logarithms(ranking: Ranking) -> dict[str, float]:
    """The ranked models' strengths, of mean 0."""
    found = {one.model: one.elo.value / ELO for one in ranking.standings}
    mean = float(np.mean(list(found.values())))
    return {name: value - mean for name, value in found.items()}


def llmfao(folder: Path) -> tuple[dict[str, float], Any]:
    crowd = list(read_votes([folder / CROWD], LLMFAO_COLUMNS))
    (found,) = [
        one
        for one in agreements(read_votes([folder / GPT4_CROWD], LLMFAO_COLUMNS), crowd)
        if (one.first, one.second) == ("votes", "people")
    ]
    return logarithms(rank(Votes.of(crowd), resamples=2)), found


def test_strengths_and_agreement_with_a_crowd(tmp_path: Path) -> None:
    """Three wins of four are odds of 3 to 1; the judge agrees with the majority on one of two pairs."""
    crowd = [("1", "left"), ("1", "left"), ("1", "right"), ("2", "left")]
    for path, votes in ((CROWD, crowd), (GPT4_CROWD, [("1", "left"), ("2", "tie")])):
        write(tmp_path, path, ({"id": row, "left": "x", "right": "y", "winner": won} for row, won in votes))
    strengths, agreement = llmfao(tmp_path)
    assert strengths["x"] - strengths["y"] == pytest.approx(math.log(3), abs=1e-5)
    assert (agreement.share.value, agreement.share_without_ties.value) == (0.5, 1)


def test_published_scores_of_llmfao(public: Path) -> None:
    strengths, agreement = llmfao(public)
    golden = {
        line["item"]: math.log(line["score"])
        for line in rows_of(public / GOLDEN)
        if line["algorithm"] == "bradley_terry"
    }
    mean = float(np.mean(list(golden.values())))
    assert len(golden) == 59
    assert strengths == pytest.approx({name: value - mean for name, value in golden.items()}, abs=1e-5)
    assert len(rows_of(public / CROWD)) == 8_931
    shares = agreement.share, agreement.kappa, agreement.share_without_ties
    assert [round(one.value, 3) for one in shares] == [0.387, 0.178, 0.746]
    assert (agreement.share.n, agreement.share_without_ties.n) == (2_139, 1_043)


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from((FIRST, SECOND, TIE))).filter(
            lambda vote: vote[0] != vote[1]
        ),
        max_size=60,
    )
)
def test_strengths_are_those_of_evalica(drawn: list[tuple[int, int, float]]) -> None:
    """Where each model has beaten each other once: evalica gives no warning where none can be ranked."""
    all_met = [(a, b, FIRST) for a in range(5) for b in range(5) if a != b]
    votes = [Vote(str(number), f"m{a}", f"m{b}", outcome) for number, (a, b, outcome) in enumerate([*all_met, *drawn])]
    winners = {FIRST: evalica.Winner.X, SECOND: evalica.Winner.Y, TIE: evalica.Winner.Draw}
    theirs = evalica.bradley_terry(
        [vote.first for vote in votes],
        [vote.second for vote in votes],
        [winners[vote.outcome] for vote in votes],
        tolerance=1e-12,
        limit=10_000,
    ).scores
    mean = float(np.log(theirs).mean())
    expected = {str(name): math.log(score) - mean for name, score in theirs.items()}
    assert logarithms(rank(Votes.of(votes), resamples=2)) == pytest.approx(expected, abs=1e-4)
