"""The scores of a run: each row's status and statistics, from recorded answers and the task's metrics."""

from __future__ import annotations

import math
import secrets
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np

from harness.errors import UserError
from harness.hashing import Digest, digest_all
from harness.models.entry import Thinking
from harness.models.prices import lost_usd, usd_of
from harness.plugins import Kind, plugins
from harness.rows.evaluation import EvaluationRow
from harness.score.answers import VERSION, answer_in, read_gold, text_of
from harness.score.answers.source import parses
from harness.score.answers.text import after_marker
from harness.score.doubts import Doubter, Doubts
from harness.score.metrics.base import Example, FloatArray, IntArray, Metric, only_mean
from harness.score.metrics.registry import build_all
from harness.score.metrics.sandbox import Program
from harness.score.metrics.text import dropped_scripts
from harness.score.rules import RECORDED, Rules
from harness.store.results import Answers, Manifest, Response, answered_rows, read_manifests, read_rows
from harness.tasks.task import CodeAnswer, Task
from harness.tasks.templates import BoundedEnvironment

PIECE = 10_000
"""Rows that are in memory at once while a run is scored."""
SHORT = 200
"""Characters of an answer up to which it is quicker to keep it than to cut it off."""
WITHIN = "within:"
Status = Literal["ok", "unparsed", "truncated", "refused", "failed"]
STATUSES: tuple[Status, ...] = ("ok", "unparsed", "truncated", "refused", "failed")


@dataclass(frozen=True, slots=True)
class RowScores:
    """The rows of one run in the order asked: ids, statuses, and each metric's statistics, shape [n, k].

    Rows without a valid answer are in it with the metric's worst score. `right` are the statistics if the rows that
    failed, which a server lost and not the model, had the right answer; empty where none failed. `clusters` numbers the
    cluster of each row, shape [n], where the task has a column of them.

    Where a model was asked a row several times, the statistics are those of its answers together, most often their
    mean, the status is that of its worst answer, and `within` the variance of a row's score between its answers
    (unbiased, mean over rows), by metric.
    """

    ids: tuple[str, ...]
    statuses: tuple[Status, ...]
    stats: Mapping[str, FloatArray]
    right: Mapping[str, FloatArray] = field(default_factory=dict)
    clusters: IntArray | None = None
    within: Mapping[str, float] = field(default_factory=dict)

    def chosen(self, places: Sequence[int]) -> RowScores:
        """The rows at these places, in their order."""
        taken = list(places)
        return RowScores(
            tuple(self.ids[place] for place in places),
            tuple(self.statuses[place] for place in places),
            {name: stats[taken] for name, stats in self.stats.items()},
            {name: stats[taken] for name, stats in self.right.items()},
            None if self.clusters is None else numbered(self.clusters[taken].tolist()),
            self.within,
        )

    @property
    def unanswered(self) -> int:
        """Rows without an answer, which a server lost; unparsed, refused and cut-off answers are answers."""
        return self.statuses.count("failed")

    def of_each(self, metric: Metric) -> list[float | None]:
        """Each row's own score, None by a metric that has none for a row alone (ranks, a score of the whole set)."""
        if metric.kind == "corpus" and metric.stats_of_all is not None:
            return [None] * len(self.ids)
        scores = metric.summary(self.stats[metric.name])
        if metric.scorable is None:
            return [float(score) for score in scores]
        scorable = self.stats[metric.name][:, metric.scorable]
        return [float(score) if known else None for score, known in zip(scores, scorable, strict=True)]

    def counts(self) -> dict[Status, int]:
        """How many rows have each status."""
        found = Counter(self.statuses)
        return {status: found[status] for status in STATUSES}

    def answered(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Mask over rows: those with a valid answer."""
        return np.array([status == "ok" for status in self.statuses], dtype=bool)


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """A run with its scores and what its answers took: seconds, tokens, USD (None where unknown).

    `ttft` and `tpot` are the seconds to the first token and for each further one, empty unless answers were streamed.
    `lost_usd` is the part of `usd` that paid for attempts without an answer, `doubts` what speaks against the answers.
    `unavailable` names the task's metrics by which no row can be scored; they have no score, rather than the worst one.
    """

    manifest: Manifest
    metrics: tuple[Metric, ...]
    rows: RowScores
    latencies: FloatArray
    input_tokens: int | None
    output_tokens: int | None
    usd: float | None
    unavailable: tuple[str, ...] = ()
    lost_usd: float | None = None
    doubts: Doubts = field(default_factory=Doubts)
    ttft: FloatArray = field(default_factory=lambda: np.empty(0))
    tpot: FloatArray = field(default_factory=lambda: np.empty(0))
    rivals: frozenset[str] = frozenset()
    """All models that are recorded of the task on this kind of rows, whether or not they are shown."""

    @property
    def score(self) -> float:
        """The score by the task's first metric."""
        return self.metrics[0].of(self.rows.stats[self.metrics[0].name])

    @property
    def incomplete(self) -> str:
        """Why nothing can be told from the run, "" where something can; such a run has no verdict and no rank."""
        return incomplete(self.manifest, self.rows)


def incomplete(manifest: Manifest, rows: RowScores) -> str:
    """Why a run is incomplete: more rows have no answer than it was allowed, or all; "" for a complete one."""
    lost, n = rows.unanswered, len(rows.ids)
    if lost == 0 or (lost < n and not manifest.incomplete):
        return ""
    return f"{lost:,} of {n:,} rows have no answer"


def numbered(values: Iterable[Any]) -> IntArray:
    """Each value's number, in the order in which they first appear."""
    order: dict[Any, int] = {}
    return np.array([order.setdefault(value, len(order)) for value in values], dtype=np.int64)


def score_rows(
    task: Task,
    metrics: Iterable[Metric],
    answered: Iterable[tuple[EvaluationRow, Answers]],
    thinking: Thinking | None = None,
) -> RowScores:
    """Score rows, at least one, against their responses, equally many for each; a missing one counts as failed.

    `thinking` are the markers around the thinking of a model of one's own.

    Memory holds a piece of the rows at a time, unless a metric needs all of them together.

    Raises:
        UserError: a right answer is not understood.
    """
    metrics = tuple(metrics)
    size = None if any(metric.stats_of_all for metric in metrics) else PIECE
    ids: list[str] = []
    statuses: list[Status] = []
    clusters: list[str | None] = []
    tables = {known: {metric.name: list[FloatArray]() for metric in metrics} for known in ("stats", "right")}
    rest = iter(answered)
    samples = 1
    while piece := list(islice(rest, size)):
        samples = len(piece[0][1])
        each = [(row, response) for row, responses in piece for response in responses]
        scored = [example_of(task, row, response, thinking) for row, response in each]
        ids += (row.id for row, _ in piece)
        clusters += (row.cluster for row, _ in piece)
        found = [status for status, _ in scored]
        worst = (max(found[at : at + samples], key=STATUSES.index) for at in range(0, len(found), samples))
        statuses += found if samples == 1 else worst
        _score_piece(task, metrics, each, scored, tables)
    stats, right = ({metric.name: np.concatenate(of[metric.name]) for metric in metrics} for of in tables.values())
    within = {} if samples == 1 else _within(metrics, stats, samples)
    stats, right = (
        {metric.name: _of_rows(metric, of[metric.name], samples) for metric in metrics} for of in (stats, right)
    )
    grouped = task.evaluation.cluster is not None and None not in clusters and clusters
    return RowScores(
        tuple(ids),
        tuple(statuses),
        stats,
        right if "failed" in statuses else {},
        numbered(clusters) if grouped else None,
        within,
    )


def _of_rows(metric: Metric, stats: FloatArray, samples: int) -> FloatArray:
    """The statistics of rows from those of their answers, of which each row's stand one after another.

    Raises:
        UserError: the metric needs more answers to a row than there are.
    """
    if samples < metric.samples:
        least, found = f"{metric.samples} answers to each row", f"found {samples}: set the model's `samples`"
        raise UserError(f"metric '{metric.name}' needs at least {least}, {found}")
    return metric.of_samples(_by_row(stats, samples))


def _by_row(stats: FloatArray, samples: int) -> FloatArray:
    return stats.reshape(-1, samples, stats.shape[1])


def _within(metrics: Iterable[Metric], stats: Mapping[str, FloatArray], samples: int) -> dict[str, float]:
    """The variance of a row's score between its answers, of the metrics whose score is a mean of answers."""
    means = [metric for metric in metrics if metric.summary is only_mean and metric.samples == 1]
    return {
        metric.name: float(_by_row(stats[metric.name], samples)[:, :, 0].var(axis=1, ddof=1).mean()) for metric in means
    }


def _score_piece(
    task: Task,
    metrics: Sequence[Metric],
    piece: Sequence[tuple[EvaluationRow, Response | None]],
    scored: Sequence[tuple[Status, Example]],
    tables: Mapping[str, Mapping[str, list[FloatArray]]],
) -> None:
    """Add the statistics of some rows to the tables, also those they would have if lost answers had been right."""
    examples = [example for _, example in scored]
    lost = [place for place, (status, _) in enumerate(scored) if status == "failed"]
    whole = list(examples)
    for place in lost:
        whole[place] = _answered_right(task, piece[place][0], examples[place])
    for metric in metrics:
        stats = metric.table(examples)
        _check_finite(metric, stats, piece)
        tables["stats"][metric.name].append(stats)
        if lost and metric.stats_of_all is not None:
            stats = metric.table(whole)
        elif lost:
            stats = stats.copy()
            stats[lost] = metric.table([whole[place] for place in lost])
        tables["right"][metric.name].append(stats)


def _check_finite(metric: Metric, stats: FloatArray, piece: Sequence[tuple[EvaluationRow, Response | None]]) -> None:
    """Refuse what no score can be made of, before it is in an interval of all rows."""
    broken = np.flatnonzero(~np.isfinite(stats).all(axis=1))
    if len(broken):
        name = piece[broken[0]][0].id
        value = next(value for value in stats[broken[0]] if not math.isfinite(value))
        raise UserError(f"metric '{metric.name}' gives {value} for row '{name}': a row's score must be a finite number")


def _answered_right(task: Task, row: EvaluationRow, example: Example) -> Example:
    """A row as if its first right answer had been given."""
    text, answer = row.references[0], example.gold[0]
    fields = dict(example.fields)
    if isinstance(task.answer, CodeAnswer):
        fields["program"] = _program(task.answer, row, answer)
    return replace(example, answer=answer, text=text, fields=fields)


def example_of(
    task: Task, row: EvaluationRow, response: Response | None, thinking: Thinking | None
) -> tuple[Status, Example]:
    """Return what became of a row, and the row with its answer, which is None where there is no valid one.

    Raises:
        UserError: a right answer is not understood.
    """
    status, text, answer = reading_of(task, response, thinking)
    fields = dict(row.fields)
    if isinstance(task.answer, CodeAnswer) and answer is not None:
        fields["program"] = _program(task.answer, row, answer)
    return status, Example(answer, text, row.references, _gold(task, row), fields)


def reading_of(task: Task, response: Response | None, thinking: Thinking | None) -> tuple[Status, str, Any | None]:
    """Return what became of a response, its text without thinking, and the answer in it, None where it has none."""
    if response is None or response.status == "failed":
        return "failed", "", None
    text, answer = text_of(response.completion, thinking), None
    # Of a prompt that the server has cut, the answer is read all the same; it never counts as one that is whole.
    prompt_cut = response.status == "truncated_prompt"
    status: Status = "truncated" if response.status == "truncated_prompt" else response.status
    if status != "refused" and not (status == "truncated" and not prompt_cut and _lost_its_end(task, text)):
        answer = answer_in(text, task.answer)
    if answer is None and status == "ok":
        status = "unparsed"
    elif answer is not None and task.answer.type in {"label", "number", "regex"} and not prompt_cut:
        status = "ok"  # cut off after the answer: nothing is lost
    return status, text, answer


def _gold(task: Task, row: EvaluationRow) -> tuple[Any, ...]:
    try:
        return tuple(read_gold(reference, task.answer) for reference in row.references)
    except ValueError as error:
        raise UserError(f"row {row.id}: a right answer is not a valid {task.answer.type}: {error}") from None


def _lost_its_end(task: Task, text: str) -> bool:
    """Whether a cut-off completion never reached the marker that the answer follows, or ends within a number.

    What looks like an answer in half a chain of thought is an accident, and half a number is another number.
    """
    after: str | None = getattr(task.answer, "after", None)
    if after is not None and after_marker(text, after) is None:
        return True
    return task.answer.type == "number" and text[-1:].isdigit()


def _program(answer: CodeAnswer, row: EvaluationRow, completion: str) -> Program:
    """The program of an answer, parted where the tests begin: behind the last place that uses the completion."""
    mark = secrets.token_hex(16)
    environment = BoundedEnvironment(mark=("completion", mark))
    columns = {**row.fields, "completion": completion}
    given, _, tests = environment.render(environment.from_string(answer.program), columns).partition(mark)
    if parses(tests) and not (given and tests.partition("\n")[0].strip()):
        return Program(given, tests)
    return Program(given + tests)  # the answer stands inside a statement of the template


def score_run(results: Path, manifest: Manifest) -> ScoredRun:
    """Score a run from what is recorded of it, with the scores of an unchanged run taken from its cache.

    The rule is that of the manifest's task, which need not be the one it was made with (`harness.score.rules`): a cache
    holds the scores by one rule, and those by another are never taken for them.

    Raises:
        UserError: the rows of the run are not there any more, or a metric is unknown.
    """
    metrics, short = _metrics(manifest)
    lines, state, doubts = _recorded(results, manifest)
    if not lines:
        reason = f" ({manifest.stopped})" if manifest.stopped else ""
        raise UserError(f"it has answered no row{reason}")
    given = [line for line in lines if line.status != "failed"]
    cache = _cache(results, manifest)
    scores = _load(cache, state, metrics)
    if scores is None:
        scores = score_rows(manifest.spec, metrics, answered_rows(results, manifest), manifest.thinking)
        _save(cache, state, scores)
    shown = available(metrics, scores)
    return ScoredRun(
        manifest=manifest,
        metrics=shown,
        rows=scores,
        latencies=_known(line.latency_s for line in given),
        input_tokens=_total(line.input_tokens for line in given),
        output_tokens=_total(line.output_tokens for line in given),
        usd=usd_of(manifest.price, lines),
        lost_usd=lost_usd(manifest.price, lines),
        doubts=doubts,
        ttft=_known(line.ttft_s for line in given),
        tpot=_known(line.tpot_s for line in given),
        unavailable=(*(metric.name for metric in metrics if metric not in shown), *short),
    )


def _metrics(manifest: Manifest) -> tuple[tuple[Metric, ...], list[str]]:
    """The metrics that score a run, and the names of those that need more answers to a row than the run has.

    The mean of several answers, each right or wrong, is neither: such a metric has no longer two values.

    Raises:
        UserError: none of the task's metrics scores the run, or one is unknown.
    """
    metrics, samples = build_all(manifest.spec.metrics, manifest.spec.answer), manifest.samples
    fitting = [metric for metric in metrics if metric.samples <= samples]
    if not fitting:
        raise UserError(f"{metrics[0].name} needs {metrics[0].samples} answers to each row: set the model's `samples`")
    if samples > 1:
        fitting = [replace(metric, kind="mean") if metric.kind == "binary" else metric for metric in fitting]
    return tuple(fitting), [metric.name for metric in metrics if metric.samples > samples]


def _recorded(results: Path, manifest: Manifest) -> tuple[list[Response], str, Doubts]:
    """The responses to a run's prompts, each once and without its text where that is long, and what is doubtful.

    Between them comes a hash of all that the run's scores depend on.
    """
    given: dict[str, Response] = {}
    doubter = Doubter(manifest.asked_for)
    said = Digest()

    def parts() -> Iterator[str]:
        thinking = "" if manifest.thinking is None else manifest.thinking.model_dump_json()
        yield from (str(VERSION), manifest.rows, manifest.settings, manifest.spec.model_dump_json(), thinking)
        yield from _code(manifest.spec)
        for response in (response for _, of_row in answered_rows(results, manifest) for response in of_row):
            doubter.see(response)
            said.add("" if response is None else f"{response.status}{response.completion}")
            if response is not None and response.key not in given:
                short = len(response.completion) <= SHORT
                given[response.key] = response if short else replace(response, completion="")
                yield f"{response.key}{response.status}{response.completion}"

    state = digest_all(parts())
    return list(given.values()), state, doubter.found(str(said))


def available(metrics: Sequence[Metric], scores: RowScores) -> tuple[Metric, ...]:
    """The metrics by which at least one row can be scored.

    Raises:
        UserError: there is none.
    """
    found = tuple(
        metric for metric in metrics if metric.scorable is None or scores.stats[metric.name][:, metric.scorable].any()
    )
    if not found:
        raise UserError(f"no row can be scored by {metrics[0].name}")
    return found


def saved_scores(results: Path, manifest: Manifest) -> tuple[tuple[Metric, ...], RowScores] | None:
    """Return the metrics and scores of a run from its cache, None when it has not been scored since its last answer.

    Raises:
        UserError: the rows of the run are not there any more, or a metric is unknown.
    """
    if not _cache(results, manifest).is_file():
        return None
    metrics, _ = _metrics(manifest)
    scores = _load(_cache(results, manifest), _recorded(results, manifest)[1], metrics)
    return None if scores is None else (metrics, scores)


def _cache(results: Path, manifest: Manifest) -> Path:
    return results / manifest.task / manifest.model / f"scores-{manifest.kind}.npz"


def _known(seconds: Iterable[float | None]) -> FloatArray:
    return np.array([value for value in seconds if value is not None], dtype=np.float64)


def _total(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _code(spec: Task) -> list[str]:
    """What stands for the plugins' code that a task's scores depend on: it may change while the task does not."""
    added = plugins().added
    used: list[tuple[Kind, str]] = [
        ("answer type", spec.answer.type),
        *(("metric", metric.name) for metric in spec.metrics),
    ]
    return [found.source for kind, name in used if (found := added.get((kind, name)))]


def _load(path: Path, state: str, metrics: tuple[Metric, ...]) -> RowScores | None:
    try:
        with path.open("rb") as file, np.load(file) as saved:
            if str(saved["state"]) != state:
                return None
            statuses = tuple(saved["statuses"].tolist())
            stats, right = (
                {metric.name: saved[f"{known}:{metric.name}"].astype(np.float64) for metric in metrics}
                if known == "stats" or "failed" in statuses
                else {}
                for known in ("stats", "right")
            )
            clusters = saved["clusters"] if len(saved["clusters"]) else None
            within = {name.removeprefix(WITHIN): float(saved[name]) for name in saved.files if name.startswith(WITHIN)}
            return RowScores(tuple(saved["ids"].tolist()), statuses, stats, right, clusters, within)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
        return None  # no cache, or one from another version or a killed run: score again


def _save(path: Path, state: str, scores: RowScores) -> None:
    arrays: dict[str, Any] = {f"stats:{name}": values for name, values in scores.stats.items()}
    arrays |= {f"right:{name}": values for name, values in scores.right.items()}
    arrays |= {f"{WITHIN}{name}": np.array(value) for name, value in scores.within.items()}
    arrays["clusters"] = np.empty(0, np.int64) if scores.clusters is None else scores.clusters
    arrays |= {"state": np.array(state), "ids": np.array(scores.ids), "statuses": np.array(scores.statuses)}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def score_all(
    results: Path, manifests: Iterable[Manifest], say: Callable[[str], None], rules: Rules = RECORDED
) -> list[ScoredRun]:
    """Score runs from what is recorded, all of a task by one rule; `say` gets a line for each that cannot be scored.

    One run whose rows are gone, or whose programs no sandbox can run, must not hide the others.
    """
    wanted, known = list(manifests), list(read_manifests(results))
    runs = []
    for manifest in rules(wanted, say):
        try:
            run = score_run(results, manifest)
        except UserError as error:
            say(f"not scored: {manifest.model} on {manifest.task}: {error}")
            continue
        of_task = (other for other in known if (other.task, other.kind) == (manifest.task, manifest.kind))
        runs.append(replace(run, rivals=frozenset(other.model for other in of_task)))
        for line in _notes(run):
            say(line)
    for manifest in {(run.manifest.task, run.manifest.rows): run.manifest for run in runs}.values():
        rows = read_rows(results, manifest.task, manifest.rows)
        if note := dropped_scripts(manifest.spec.metrics, (reference for row in rows for reference in row.references)):
            say(f"{manifest.task}: {note}")
    return runs


def _notes(run: ScoredRun) -> Iterator[str]:
    manifest = run.manifest
    for name in run.unavailable:
        yield f"no {name} of {manifest.model} on {manifest.task}: none of its {manifest.n} rows can be scored by it"
    if (metric := run.metrics[0]).name in run.rows.within:
        within, rows = run.rows.within[metric.name], run.rows.stats[metric.name][:, 0]
        between = max(0.0, float(np.var(rows, ddof=1)) - within / manifest.samples) if len(rows) > 1 else 0.0
        yield (
            f"{manifest.model} on {manifest.task}: {manifest.samples} answers to each row; {metric.name} varies with "
            f"a standard deviation of {within**0.5:.3g} between the answers to a row, {between**0.5:.3g} between rows"
        )
    if manifest.spec.evaluation.cluster and run.rows.clusters is None:
        yield (
            f"{manifest.model} on {manifest.task}: its rows were stored without evaluation.cluster, so its intervals "
            "take them as independent; run bench again, which asks nothing again"
        )
