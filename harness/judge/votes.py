"""Votes on pairs of models: read from files of any origin, written in the columns of Chatbot Arena, held as arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harness.errors import DataError, UserError, nearest
from harness.judge.verdict import Winner, read_verdict
from harness.rows.files import Row, local
from harness.score.metrics.base import FloatArray, IntArray

VERDICTS = "votes.jsonl"
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "a": ("model_a",), "b": ("model_b",), "winner": ("winner",), "completion": (), "judge": ("judge",),
    "row": ("row", "question_id"), "turn": ("turn",), "task": ("task",),
    "length_a": ("length_a",), "length_b": ("length_b",),
    "answer_a": ("answer_a", "response_a"), "answer_b": ("answer_b", "response_b"),
    "score_a": ("score_a",), "score_b": ("score_b",), "usd": ("usd",), "asked": ("asked",),
}  # fmt: skip
"""What a vote has, and the columns in which it is looked for where none is named."""
FIRST, TIE, SECOND, UNREAD = 1.0, 0.5, 0.0, math.nan
_OUTCOMES: Mapping[str, float] = {
    **dict.fromkeys(("model_a", "model_1", "a", "left", "first"), FIRST),
    **dict.fromkeys(("model_b", "model_2", "b", "right", "second"), SECOND),
    **dict.fromkeys(("tie", "both_bad", "bothbad", "draw", "c"), TIE),
    **dict.fromkeys(("", "unread", "none", "nan", "error"), UNREAD),
}
_WORDS = {FIRST: "model_a", SECOND: "model_b", TIE: "tie"}
_OF_VERDICT: Mapping[Winner, float] = {"A": FIRST, "B": SECOND, "tie": TIE}


class Vote(NamedTuple):
    """One verdict on the answers of two models to a row, in the order in which they were shown.

    `outcome` is 1 where the first wins, 0 where the second does, 0.5 for a tie and NaN for a verdict that could not be
    read. Lengths are in characters, `usd` is what the verdict cost; NaN where they are not known. `asked` is False
    where no judge was needed. Votes on two turns of a conversation are on one row, but not on the same answers.
    """

    row: str
    first: str
    second: str
    outcome: float
    judge: str = ""
    task: str = ""
    lengths: tuple[float, float] = (math.nan, math.nan)
    scores: tuple[float, float] = (math.nan, math.nan)
    usd: float = math.nan
    asked: bool = True
    turn: str = ""


@dataclass(frozen=True)
class Votes:
    """Votes as arrays, all of length n but `lengths` and `scores`, [n, 2]; the names that their numbers index.

    `item` numbers the turns of all rows.
    """

    models: tuple[str, ...]
    judges: tuple[str, ...]
    tasks: tuple[str, ...]
    row: IntArray
    first: IntArray
    second: IntArray
    outcome: FloatArray
    judge: IntArray
    task: IntArray
    lengths: FloatArray
    scores: FloatArray
    usd: FloatArray
    asked: FloatArray
    item: IntArray

    @classmethod
    def of(cls, votes: Iterable[Vote]) -> Votes:
        """Gather votes; rows of the same name in different tasks are different rows."""
        table = pd.DataFrame(list(votes), columns=Vote._fields)
        # By name, so that nothing depends on the order in which votes come.
        models = {name: place for place, name in enumerate(sorted({*table["first"], *table["second"]}))}
        judge, judges = pd.factorize(table["judge"])
        task, tasks = pd.factorize(table["task"])
        return cls(
            models=tuple(models),
            judges=tuple(judges),
            tasks=tuple(tasks),
            row=table.groupby(["task", "row"], sort=False).ngroup().to_numpy().astype(np.int64),
            first=table["first"].map(models).to_numpy(np.int64),
            second=table["second"].map(models).to_numpy(np.int64),
            outcome=table["outcome"].to_numpy(np.float64),
            judge=judge,
            task=task,
            lengths=np.array([*table["lengths"]], np.float64).reshape(-1, 2),
            scores=np.array([*table["scores"]], np.float64).reshape(-1, 2),
            usd=table["usd"].to_numpy(np.float64),
            asked=table["asked"].to_numpy(np.float64),
            item=table.groupby(["task", "row", "turn"], sort=False).ngroup().to_numpy().astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.row)

    def take(self, chosen: Any) -> Votes:
        """Some of the votes: a mask or places, shape [n] or [m]."""
        arrays = ("row", "first", "second", "outcome", "judge", "task", "lengths", "scores", "usd", "asked", "item")
        return replace(self, **{name: getattr(self, name)[chosen] for name in arrays})

    @property
    def read(self) -> Votes:
        """Those that hold a verdict."""
        return self.take(~np.isnan(self.outcome))

    @property
    def length_ratio(self) -> FloatArray:
        """The binary logarithm of how much longer the first answer is than the second, shape [n]: 1 for twice."""
        ratio: FloatArray = np.log2((1 + self.lengths[:, 0]) / (1 + self.lengths[:, 1]))
        return ratio


def read_votes(paths: Sequence[Path], columns: Mapping[str, str]) -> Iterator[Vote]:
    """Yield the votes of CSV, JSONL and Parquet files, each with the columns of `COLUMNS` or those named instead.

    Without a column of winners the higher score wins; where lengths are not given they are those of the answers.
    `completion` names the column of a judge's own texts. Several columns of winners, joined by `+`, are votes of as
    many judges, named after them. Without a column of judges the judge is the file's name, or its path where two have
    the same; without a column of rows each line is a row of its own.

    Raises:
        UserError: a file, column or value is wrong.
    """
    for name in columns:
        if name not in COLUMNS:
            raise UserError(f"--columns: a vote has no '{name}'{nearest(name, COLUMNS)}")
    stems = [path.stem for path in paths]
    for path in paths:
        yield from _of_file(path, columns, path.stem if stems.count(path.stem) == 1 else str(path))


def _of_file(path: Path, columns: Mapping[str, str], name: str) -> Iterator[Vote]:
    split = local(path, {})
    written = {column.strip().lower(): column for column in reversed(split.columns)}
    found = {key: written[name] for key, usual in COLUMNS.items() for name in reversed(usual) if name in written}
    found |= columns
    winners = found.pop("winner", "").split("+")
    for column in (*found.values(), *filter(None, winners)):
        if column not in split.columns:
            raise DataError(f"{path}: no column '{column}'{nearest(column, split.columns)}")
    for key, which in (("a", "first"), ("b", "second")):
        if key not in found:
            raise DataError(
                f"{path}: no column of the {which} model: name it with --columns {key}=COLUMN "
                f"(it has: {', '.join(split.columns)})"
            )
    if not (winners[0] or "completion" in found or {"score_a", "score_b"} <= found.keys()):
        raise DataError(f"{path}: no column of winners: name it with --columns winner=COLUMN, or score_a and score_b")
    wanted = [*found.values(), *filter(None, winners)]
    for number, row in enumerate(split.read(wanted), start=1):
        for winner in winners:
            where = f"{path}: vote {number}"
            judge = winner if len(winners) > 1 else name
            yield _vote({key: row.get(column) for key, column in found.items()}, row.get(winner), where, judge, number)


def _vote(values: Row, winner: Any, where: str, judge: str, number: int) -> Vote:
    a, b = ("" if one is None or one != one else str(one).strip() for one in (values["a"], values["b"]))
    if not (a and b):
        raise DataError(f"{where}: it does not name both models: '{a}' and '{b}'")
    if a == b:
        raise DataError(f"{where}: '{a}' is compared with itself")
    counted = {f"length_{side}": len(str(values[f"answer_{side}"])) for side in "ab" if values.get(f"answer_{side}")}
    scores, asked, said = _two(values, where, "score"), values.get("asked"), values.get("judge")
    return Vote(
        row=str(number if values.get("row") is None else values["row"]),
        first=a,
        second=b,
        outcome=_outcome(values, winner, scores, where),
        judge=judge if said is None else " ".join(map(str, said)) if isinstance(said, list) else str(said),
        task=str(values.get("task") or ""),
        lengths=_two({**counted, **values}, where, "length"),
        scores=scores,
        usd=_number(values.get("usd"), where, "usd"),
        asked=asked is None or str(asked).lower() in ("true", "1", "1.0"),
        turn="" if values.get("turn") is None else str(values["turn"]),
    )


def _outcome(values: Row, winner: Any, scores: tuple[float, float], where: str) -> float:
    if "completion" in values:
        return verdict_outcome(read_verdict(str(values["completion"] or "")))
    text = "" if winner is None else str(winner).strip()
    if not text and not any(map(math.isnan, scores)):
        return (1 + float(np.sign(scores[0] - scores[1]))) / 2
    names = {str(values["a"]).strip(): FIRST, str(values["b"]).strip(): SECOND}
    word = text.lower().partition(" (")[0]  # of `tie (bothbad)`, `tie (inconsistent)`
    for found in (names.get(text), _OUTCOMES.get(word), _preference(text)):
        if found is not None:
            return found
    expected = f"model_a, model_b, tie, or the name of one of the two{nearest(text, names)}"
    raise DataError(f"{where}: the winner is '{text:.40}', expected {expected}")


def _preference(text: str) -> float | None:
    """AlpacaEval's numbers: 1 for the first to 2 for the second, of which the nearer counts; 1.5 and 0 are ties."""
    try:
        number = float(text)
    except ValueError:
        return None
    if number in (0, 1.5):
        return TIE
    return (FIRST if number < 1.5 else SECOND) if 1 <= number <= 2 else None


def _two(values: Row, where: str, name: str) -> tuple[float, float]:
    one, other = (_number(values.get(f"{name}_{side}"), where, f"{name}_{side}") for side in "ab")
    return one, other


def _number(value: Any, where: str, name: str) -> float:
    """A number, NaN where there is none."""
    if value is None or value == "":
        return math.nan
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.inf
    if math.isinf(found):
        raise DataError(f"{where}: {name} is '{value!s:.40}', expected a number")
    return found


def as_lines(votes: Iterable[Vote]) -> Iterator[str]:
    """Yield the votes as lines of JSON in Arena's columns, which `read_votes` reads."""
    for vote in votes:
        line = {
            "model_a": vote.first, "model_b": vote.second, "winner": _WORDS.get(vote.outcome, "unread"),
            "judge": vote.judge, "task": vote.task, "row": vote.row, "length_a": vote.lengths[0],
            "length_b": vote.lengths[1], "usd": vote.usd, "asked": vote.asked, "turn": vote.turn or math.nan,
        }  # fmt: skip
        known = {name: value for name, value in line.items() if value == value}
        yield json.dumps(known, ensure_ascii=False) + "\n"


def verdict_outcome(verdict: Winner | None) -> float:
    """The outcome of a vote by a judge's verdict on the first answer, A, and the second, B."""
    return UNREAD if verdict is None else _OF_VERDICT[verdict]
