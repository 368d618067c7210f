"""The majority that `harness check` names is the one that `harness bench` scores."""

from __future__ import annotations

import json

import pytest

from tests.commands.conftest import Command
from tests.runs import TASK
from tests.teach.conftest import Taught, own_text, taught  # noqa: F401  the fixture


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
@pytest.mark.parametrize("of_training", [True, False])
def test_both_figures_are_one(taught: Taught, harness: Command, metric: str, of_training: bool) -> None:  # noqa: F811
    """With a training split, whose majority is another than that of the evaluated rows, and without one."""
    splits = ["train"] * 20 + ["test"] * 30 if of_training else ["test"] * 50
    rows = [
        {"text": own_text(number), "label": "yes" if (number % 5 < 2) == (number < 20) else "no", "_split": split}
        for number, split in enumerate(splits)
    ]
    taught.rows(rows)
    taught.task(text=TASK.replace("[accuracy, macro_f1]", f"[{metric}]") + "evaluation: {split: test, rows: 30}\n")
    (taught.folder / "models.yaml").write_text("majority: {backend: baseline, method: majority}\n")
    where = ("--tasks", str(taught.folder / "tasks"), "--data", "sample", "--json")
    code, out, err = harness("check", "small", *where)
    assert code == 0, err
    (checked,) = json.loads(out)
    more = ("--models", str(taught.folder / "models.yaml"), "--results", str(taught.results))
    code, out, err = harness("bench", "--task", "small", *where, *more)
    assert code == 0, err
    (scored,) = json.loads(out)["results"]
    assert checked["leaderboard_scores"]["majority"] == pytest.approx(scored["score"], abs=1e-9)
