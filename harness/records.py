"""What earlier runs tell about the next one: which prompts are answered, and how long answers were and took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from harness.store import Manifest, read_manifests, read_responses
from harness.tokens import approximate


@dataclass(frozen=True, slots=True)
class Record:
    """The answers of a model: their keys, how many, and means: tokens of an answer, seconds to it (None: not known)."""

    keys: frozenset[str]
    answers: int
    output_tokens: float | None
    latency_s: float | None


NOTHING = Record(frozenset(), 0, None, None)


class Records:
    """The answers under a results folder. Nothing is written, and no lock is taken.

    Raises:
        UserError: a manifest cannot be read.
    """

    def __init__(self, results: Path) -> None:
        self._results = results
        self._read = lru_cache(maxsize=None)(_read)

    @cached_property
    def runs(self) -> Sequence[Manifest]:
        """The manifests of all runs, by task and model."""
        return list(read_manifests(self._results))

    def of(self, task: str, model: str) -> Record:
        """What a model has answered of a task."""
        return self._read(self._results / task / model)

    def elsewhere(self, task: str, model: str) -> Record:
        """What a model has answered of all other tasks."""
        folders = sorted(self._results.glob(f"*/{model}"))
        return _pooled(self._read(folder) for folder in folders if folder.parent.name != task)

    def others(self, task: str, model: str) -> tuple[Record, list[str]]:
        """What other served models that do not think first have answered of a task, and their names."""
        names = sorted(
            {
                run.model
                for run in self.runs
                if run.task == task
                and run.model != model
                and run.model_settings.get("backend") != "baseline"
                and "max_tokens" not in run.model_settings
            }
        )
        found = {name: self.of(task, name) for name in names}
        return _pooled(found.values()), [name for name in names if found[name].answers]


def _read(folder: Path) -> Record:
    keys: set[str] = set()
    tokens = seconds = 0.0
    timed = 0
    for line in read_responses(folder):
        if line.status == "failed":
            continue
        keys.add(line.key)
        tokens += line.output_tokens if line.output_tokens is not None else approximate(line.completion)
        if line.latency_s is not None:
            seconds += line.latency_s
            timed += 1
    if not keys:
        return NOTHING
    return Record(frozenset(keys), len(keys), tokens / len(keys), seconds / timed if timed else None)


def _pooled(records: Iterable[Record]) -> Record:
    """One record of several, each answer with the same weight; without the keys."""
    found = [record for record in records if record.answers]
    return Record(
        frozenset(),
        sum(record.answers for record in found),
        _mean([(record.output_tokens, record.answers) for record in found]),
        _mean([(record.latency_s, record.answers) for record in found]),
    )


def _mean(weighted: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in weighted if value is not None]
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known) if known else None
