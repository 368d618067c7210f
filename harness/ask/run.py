"""One run, from names to recorded answers: load tasks and models, fix the rows, ask what is not answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
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
    prune_of,
    request_for,
    settings_of,
)
from harness.ask.progress import INTERRUPTED, Interrupted, Progress, interruptible
from harness.errors import DataError, UserError, nearest
from harness.models.backend import Backend, Request
from harness.models.connect import Connections
from harness.models.entry import ModelEntry, Sampled, load_models, samples_of
from harness.models.prices import price_of
from harness.models.proof import CHANGED, Proof, has_fingerprint, prove
from harness.models.served import may_be_trained_again, stamp
from harness.secrets import SHORTEST_IN_ANSWERS, masked
from harness.shipped import TaskFolders
from harness.store.provenance import git_state, versions
from harness.store.results import (
    Manifest,
    Response,
    ResponseLog,
    answered_rows,
    chosen_runs,
    keyed_rows,
    last_served,
    write_manifest,
)
from harness.store.running import RunningPair, running, size_of
from harness.tasks.catalog import TaskFile, load_task, task_names

SKIPPED, GAVE_UP = "skipped ", "gave up "
"""What is said of a model that was not asked a task, or not to its end, begins with one of them."""
PROVEN_FOR_S = 600.0
"""Seconds after which a server may have put another adapter in an adapter's place, so that it is asked again."""


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What a user asks of `harness bench`. Empty `tasks` or `models` mean all there are."""

    tasks: tuple[str, ...]
    models: tuple[str, ...]
    models_file: Path
    tasks_folder: TaskFolders
    results: Path
    data: str | None = None
    rows: int | None = None
    seed: int = 0
    max_usd: float | None = None
    max_failures: float = 0.02
    proof: bool = True


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
    pairs: Sequence[tuple[PreparedTask, ModelEntry]],
    options: BenchOptions,
    say: Callable[[str], None],
    budget: Budget | None = None,
) -> list[Manifest]:
    """Ask what these pairs have not answered, and return the manifests of those that were; the rows are stored.

    Of the options only the files, the results folder and the limits count. A `budget` that several calls share stands
    for `options.max_usd`.

    Raises:
        HarnessError: as `bench`.
        KeyboardInterrupt: as `bench`.
    """
    try:
        return asyncio.run(_ask(pairs, options, say, budget))
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
    pairs: Sequence[tuple[PreparedTask, ModelEntry]],
    options: BenchOptions,
    say: Callable[[str], None],
    budget: Budget | None,
) -> list[Manifest]:
    _allow_many_files()
    began = now()
    asked: list[PairRun] = []
    secrets = tuple(dict.fromkeys(secret for _, entry in pairs for secret in entry.model.secrets))
    say = _masking(say, secrets)
    with contextlib.ExitStack() as logs:
        async with Connections() as connections:
            for task, entry in pairs:
                try:
                    folder = options.results / task.file.name / entry.name
                    backend = open_backend(connections, task, entry, folder)
                    connections.fetch(entry)
                except DataError as error:
                    say(f"{SKIPPED}{entry.name} on {task.file.name}: {error}")
                    continue
                log = logs.enter_context(ResponseLog(folder))
                served = await served_now(connections, task, entry, options.results, say)
                asked.append(PairRun(task, entry, backend, log, options, served, secrets))
                asked[-1].adopt(connections)
                if options.proof:
                    await asked[-1].prove(connections, say)
            jobs = [pair.job for pair in asked]
            budget = budget or Budget(options.max_usd, {entry.name: entry.model for _, entry in pairs})
            brake = Brake()
            _refuse_unpriced(jobs, budget, options)
            under_way = running(options.results, began, [pair.under_way for pair in asked])
            with under_way, Progress(jobs, budget) as progress, interruptible(brake, progress.notice):
                notice = _masking(progress.notice, secrets)
                ended = await run(jobs, progress.watch, brake=brake, budget=budget, notice=notice)
    for job in jobs:
        if job.stopped and job.stopped != ended:
            say(f"{GAVE_UP}{job.model} on {job.task}: {job.stopped}")
    if ended == INTERRUPTED:
        raise Interrupted(jobs)
    manifests = [pair.manifest for pair in asked if pair.manifest is not None]
    if ended:
        raise CapReached(ended, manifests)
    return manifests


def _masking(say: Callable[[str], None], secrets: Sequence[str]) -> Callable[[str], None]:
    """Return `say` for lines that may hold secrets."""
    return lambda line: say(masked(line, secrets))


async def served_now(
    connections: Connections, task: PreparedTask, entry: ModelEntry, results: Path, say: Callable[[str], None]
) -> str | None:
    """Return what stands for the weights that a model's server has now; what it last said while it does not tell.

    None where it never told. A change is said.
    """
    if not may_be_trained_again(entry.model):
        return None
    last = last_served(results / task.file.name / entry.name)
    now_ = await stamp(connections.transport, entry.model, task.file.name)
    if last and now_ and last != now_:
        say(f"{entry.name} on {task.file.name}: its server has other weights than before; all rows are asked again")
    return now_ or last


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
    priced = {
        job.model for job in left if (price := budget.price(job.model, job.task)) and price.price and not price.free
    }
    endless = dict.fromkeys(job.model for job in left if job.model in priced and not budget.limited(job.model))
    if options.max_usd is not None and endless:
        raise UserError(
            f"--max-usd cannot be kept for {', '.join(endless)}: with `omit: [max_tokens]`, or a limit in extra that "
            f"is no positive number, an answer may be of any length; in {options.models_file} take max_tokens out of "
            "omit, set max_tokens_key: max_completion_tokens, or give a limit under the server's own name in extra; "
            "nothing was asked"
        )


class PairRun:
    """One model on one task in a run: the rows it has not answered yet, and what is recorded of them.

    Args:
        task: The task, whose rows are stored.
        entry: The model.
        backend: The way to reach it; closed by `finish`.
        log: Its answers to the task so far, open for more.
        options: Of the run.
        served: What stands for the weights under its name, where its server tells.
        secrets: What nothing that is recorded may hold.

    Attributes:
        job: What is asked of it.
        manifest: What the run was, once it is finished.
    """

    def __init__(
        self,
        task: PreparedTask,
        entry: ModelEntry,
        backend: Backend,
        log: ResponseLog,
        options: BenchOptions,
        served: str | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        self.manifest: Manifest | None = None
        self._task, self._entry, self._backend, self._log, self._options = task, entry, backend, log, options
        self._served, self._secrets = served, secrets
        self._samples = samples_of(entry.model)
        self._proof: Proof | None = None
        self._proof_after: Proof | None = None
        self._ask_proof: Callable[[], Awaitable[Proof | None]] | None = None
        self._prune = prune_of(entry, task.file.name)
        pruned = self._prune.digest if self._prune else None
        self._settings = settings_of(backend, task.file, entry.model.revision, served, pruned)
        self._began, self._clock = now(), time.perf_counter()
        self.job = self._job()

    def adopt(self, connections: Connections) -> None:
        """Take over answers that are kept under the key of earlier versions.

        These hashed the values of variables, not their names, and did not ask a server for its weights.
        """
        if last_served(self._options.results / self._task.file.name / self._entry.name) not in (None, self._served):
            return
        if self._prune is not None:  # which earlier versions did not know
            return
        file, revision = self._task.file, self._entry.model.revision
        unnamed = replace(self._entry, model=self._entry.model.unnamed())
        earlier = {
            settings_of(open_backend(connections, self._task, unnamed), file, revision),
            settings_of(self._backend, file, revision),
        } - {self._settings}
        rows = partial(keyed_rows, self._options.results, file.name, self._task.rows)
        renamed = {
            old: new
            for settings in earlier
            for (_, [old]), (_, [new]) in zip(rows(settings), rows(self._settings), strict=True)
        }
        if self._log.adopt(renamed):
            self.job = self._job()

    async def prove(self, connections: Connections, say: Callable[[str], None]) -> None:
        """See to it that a server applies the adapter it is asked for, before it is asked; else nothing is asked."""
        name, task = self._entry.name, self._task.file.name
        if self.job.pending == 0 or not has_fingerprint(self._entry.model):
            return
        self._ask_proof = partial(prove, connections.transport, self._entry.model, task)
        try:
            self._proof = proof = await self._ask_proof()
        except DataError as error:
            self.job.stopped = f"{error}; ask without a proof with --no-proof"
            return
        say(f"{name} on {task}: {proof}")
        if proof is not None and proof.trouble:
            self.job.stopped = f"{proof.trouble}; ask all the same with --no-proof"

    @property
    def under_way(self) -> RunningPair:
        """What those who watch the run are told of it at its beginning."""
        task, model = self._task.file.name, self._entry.name
        wanted, size = self._task.n * self._samples, size_of(self._options.results, task, model)
        return RunningPair(task, model, wanted, self.job.pending, size)

    def unanswered(self) -> Iterator[tuple[str, Request]]:
        """Yield the key and the request of each answer that is missing; rows with the same prompt are asked once."""
        file = self._task.file
        seen: set[str] = set()
        for row, keys in keyed_rows(self._options.results, file.name, self._task.rows, self._settings, self._samples):
            for sample, key in enumerate(keys):
                if key not in self._log and key not in seen:
                    seen.add(key)
                    yield key, request_for(file, row, sample, self._prune)

    def save(self, response: Response) -> None:
        """Keep an answer.

        Raises:
            OSError: it cannot be written.
        """
        hide = partial(masked, secrets=self._secrets)
        completion = masked(response.completion, self._secrets, SHORTEST_IN_ANSWERS)
        error = None if response.error is None else hide(response.error)
        model = None if response.model is None else hide(response.model)
        self._log.append(replace(response, completion=completion, error=error, model=model))

    async def finish(self) -> None:
        """Close the backend and record what the run was, after a long one with a second proof of its adapter."""
        if self._ask_proof and not self.job.stopped and time.perf_counter() - self._clock > PROVEN_FOR_S:
            with contextlib.suppress(DataError):  # the fingerprint was removed meanwhile
                self._proof_after = proof = await self._ask_proof()
                if proof is not None and proof.trouble:
                    self.job.stopped = f"{CHANGED}: {proof.trouble}"
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
            served=self._entry.served(task.file.name),
            answered_before=pending < task.n * self._samples,
            failed_before=self._log.failed,
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
            incomplete=job.left > self._options.max_failures * task.n * self._samples,
            stopped=None if job.stopped is None else masked(job.stopped, self._secrets),
            served=self._served,
            proof=asdict(self._proof) if self._proof else None,
            proof_after=asdict(self._proof_after) if self._proof_after else None,
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
            say(f"{last.source}: {last.task}, {last.model}: {missing} of {last.n * last.samples} rows have no answer")
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
    """How many answers of a run are missing."""
    answers = (response for _, of_row in answered_rows(results, run) for response in of_row)
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
    if entry.model.backend in ("baseline", "column"):
        raise UserError(f"a {entry.model.backend} needs the data; run `harness bench`")
    file = load_task(options.tasks_folder, run.task)
    prepared = prepared_again(run, file)
    if file.prompt_hash != run.prompt_hash or run.settings not in asyncio.run(_settings(prepared, entry, run.served)):
        raise UserError("the model's settings or the task have changed since; run `harness bench`")
    return prepared, entry


async def _settings(prepared: PreparedTask, entry: ModelEntry, served: str | None) -> set[str]:
    """The settings of a pair, as they are hashed now and were by earlier versions."""
    entries = (entry, replace(entry, model=entry.model.unnamed()))
    prune = prune_of(entry, prepared.file.name)
    stamps = entry.model.revision, served, prune.digest if prune else None
    async with Connections() as connections:
        try:
            opened = [open_backend(connections, prepared, one) for one in entries]
            return {settings_of(backend, prepared.file, *stamps) for backend in opened}
        except DataError as error:
            raise UserError(str(error)) from None
