"""A model's recorded answers in place of the right ones, so that others are scored against a teacher."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.errors import UserError, nearest
from harness.rows.evaluation import EvaluationRow
from harness.score.answers import read_gold
from harness.score.rules import Rules
from harness.score.scoring import reading_of
from harness.store.results import (
    RESPONSES,
    Manifest,
    Response,
    ResponseLog,
    answered_rows,
    read_manifests,
    response_key,
    write_manifest,
    write_rows,
)

HUMAN = "human"
"""The name under which the right answers of the data are scored, as those of one more model."""


@contextmanager
def scored_against(results: Path, truth: str | None, say: Callable[[str], None], rules: Rules) -> Iterator[Path]:
    """Give a results folder in which the right answers are those of a model; the folder itself without one.

    It holds all other runs on the rows that the model has answered, and the right answers of the data as the run
    `human`. Rows to which the model has no valid answer are in none of them; how many is said. It is gone afterwards.

    Raises:
        UserError: no such model is recorded, or one has the name that the right answers get.
    """
    if truth is None:
        yield results
        return
    runs = rules(list(read_manifests(results)), say)
    known = {run.model for run in runs}
    if truth not in known:
        raise UserError(f"--truth: no run of model '{truth}' in {results}{nearest(truth, known)}")
    if HUMAN in known:
        raise UserError(
            f"--truth: a model in {results} is named '{HUMAN}', as the right answers of the data are: rename it"
        )
    with TemporaryDirectory(prefix="harness-truth-") as made:
        for run in runs:
            if run.model == truth:
                rows = (run.task, run.kind, run.rows)
                others = [one for one in runs if (one.task, one.kind, one.rows) == rows and one.model != truth]
                _rewrite(results, run, others, Path(made), say)
        yield Path(made)


def _rewrite(
    results: Path, truth: Manifest, others: Sequence[Manifest], made: Path, say: Callable[[str], None]
) -> None:
    """Write the rows with other right answers, and the other runs on them."""
    rows, right = [], []
    for row, answers in answered_rows(results, truth):
        answer = _gold(truth, answers[0])
        if answer is not None:
            rows.append(replace(row, references=(answer,)))
            right.append(row.references[0])
    if not rows:
        say(f"{truth.task}: {truth.model} has no valid answer, so nothing can be scored against it")
        return
    if lost := truth.n - len(rows):
        say(f"{truth.task}: {lost:,} of {truth.n:,} rows left out, to which {truth.model} has no valid answer")
    fingerprint = write_rows(made, truth.task, rows)
    spec = truth.spec.model_copy(update={"title": f"{truth.spec.title}, right answers by {truth.model}"})
    changed = {"rows": fingerprint, "n": len(rows), "source": f"{truth.source}, right answers by {truth.model}"}
    for run in others:
        folder = made / run.task / run.model
        folder.mkdir(parents=True, exist_ok=True)
        if (source := results / run.task / run.model / RESPONSES).is_file() and not (folder / RESPONSES).exists():
            _link(source.resolve(), folder / RESPONSES)
        titled = run.spec.model_copy(update={"title": spec.title})
        write_manifest(made, run.model_copy(update={**changed, "spec": titled}))
    _human(truth.model_copy(update={**changed, "spec": spec}), rows, right, made)


def _gold(truth: Manifest, response: Response | None) -> str | None:
    """The answer in a response as a right answer is written, None where there is none."""
    status, text, answer = reading_of(truth.spec, response, truth.thinking)
    if status != "ok" or answer is None:
        return None
    for written in (text.strip(), answer if isinstance(answer, str) else None):
        try:
            if written and read_gold(written, truth.spec.answer) == answer:
                return written
        except ValueError:
            continue
    return None


def _human(truth: Manifest, rows: Sequence[EvaluationRow], right: Sequence[str], made: Path) -> None:
    """Record the right answers of the data as the answers of one more model, which costs nothing."""
    changed: dict[str, Any] = {"model": HUMAN, "settings": HUMAN, "model_settings": {}, "price": None, "stopped": None}
    with ResponseLog(made / truth.task / HUMAN) as log:
        for row, answer in zip(rows, right, strict=True):
            if (key := response_key(HUMAN, row.prompt)) not in log:
                log.append(Response(key, row.id, "ok", answer))
    write_manifest(made, truth.model_copy(update={**changed, "incomplete": False, "trouble": {}, "served": None}))


def _link(source: Path, place: Path) -> None:
    try:
        place.symlink_to(source)
    except OSError:  # a file system without links
        shutil.copy(source, place)
