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
from harness.data.subset import digest
from harness.errors import DataError, UserError
from harness.fanout import Brake, run
from harness.interrupt import INTERRUPTED, Interrupted, interruptible
from harness.jobs import Job, Limits
from harness.preparing import Prepared, described, open_backend, request_for, select_rows, settings_of
from harness.prices import price_of
from harness.progress import Progress
from harness.provenance import git_state, versions
from harness.spec.catalog import ModelEntry, TaskFile, load_models, load_task, task_names
from harness.spec.model import Sampled, in_batches
from harness.spending import Budget, CapReached
from harness.store import Manifest, Response, ResponseLog, read_rows, response_key, write_manifest, write_rows

Say = Callable[[str], None]
ALL_ROWS = 1_000_000  # in flight at once: a batch takes all rows there are
BATCHES = " (batches)"


@dataclass(frozen=True, slots=True)
class Options:
    """What a user asks of `harness bench`. Empty `tasks` or `models` mean all there are."""

    tasks: tuple[str, ...]
    models: tuple[str, ...]
    models_file: Path
    tasks_folder: Path
    results: Path
    data: str | None = None
    rows: int | None = None
    seed: int = 0
    max_usd: float | None = None
    max_failures: float = 0.02


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


def _prepare(file: TaskFile, options: Options, say: Say) -> Prepared:
    prepared, rows = select_rows(file, options.data, options.seed, options.rows, strict=bool(options.tasks))
    fitted = "no training split, so baselines are fitted on its other rows" if prepared.subset.borrowed else None
    notes = "; ".join(note for note in (prepared.origin.note, fitted) if note)
    say(f"{prepared.origin.label(prepared.n)}: {file.name}, {prepared.n} rows" + (f" ({notes})" if notes else ""))
    # Rows are written as they are rendered, and from here on read from disk one at a time: memory stays flat.
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


def _refuse_unpriced(jobs: Sequence[Job], budget: Budget, options: Options) -> None:
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
