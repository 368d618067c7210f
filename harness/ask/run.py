"""One run, from names to recorded answers: load tasks and models, fix the rows, ask what is not answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.ask.attempts import Job, limits_of, now
from harness.ask.budget import Budget, CapReached
from harness.ask.fanout import run
from harness.ask.limiter import Brake
from harness.ask.prepare import (
    PreparedTask,
    described,
    open_backend,
    prepare_task,
    prepared_again,
    request_for,
    settings_of,
)
from harness.ask.progress import INTERRUPTED, Interrupted, Progress, interruptible
from harness.errors import DataError, UserError, nearest
from harness.models.backend import Backend, Request
from harness.models.connect import Connections
from harness.models.entry import ModelEntry, Sampled, load_models
from harness.models.prices import price_of
from harness.store.provenance import git_state, versions
from harness.store.results import (
    Manifest,
    Response,
    ResponseLog,
    answered_rows,
    chosen_runs,
    keyed_rows,
    write_manifest,
)
from harness.tasks.catalog import TaskFile, load_task, task_names


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


def bench(options: BenchOptions, say: Callable[[str], None]) -> list[Manifest]:
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


def ask_pairs(
    pairs: Sequence[tuple[PreparedTask, ModelEntry]], options: BenchOptions, say: Callable[[str], None]
) -> list[Manifest]:
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


def _prepare(file: TaskFile, options: BenchOptions, say: Callable[[str], None]) -> PreparedTask:
    strict = bool(options.tasks)
    prepared = prepare_task(options.results, file, options.data, options.seed, options.rows, strict=strict)
    fitted = "no training split, so baselines are fitted on its other rows" if prepared.subset.borrowed else None
    notes = "; ".join(note for note in (prepared.origin.note, fitted) if note)
    say(f"{prepared.origin.label(prepared.n)}: {file.name}, {prepared.n} rows" + (f" ({notes})" if notes else ""))
    return prepared


async def _ask(
    pairs: Sequence[tuple[PreparedTask, ModelEntry]], options: BenchOptions, say: Callable[[str], None]
) -> list[Manifest]:
    _allow_many_files()
    asked: list[PairRun] = []
    with contextlib.ExitStack() as logs:
        async with Connections() as connections:
            for task, entry in pairs:
                try:
                    folder = options.results / task.file.name / entry.name
                    backend = open_backend(connections, task, entry, folder)
                    connections.fetch(entry)
                except DataError as error:
                    say(f"skipped {entry.name} on {task.file.name}: {error}")
                    continue
                log = logs.enter_context(ResponseLog(folder))
                asked.append(PairRun(task, entry, backend, log, options))
            jobs = [pair.job for pair in asked]
            entries = {entry.name: entry.model for _, entry in pairs}
            budget, brake = Budget(options.max_usd, entries), Brake()
            _refuse_unpriced(jobs, budget, options)
            with Progress(jobs, budget) as progress, interruptible(brake, progress.notice):
                ended = await run(jobs, progress.watch, brake=brake, budget=budget, notice=progress.notice)
    for job in jobs:
        if job.stopped and job.stopped != ended:
            say(f"gave up {job.model} on {job.task}: {job.stopped}")
    if ended == INTERRUPTED:
        raise Interrupted(jobs)
    manifests = [pair.manifest for pair in asked if pair.manifest is not None]
    if ended:
        raise CapReached(ended, manifests)
    return manifests


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


class PairRun:
    """One model on one task in a run: the rows it has not answered yet, and what is recorded of them.

    Args:
        task: The task, whose rows are stored.
        entry: The model.
        backend: The way to reach it; closed by `finish`.
        log: Its answers to the task so far, open for more.
        options: Of the run.

    Attributes:
        job: What is asked of it.
        manifest: What the run was, once it is finished.
    """

    def __init__(
        self, task: PreparedTask, entry: ModelEntry, backend: Backend, log: ResponseLog, options: BenchOptions
    ) -> None:
        self.manifest: Manifest | None = None
        self._task, self._entry, self._backend, self._log, self._options = task, entry, backend, log, options
        self._settings = settings_of(backend, task.file)
        self._began, self._clock = now(), time.perf_counter()
        self.job = self._job()

    def unanswered(self) -> Iterator[tuple[str, Request]]:
        """Yield the key and the request of each row without an answer; rows with the same prompt are asked once."""
        file = self._task.file
        seen: set[str] = set()
        for key, row in keyed_rows(self._options.results, file.name, self._task.rows, self._settings):
            if key not in self._log and key not in seen:
                seen.add(key)
                yield key, request_for(file, row)

    def save(self, response: Response) -> None:
        """Keep an answer.

        Raises:
            OSError: it cannot be written.
        """
        self._log.append(response)

    async def finish(self) -> None:
        """Close the backend and record what the run was."""
        await self._backend.aclose()
        self.manifest = self._recorded()
        write_manifest(self._options.results, self.manifest)

    def _job(self) -> Job:
        task, model = self._task, self._entry.model
        pending = sum(1 for _ in self.unanswered())
        return Job(
            task=task.file.name,
            model=self._entry.name,
            backend=self._backend,
            endpoint=self._entry.endpoint,
            limits=limits_of(model),
            requests=self.unanswered(),
            pending=pending,
            save=self.save,
            finish=self.finish,
            answered_before=pending < task.n,
        )

    def _recorded(self) -> Manifest:
        task, file, job = self._task, self._task.file, self.job
        return Manifest(
            task=file.name,
            model=self._entry.name,
            kind=task.origin.kind,
            place=task.origin.place,
            source=task.origin.label(task.n),
            spec=file.task,
            task_sha256=file.sha256,
            prompt_hash=file.prompt_hash,
            settings=self._settings,
            model_settings=self._entry.public(),
            price=price_of(self._entry.model, file.name),
            dataset=described(task),
            rows=task.rows,
            n=task.n,
            seed=task.seed,
            versions=versions(),
            git=git_state(Path.cwd()),
            started=self._began,
            finished=now(),
            seconds=round(time.perf_counter() - self._clock, 3),
            asked=job.settled,
            trouble=dict(job.trouble),
            incomplete=job.left > self._options.max_failures * task.n,
            stopped=job.stopped,
            note=task.origin.note,
        )


def _allow_many_files() -> None:
    """Raise the soft limit on open files: each pair keeps two open, each request in flight one."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def retry(options: BenchOptions, say: Callable[[str], None]) -> list[Manifest]:
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
        if missing := _missing(last, options.results):
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


def _missing(run: Manifest, results: Path) -> int:
    """How many rows of a run have no answer."""
    answers = (response for _, response in answered_rows(results, run))
    return sum(response is None or response.status == "failed" for response in answers)


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
    prepared = prepared_again(run, file)
    if file.prompt_hash != run.prompt_hash or asyncio.run(_settings(prepared, entry)) != run.settings:
        raise UserError("the model's settings or the task have changed since; run `harness bench`")
    return prepared, entry


async def _settings(prepared: PreparedTask, entry: ModelEntry) -> str:
    async with Connections() as connections:
        try:
            return settings_of(open_backend(connections, prepared, entry), prepared.file)
        except DataError as error:
            raise UserError(str(error)) from None
