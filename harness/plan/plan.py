"""What a run would cost before it is asked: prompts left, tokens, USD, minutes, and what its rows can show."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from harness.ask.attempts import Limits, endpoint_limits, limits_of
from harness.ask.prepare import PreparedTask, open_backend, prepare_rows, prune_of, settings_of
from harness.ask.run import BenchOptions
from harness.compare.power import DetectableDifference, detectable
from harness.errors import DataError, UserError
from harness.models.connect import Connections
from harness.models.entry import ModelEntry, Sampled, in_batches, load_models, samples_of
from harness.models.prices import most_output, price_of
from harness.models.tokens import Tokenizer, approximate, frame, tokenizer_for
from harness.rows.evaluation import EvaluationRow
from harness.store.results import Manifest, read_manifests, read_responses, response_key
from harness.tasks.catalog import TaskFile, load_task, task_names

SAMPLE = 100
"""Prompts of a task whose tokens are counted; the others are as long for their characters."""


FIRST_TOKEN_S, OUTPUT_TOKEN_S = 1.0, 0.02
"""Latency of a model that has never been asked, in seconds: to begin, and for each token of its answer."""


BATCH_MINUTES = 24 * 60.0
EndpointLimits = Mapping[str, tuple[int, float | None]]
"""Requests in flight and requests a minute, by endpoint."""


@dataclass(frozen=True, slots=True)
class PairEstimate:
    """One model on one task: counts, and estimates with how each was made.

    `ask` is the number of requests to send: equal prompts are asked once, and as often as the model is sampled. Tokens
    are those of all prompts to ask. `usd` is None where no price is known; `usd_most` is what it costs when every
    answer is as long as it may be, None also for a server paid by the hour and where no limit is sent. `minutes` is the
    model's own time at the limits of its endpoint, without failures.
    """

    task: str
    model: str
    source: str
    endpoint: str
    rows: int
    answered: int
    ask: int
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = 0.0
    usd_most: float | None = 0.0
    minutes: float = 0.0
    input_by: str = ""
    output_by: str = ""
    price_by: str = ""
    minutes_by: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All pairs of a run in its order, and what each task's rows can show, by task. `notes` are for the user."""

    pairs: tuple[PairEstimate, ...]
    tasks: Mapping[str, DetectableDifference]
    notes: tuple[str, ...]

    @property
    def unpriced(self) -> tuple[str, ...]:
        """The models whose price is not known."""
        return tuple(dict.fromkeys(pair.model for pair in self.pairs if pair.usd is None))

    @property
    def minutes(self) -> float:
        """Time of the whole run: endpoints are asked side by side, what shares one comes one after the other."""
        by_endpoint: dict[str, float] = {}
        for pair in self.pairs:
            by_endpoint[pair.endpoint] = by_endpoint.get(pair.endpoint, 0.0) + pair.minutes
        return max(by_endpoint.values(), default=0.0)

    def totals(self) -> dict[str, float]:
        """Sums over all pairs; models without a known price add no USD, minutes are those of the whole run."""
        return {
            "rows": sum(pair.rows for pair in self.pairs),
            "answered": sum(pair.answered for pair in self.pairs),
            "ask": sum(pair.ask for pair in self.pairs),
            "input_tokens": sum(pair.input_tokens for pair in self.pairs),
            "output_tokens": sum(pair.output_tokens for pair in self.pairs),
            "usd": sum(pair.usd or 0.0 for pair in self.pairs),
            "usd_most": sum((pair.usd if pair.usd_most is None else pair.usd_most) or 0.0 for pair in self.pairs),
            "minutes": self.minutes,
        }


def plan(options: BenchOptions, say: Callable[[str], None]) -> Plan:
    """Estimate what `bench` with these options would ask. Nothing is asked and nothing is written.

    A model that is named is planned even where its key is not set yet. `say` gets each line meant for the user before
    the plan is there.

    Raises:
        UserError: a name, file or folder is wrong.
    """
    entries = load_models(options.models_file, options.models, os.environ, ready=False)
    unset = [entry for entry in entries if not entry.ready]
    if not options.models:
        entries = [entry for entry in entries if entry.ready]
    if not entries:
        raise UserError(f"{options.models_file}: no model can be asked: none has its key and address set")
    names = options.tasks or tuple(task_names(options.tasks_folder))
    files = [load_task(options.tasks_folder, name) for name in dict.fromkeys(names)]
    notes = [f"{entry.name} needs {entry.needs} before it can be asked" for entry in unset]
    return asyncio.run(_plan(files, entries, options, notes if options.models else [_left_out(unset)], say))


def _left_out(unset: Sequence[ModelEntry]) -> str:
    names = ", ".join(f"{entry.name} ({entry.needs})" for entry in unset)
    return f"not planned, because not set: {names}; plan one anyway with --model NAME" if unset else ""


async def _plan(
    files: Sequence[TaskFile],
    entries: Sequence[ModelEntry],
    options: BenchOptions,
    notes: list[str],
    say: Callable[[str], None],
) -> Plan:
    history, limits = History(options.results), _limits(entries)
    pairs: list[PairEstimate] = []
    tasks: dict[str, DetectableDifference] = {}
    left_out: dict[str, list[str]] = {}
    async with Connections() as connections:
        for file in files:
            task, rows = prepare_rows(file, options.data, options.seed, options.rows, strict=bool(options.tasks))
            say(f"{task.origin.label(task.n)}: {file.name}, {task.n} rows")
            runs = [run for run in history.runs if run.task == file.name]
            tasks[file.name] = detectable(file.task, task.n, task.origin.kind, runs, options.results)
            lengths: dict[str, _Lengths] = {}
            for entry in entries:
                try:
                    served = next((run.served for run in runs if run.model == entry.name), None)
                    settings = _settings(connections, task, entry, served)
                except DataError as error:
                    left_out.setdefault(f"{entry.name} is left out, because {error}", []).append(file.name)
                    continue
                pairs.append(_estimate(task, rows, entry, settings, history, limits, lengths))
    notes += [f"{reason}: {', '.join(names)}" for reason, names in left_out.items()]
    return Plan(tuple(pairs), tasks, tuple(filter(None, notes)))


def _settings(connections: Connections, task: PreparedTask, entry: ModelEntry, served: str | None) -> str:
    """The settings by which answers are kept; "" for a model whose address is not known yet, which has none.

    `served` is what its server said of its weights when it was asked last.

    Raises:
        DataError: the model cannot be asked this task.
    """
    if not entry.addressed:
        return ""
    backend, prune = open_backend(connections, task, entry), prune_of(entry, task.file.name)
    return settings_of(backend, task.file, entry.model.revision, served, prune.digest if prune else None)


def _limits(entries: Sequence[ModelEntry]) -> EndpointLimits:
    """The limits of each endpoint."""
    of: dict[str, list[Limits]] = {}
    for entry in entries:
        of.setdefault(entry.endpoint, []).append(limits_of(entry.model))
    return {endpoint: endpoint_limits(limits) for endpoint, limits in of.items()}


@dataclass(frozen=True, slots=True)
class _Lengths:
    """Tokens of a character of a task's prompts, and of its right answers where it has any, by one tokenizer."""

    per_character: float
    target: float | None


def _measure(tokenizer: Tokenizer, rows: Sequence[EvaluationRow], *, shows_answer: bool) -> _Lengths:
    # Rows come in the order of a hash, so the first ones are a random sample.
    sample = rows[:SAMPLE]
    characters = sum(len(row.prompt) for row in sample)
    return _Lengths(
        sum(tokenizer.count(row.prompt) for row in sample) / max(characters, 1),
        sum(max(1.0, tokenizer.count(row.references[0])) for row in sample) / len(sample) if shows_answer else None,
    )


def _estimate(
    task: PreparedTask,
    rows: Sequence[EvaluationRow],
    entry: ModelEntry,
    settings: str,
    history: History,
    limits: EndpointLimits,
    lengths: dict[str, _Lengths],
) -> PairEstimate:
    """Estimate one pair; `lengths` keeps what has been measured of the task, by tokenizer."""
    name, model = task.file.name, entry.model
    past = history.of(name, entry.name)
    samples = range(samples_of(model))
    keyed = [(response_key(settings, row.prompt, sample), row.prompt) for row in rows for sample in samples]
    left = {key: prompt for key, prompt in keyed if key not in past.keys}
    answered = sum(key in past.keys for key, _ in keyed)
    bare = PairEstimate(name, entry.name, task.origin.label(task.n), entry.endpoint, len(rows), answered, len(left))
    if not isinstance(model, Sampled):
        return bare
    tokenizer = tokenizer_for(model, name)
    if tokenizer.name not in lengths:
        lengths[tokenizer.name] = _measure(tokenizer, rows, shows_answer=task.file.task.shows_answer)
    measured = lengths[tokenizer.name]
    characters = sum(map(len, left.values()))
    read = round(measured.per_character * characters) + frame(model) * len(left)
    limit = most_output(model, task.file.task.max_tokens)
    longest = limit or task.file.task.max_tokens
    usual, output_by = _output(task.file.name, entry, model, longest, history, measured.target)
    written = round(usual * len(left))
    seconds, minutes_by = _latency(past, history.elsewhere(name, entry.name), usual)
    minutes = _minutes(model, len(left), read + written, seconds, limits[entry.endpoint])
    if in_batches(model):
        minutes, minutes_by = BATCH_MINUTES * bool(left), "the 24 hours that a batch may take"
    usd, usd_most, price_by = _usd(entry, name, (read, written, longest * len(left)), minutes)
    if limit is None:
        usd_most = None
    return replace(
        bare,
        input_tokens=read,
        output_tokens=written,
        usd=usd,
        usd_most=usd_most,
        minutes=minutes,
        input_by=tokenizer.name,
        output_by=output_by,
        price_by=price_by,
        minutes_by=minutes_by,
    )


def _output(
    task: str, entry: ModelEntry, model: Sampled, longest: int, history: History, target: float | None
) -> tuple[float, str]:
    """How many tokens an answer takes, at most `longest`, and how that is known."""
    own = history.of(task, entry.name).output_tokens
    if own is not None:
        return min(own, longest), "its own answers"
    if model.max_tokens:
        elsewhere = history.elsewhere(task, entry.name).output_tokens
        if elsewhere is not None:
            return min(elsewhere, longest), "its answers to other tasks"
        return longest, "its max_tokens, as it reasons before it answers"
    others, names = history.others(task, entry.name)
    if others.output_tokens is not None:
        return min(others.output_tokens, longest), f"answers of {', '.join(names)}"
    if target is None:
        return longest, "its max_tokens, as there are no right answers to measure"
    return min(target, longest), "the length of the right answers"


def _latency(own: PastAnswers, elsewhere: PastAnswers, output_tokens: float) -> tuple[float, str]:
    """Seconds to an answer, and how that is known."""
    for past, source in ((own, "its own answers"), (elsewhere, "its answers to other tasks")):
        if past.latency_s is not None:
            return past.latency_s, source
    assumed = FIRST_TOKEN_S + OUTPUT_TOKEN_S * output_tokens
    return assumed, f"an assumed {FIRST_TOKEN_S:g} s and {OUTPUT_TOKEN_S:g} s a token of the answer"


def _minutes(model: Sampled, ask: int, tokens: int, seconds: float, limits: tuple[int, float | None]) -> float:
    """The longest of what the rate, the latency and the server's throughput take."""
    most, rate = limits
    return max(
        ask / rate if rate else 0.0,
        ask * seconds / min(most, max(ask, 1)) / 60,
        tokens / model.tokens_per_second / 60 if model.tokens_per_second else 0.0,
    )


def _usd(
    entry: ModelEntry, task: str, tokens: tuple[int, int, int], minutes: float
) -> tuple[float | None, float | None, str]:
    """USD, USD at most and where the price is from, for the tokens read, written, and written at most."""
    read, written, most = tokens
    priced = price_of(entry.model, task)
    if priced is None:
        return None, None, "unknown"
    if priced.price is None:
        return minutes / 60 * (priced.per_hour or 0.0), None, priced.source
    return priced.price.usd(read, written), priced.price.usd(read, most), priced.source


@dataclass(frozen=True, slots=True)
class PastAnswers:
    """Answers of a model: their keys, how many, and the means of their tokens and seconds (None: not known)."""

    keys: frozenset[str]
    answers: int
    output_tokens: float | None
    latency_s: float | None


NOTHING = PastAnswers(frozenset(), 0, None, None)


class History:
    """What has been answered under a results folder. Nothing is written, and no lock is taken."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._read = lru_cache(maxsize=None)(_read)

    @cached_property
    def runs(self) -> Sequence[Manifest]:
        """The manifests of all runs, by task and model."""
        return list(read_manifests(self._results))

    def of(self, task: str, model: str) -> PastAnswers:
        """What a model has answered of a task."""
        return self._read(self._results / task / model)

    def elsewhere(self, task: str, model: str) -> PastAnswers:
        """What a model has answered of all other tasks."""
        folders = sorted(self._results.glob(f"*/{model}"))
        return _pooled(self._read(folder) for folder in folders if folder.parent.name != task)

    def others(self, task: str, model: str) -> tuple[PastAnswers, list[str]]:
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


def _read(folder: Path) -> PastAnswers:
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
    return PastAnswers(frozenset(keys), len(keys), tokens / len(keys), seconds / timed if timed else None)


def _pooled(several: Iterable[PastAnswers]) -> PastAnswers:
    """Several models' or tasks' answers as one, each answer with the same weight; without the keys."""
    found = [past for past in several if past.answers]
    return PastAnswers(
        frozenset(),
        sum(past.answers for past in found),
        _mean([(past.output_tokens, past.answers) for past in found]),
        _mean([(past.latency_s, past.answers) for past in found]),
    )


def _mean(weighted: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in weighted if value is not None]
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known) if known else None
