"""One run, from names to recorded answers: load tasks and models, fix the rows, ask what is not answered."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.asking import now
from harness.backends.base import Backend, Request
from harness.backends.opening import Opening
from harness.data.origin import Origin, locate
from harness.data.subset import EvaluationRow, Subset, choose, digest, training_rows
from harness.errors import DataError, UserError
from harness.fanout import Brake, run
from harness.interrupt import INTERRUPTED, Interrupted, interruptible
from harness.jobs import Job, Limits
from harness.progress import Progress
from harness.prompts import Prompts
from harness.provenance import git_state, versions
from harness.spec.catalog import ModelEntry, TaskFile, load_models, load_task, task_names
from harness.spec.model import OpenAIModel, Sampled
from harness.spending import Budget, CapReached
from harness.store import Manifest, ResponseLog, read_rows, response_key, write_manifest, write_rows

Say = Callable[[str], None]
ALL_ROWS = 1_000_000
_PROBE = "\x00prompt\x00"


@dataclass(frozen=True, slots=True)
class Options:
    """What a user asks of `harness bench`. Empty `tasks` or `models` mean all there are."""

    tasks: tuple[str, ...]
    models: tuple[str, ...]
    data: str | None
    rows: int | None
    seed: int
    models_file: Path
    tasks_folder: Path
    results: Path
    max_usd: float | None = None
    max_failures: float = 0.02


@dataclass(frozen=True, slots=True)
class Prepared:
    """A task whose `n` rows are fixed and stored under the fingerprint `rows`; `subset` is without the rows.

    `evaluated` holds their ids where baselines are fitted on other rows of the same split.
    """

    file: TaskFile
    prompts: Prompts
    origin: Origin
    subset: Subset
    rows: str
    n: int
    evaluated: frozenset[str] = frozenset()
    seed: int = 0


def bench(options: Options, say: Say) -> list[Manifest]:
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
    entries = [entry for entry in entries if not entry.unset]
    if not entries:
        raise UserError(f"{options.models_file}: no model can be asked: none has its key and address set")
    names = options.tasks or tuple(task_names(options.tasks_folder))
    files = [load_task(options.tasks_folder, name) for name in dict.fromkeys(names)]
    prepared = [_prepare(file, options, say) for file in files]
    if skipped:
        say(skipped)
    return ask_pairs([(task, entry) for task in prepared for entry in entries], options, say)


def ask_pairs(pairs: Sequence[tuple[Prepared, ModelEntry]], options: Options, say: Say) -> list[Manifest]:
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
        if entry.unset:
            by_need.setdefault(" and ".join(entry.unset), []).append(entry.name)
    needs = (f"{', '.join(names)} (set {variables})" for variables, names in by_need.items())
    return f"not asked: {'; '.join(needs)}" if by_need else ""


def settings_of(backend: Backend, file: TaskFile) -> str:
    """Return the hash of everything but the prompt that determines a model's answers to a task."""
    request = Request(file.name, _PROBE, _PROBE, file.task.max_tokens, tuple(file.task.stop))
    return digest(repr(sorted(backend.identity.items())), repr(backend.body(request)))


def prepare_rows(
    file: TaskFile, data: str | None, seed: int, rows: int | None = None, *, strict: bool = True
) -> tuple[Prepared, tuple[EvaluationRow, ...]]:
    """Choose a task's evaluation rows; return the task with them, and them.

    Raises:
        UserError: the rows cannot be had or rendered.
    """
    prompts = Prompts(file)
    origin = locate(file, data, strict=strict)
    subset = choose(file, prompts, origin, seed, rows)
    evaluated = frozenset(row.id for row in subset.rows) if subset.borrowed else frozenset()
    prepared = Prepared(file, prompts, origin, replace(subset, rows=()), "", len(subset.rows), evaluated, seed)
    return prepared, subset.rows


def request_for(file: TaskFile, row: EvaluationRow) -> Request:
    """The request that asks a row of a task."""
    return Request(file.name, row.id, row.prompt, file.task.max_tokens, tuple(file.task.stop))


def _prepare(file: TaskFile, options: Options, say: Say) -> Prepared:
    prepared, rows = prepare_rows(file, options.data, options.seed, options.rows, strict=bool(options.tasks))
    fitted = "no training split, so baselines are fitted on its other rows" if prepared.subset.borrowed else None
    notes = "; ".join(note for note in (prepared.origin.note, fitted) if note)
    say(f"{prepared.origin.label(prepared.n)}: {file.name}, {prepared.n} rows" + (f" ({notes})" if notes else ""))
    # From here on the rows are read from disk, one at a time, so that memory does not grow with them.
    return replace(prepared, rows=write_rows(options.results, file.name, rows))


async def _ask(pairs: Sequence[tuple[Prepared, ModelEntry]], options: Options, say: Say) -> list[Manifest]:
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
            entries = {entry.name: entry for _, entry in pairs}
            budget, brake = _budget(list(entries.values()), options, say), Brake()
            with Progress(jobs, budget) as progress, interruptible(brake, progress.notice):
                ended = await run(jobs, progress.watch, brake=brake, budget=budget, notice=progress.notice)
    for job in jobs:
        if job.stopped and job.stopped != ended:
            say(f"gave up {job.model} on {job.task}: {job.stopped}")
    if ended == INTERRUPTED:
        raise Interrupted(jobs)
    manifests = [done[job.task, job.model] for job in jobs if job.finished]
    if ended:
        raise CapReached(ended, manifests)
    return manifests


def _budget(entries: Sequence[ModelEntry], options: Options, say: Say) -> Budget:
    """The prices of the models that are asked; says so when the cap cannot count some of them."""
    served = {entry.name: entry.model for entry in entries if isinstance(entry.model, Sampled)}
    unpriced = [name for name, model in served.items() if model.price is None]
    if options.max_usd is not None and unpriced:
        say(f"--max-usd does not count {', '.join(unpriced)}: no price in {options.models_file}")
    prices = {name: model.price for name, model in served.items() if model.price}
    max_tokens = {name: model.max_tokens for name, model in served.items() if model.max_tokens}
    return Budget(options.max_usd, prices, max_tokens)


def open_backend(opening: Opening, task: Prepared, entry: ModelEntry, folder: Path | None = None) -> Backend:
    """Open a model for a prepared task, with the folder of its results where batches are to be sent.

    Raises:
        DataError: a baseline has no training rows, or recorded answers cannot be read.
    """
    return opening.backend(
        entry,
        task.file.name,
        classify=task.file.task.answer.type == "label",
        fingerprint=task.subset.training,
        training=lambda: training_rows(task.file, task.prompts, task.origin, task.evaluated),
        folder=folder,
    )


def _job(
    task: Prepared,
    entry: ModelEntry,
    backend: Backend,
    log: ResponseLog,
    options: Options,
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
            dataset=_dataset(task),
            rows=task.rows,
            n=task.n,
            seed=task.seed,
            versions=versions(),
            git=git_state(),
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
    batch = isinstance(model, OpenAIModel) and model.batch
    job = Job(
        task=file.name,
        model=entry.name,
        backend=backend,
        # A batch takes all rows at once and answers when it likes.
        endpoint=f"{entry.endpoint} (batches)" if batch else entry.endpoint,
        limits=Limits(ALL_ROWS, None, math.inf, model.attempts) if batch else limits,
        requests=unanswered(),
        pending=pending,
        save=log.append,
        finish=finish,
        proven=pending < task.n,
    )
    return job


def _dataset(task: Prepared) -> dict[str, object]:
    spec, subset = task.file.task.dataset, task.subset
    return {
        "hub": spec.hub,
        "config": spec.config,
        "revision": spec.revision,
        "split": task.file.task.evaluation.split,
        "fingerprint": subset.fingerprint,
        "training_fingerprint": subset.training,
        "baselines_fitted_on": "evaluation split, rows not evaluated" if subset.borrowed else "training split",
        "rows": subset.total,
        "repeated": subset.repeated,
        "in_training": subset.in_training,
    }


def _allow_many_files() -> None:
    """Raise the soft limit on open files: each pair keeps two open, each request in flight one."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
