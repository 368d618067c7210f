"""One run, from names to recorded answers: load tasks and models, fix the rows, ask what is not answered."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.ask.attempts import Job, Limits, now
from harness.ask.budget import Budget, CapReached
from harness.ask.fanout import run
from harness.ask.limiter import Brake
from harness.ask.prepare import PreparedTask, described, open_backend, request_for, select_rows, settings_of
from harness.ask.progress import INTERRUPTED, Interrupted, Progress, interruptible
from harness.errors import DataError, UserError, nearest
from harness.hashing import digest
from harness.models.backend import Backend, Request
from harness.models.connect import Opening
from harness.models.entry import ModelEntry, Sampled, in_batches, load_models
from harness.models.prices import price_of
from harness.rows.evaluation import Subset
from harness.rows.origin import Origin
from harness.store.provenance import git_state, versions
from harness.store.results import (
    Manifest,
    Response,
    ResponseLog,
    chosen_runs,
    read_responses,
    read_rows,
    response_key,
    write_manifest,
    write_rows,
)
from harness.tasks.catalog import TaskFile, load_task, task_names
from harness.tasks.prompts import Prompts

Say = Callable[[str], None]
ALL_ROWS = 1_000_000  # in flight at once: a batch takes all rows there are


BATCHES = " (batches)"


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What a user asks of `harness bench`. Empty `tasks` or `models` mean all there are."""

    tasks: tuple[str, ...]
    models: tuple[str, ...]
    models_file: Path
    tasks_folder: Path | None
    results: Path
    data: str | None = None
    rows: int | None = None
    seed: int = 0
    max_usd: float | None = None
    max_failures: float = 0.02


def bench(options: BenchOptions, say: Say) -> list[Manifest]:
    """Run and return the manifests of all pairs asked, in the order of tasks and models.

    `say` gets each line meant for the user.

    Raises:
        UserError: a name, file, key or folder is wrong; nothing was asked.
        CapReached: it would have cost more than `options.max_usd`.
        Interrupted: the user stopped it; what had been sent was waited for and kept.
        HarnessError: answers could not be written any more.
        KeyboardInterrupt: the user stopped it twice, the second time without waiting.
    """
    entries = load_models(options.models_file, options.models, os.environ)
    skipped = _skipped(entries)
    entries = [entry for entry in entries if entry.ready]
    if not entries:
        raise UserError(f"{options.models_file}: no model can be asked: none has its key and address set")
    names = options.tasks or tuple(task_names(options.tasks_folder))
    files = [load_task(options.tasks_folder, name) for name in dict.fromkeys(names)]
    prepared = [_prepare(file, options, say) for file in files]
    if skipped:
        say(skipped)
    return ask_pairs([(task, entry) for task in prepared for entry in entries], options, say)


def ask_pairs(pairs: Sequence[tuple[PreparedTask, ModelEntry]], options: BenchOptions, say: Say) -> list[Manifest]:
    """Ask what these pairs have not answered, and return the manifests of those that were; the rows are stored.

    Of the options only the files, the results folder and the limits count.

    Raises:
        HarnessError: as `bench`.
        KeyboardInterrupt: as `bench`.
    """
    try:
        return asyncio.run(_ask(pairs, options, say))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _skipped(entries: Sequence[ModelEntry]) -> str:
    """One line on the models that cannot be asked, by what they need; empty when there are none."""
    by_need: dict[str, list[str]] = {}
    for entry in entries:
        if not entry.ready:
            need = f"no folder {entry.missing}" if entry.missing else f"set {entry.needs}"
            by_need.setdefault(need, []).append(entry.name)
    needs = (f"{', '.join(names)} ({need})" for need, names in by_need.items())
    return f"not asked: {'; '.join(needs)}" if by_need else ""


def _prepare(file: TaskFile, options: BenchOptions, say: Say) -> PreparedTask:
    prepared, rows = select_rows(file, options.data, options.seed, options.rows, strict=bool(options.tasks))
    fitted = "no training split, so baselines are fitted on its other rows" if prepared.subset.borrowed else None
    notes = "; ".join(note for note in (prepared.origin.note, fitted) if note)
    say(f"{prepared.origin.label(prepared.n)}: {file.name}, {prepared.n} rows" + (f" ({notes})" if notes else ""))
    # Rows are written as they are rendered, and from here on read from disk one at a time: memory stays flat.
    return replace(prepared, rows=write_rows(options.results, file.name, rows))


async def _ask(pairs: Sequence[tuple[PreparedTask, ModelEntry]], options: BenchOptions, say: Say) -> list[Manifest]:
    _allow_many_files()
    done: dict[tuple[str, str], Manifest] = {}
    jobs = []
    with contextlib.ExitStack() as logs:
        async with Opening() as opening:
            for task, entry in pairs:
                try:
                    folder = options.results / task.file.name / entry.name
                    backend = open_backend(opening, task, entry, folder)
                except DataError as error:
                    say(f"skipped {entry.name} on {task.file.name}: {error}")
                    continue
                log = logs.enter_context(ResponseLog(folder))
                jobs.append(_job(task, entry, backend, log, options, done))
            entries = {entry.name: entry.model for _, entry in pairs}
            budget, brake = Budget(options.max_usd, entries), Brake()
            _refuse_unpriced(jobs, budget, options)
            with Progress(jobs, budget) as progress, interruptible(brake, progress.notice, _leave(jobs)):
                ended = await run(jobs, progress.watch, brake=brake, budget=budget, notice=progress.notice)
    for job in jobs:
        if job.stopped and job.stopped != ended and not (ended == INTERRUPTED and job.endpoint.endswith(BATCHES)):
            say(f"gave up {job.model} on {job.task}: {job.stopped}")
    if ended == INTERRUPTED:
        raise Interrupted(jobs)
    manifests = [done[job.task, job.model] for job in jobs if job.finished]
    if ended:
        raise CapReached(ended, manifests)
    return manifests


def _leave(jobs: Sequence[Job]) -> Callable[[], int]:
    """What gives up waiting for batches, and counts the rows in them."""

    def leave() -> int:
        waits = (getattr(job.backend, "leave", None) for job in jobs if job.endpoint.endswith(BATCHES))
        return sum(wait() for wait in waits if wait)

    return leave


def _untimed(save: Callable[[Response], None]) -> Callable[[Response], None]:
    """Save answers without a latency: how long a batch waits at the vendor says nothing about the model."""
    return lambda response: save(replace(response, latency_s=None))


def _refuse_unpriced(jobs: Sequence[Job], budget: Budget, options: BenchOptions) -> None:
    """See to it that the cap counts all that is to be asked; prices are looked up here, before the clock matters.

    Raises:
        UserError: it cannot, because a price is not known.
    """
    left = [job for job in jobs if job.pending and isinstance(budget.models[job.model], Sampled)]
    unpriced = dict.fromkeys(job.model for job in left if budget.price(job.model, job.task) is None)
    if options.max_usd is not None and unpriced:
        raise UserError(
            f"--max-usd cannot count {', '.join(unpriced)}, whose price is not known; in {options.models_file} give it "
            "'price: {input: …, output: …}', USD per million tokens, or 'gpu_per_hour' (0 for a server that costs "
            "nothing), or name other models with --model; nothing was asked"
        )


def _job(
    task: PreparedTask,
    entry: ModelEntry,
    backend: Backend,
    log: ResponseLog,
    options: BenchOptions,
    done: dict[tuple[str, str], Manifest],
) -> Job:
    """The rows of this pair that have no answer yet, with what to do when they have one."""
    file, model = task.file, entry.model
    settings = settings_of(backend, file)
    began, clock = now(), time.perf_counter()

    def unanswered() -> Iterator[tuple[str, Request]]:
        seen: set[str] = set()
        for row in read_rows(options.results, file.name, task.rows):
            key = response_key(settings, row.prompt)
            if key not in log and key not in seen:
                seen.add(key)
                yield key, request_for(file, row)

    async def finish() -> None:
        await backend.aclose()
        manifest = Manifest(
            task=file.name,
            model=entry.name,
            kind=task.origin.kind,
            place=task.origin.place,
            source=task.origin.label(task.n),
            spec=file.task,
            task_sha256=file.sha256,
            prompt_hash=digest(file.task.prompt),
            settings=settings,
            model_settings=entry.public(),
            price=price_of(model, file.name),
            dataset=described(task),
            rows=task.rows,
            n=task.n,
            seed=task.seed,
            versions=versions(),
            git=git_state(Path.cwd()),
            started=began,
            finished=now(),
            seconds=round(time.perf_counter() - clock, 3),
            asked=job.settled,
            trouble=dict(job.trouble),
            incomplete=job.left > options.max_failures * task.n,
            stopped=job.stopped,
            note=task.origin.note,
        )
        write_manifest(options.results, manifest)
        done[file.name, entry.name] = manifest

    pending = sum(1 for _ in unanswered())
    limits = Limits(model.concurrency, model.requests_per_minute, model.timeout, model.attempts)
    batch = in_batches(model)
    job = Job(
        task=file.name,
        model=entry.name,
        backend=backend,
        # A batch takes all rows at once and answers when it likes.
        endpoint=entry.endpoint + BATCHES if batch else entry.endpoint,
        limits=Limits(ALL_ROWS, None, math.inf, model.attempts) if batch else limits,
        requests=unanswered(),
        pending=pending,
        save=_untimed(log.append) if batch else log.append,
        finish=finish,
        proven=pending < task.n,
    )
    return job


def _allow_many_files() -> None:
    """Raise the soft limit on open files: each pair keeps two open, each request in flight one."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def retry(options: BenchOptions, say: Say) -> list[Manifest]:
    """Ask what failed, of the options' tasks and models or of all, and return the manifests of the pairs asked.

    The rows are those of each pair's last run, as they are stored, so the data need not be there. A pair whose model or
    prompt has changed since is left to `bench`, and so are baselines, whose training rows are not stored.

    Raises:
        UserError: a name or a file is wrong, or there is no run; nothing was asked.
        HarnessError: as `harness.ask.run.bench`.
    """
    entries = {entry.name: entry for entry in load_models(options.models_file, (), os.environ)}
    pairs = []
    whole = True
    for last in _last_runs(chosen_runs(options.results, options.tasks, options.models)):
        if missing := _missing(last, options):
            whole = False
            say(f"{last.source}: {last.task}, {last.model}: {missing} of {last.n} rows have no answer")
            try:
                pairs.append(_pair(last, entries, options))
            except UserError as error:
                say(f"left out {last.model} on {last.task}: {error}")
    if whole:
        say("every row of these runs has an answer")
    return ask_pairs(pairs, options, say) if pairs else []


def _last_runs(runs: Sequence[Manifest]) -> list[Manifest]:
    """The last run of each pair, of either kind of rows."""
    last = {(run.task, run.model): run for run in sorted(runs, key=lambda run: run.finished)}
    return [last[pair] for pair in sorted(last)]


def _missing(run: Manifest, options: BenchOptions) -> int:
    given = read_responses(options.results / run.task / run.model)
    answered = {line.key for line in given if line.status != "failed"}
    rows = read_rows(options.results, run.task, run.rows)
    return sum(response_key(run.settings, row.prompt) not in answered for row in rows)


def _pair(run: Manifest, entries: Mapping[str, ModelEntry], options: BenchOptions) -> tuple[PreparedTask, ModelEntry]:
    """The pair of a run as it can be asked again.

    Raises:
        UserError: it cannot, and why.
    """
    entry = entries.get(run.model)
    if entry is None:
        raise UserError(f"no such model in {options.models_file}{nearest(run.model, entries)}")
    if not entry.ready:
        raise UserError(f"it needs {entry.needs}")
    if entry.model.backend == "baseline":
        raise UserError("a baseline has to be fitted for it; run `harness bench`")
    file = load_task(options.tasks_folder, run.task)
    prepared = _prepared(run, file)
    if digest(file.task.prompt) != run.prompt_hash or asyncio.run(_settings(prepared, entry)) != run.settings:
        raise UserError("the model's settings or the task have changed since; run `harness bench`")
    return prepared, entry


def _prepared(run: Manifest, file: TaskFile) -> PreparedTask:
    """A run's task with the rows that were asked, from the manifest alone."""
    seen = run.dataset
    subset = Subset(
        rows=(),
        total=seen["rows"],
        repeated=seen["repeated"],
        in_training=seen["in_training"],
        fingerprint=seen["fingerprint"],
        training=seen["training_fingerprint"],
        borrowed=str(seen.get("baselines_fitted_on")).startswith("evaluation"),
    )
    origin = Origin(run.place, {}, run.note)
    return PreparedTask(file, Prompts(file), origin, subset, run.rows, run.n, seed=run.seed)


async def _settings(prepared: PreparedTask, entry: ModelEntry) -> str:
    async with Opening() as opening:
        try:
            return settings_of(open_backend(opening, prepared, entry), prepared.file)
        except DataError as error:
            raise UserError(str(error)) from None
