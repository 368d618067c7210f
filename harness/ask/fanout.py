"""Asking: all models at once, within the limits of each endpoint, until each row is answered or has failed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

from harness.ask.attempts import Attempts, Job, answer, endpoint_limits, failure
from harness.ask.budget import Budget
from harness.ask.limiter import Brake, EndpointLimiter, Gate, GiveUpAfter, Notice, Stopped
from harness.ask.scope import refuses_all, reject, settle
from harness.errors import AskError, BadReply, HarnessError, ModelRejected, Throttled, Unavailable
from harness.models.backend import ListBackend, Reply, Request
from harness.store.results import Lost, Response, lost_in_all


@dataclass(slots=True)
class _Run:
    """What all endpoints of a run share."""

    watch: Callable[[Job, Response], None]
    brake: Brake
    budget: Budget
    give_up: GiveUpAfter
    notice: Notice
    group: asyncio.TaskGroup
    unsaved: list[tuple[Job, Response]] = field(default_factory=list)


class _Endpoint:
    """One server with the jobs that share it.

    There is a worker for each request that may be in flight. A row that waits for its next attempt keeps its worker, so
    another is hired in its place, up to twice the number; rows of models that rest, or have failed and nothing was
    answered since, do not count. While a model rests, the next one is asked; where there is none, a few more of its own
    rows, since those that wait may be at fault.
    """

    def __init__(self, name: str, jobs: Sequence[Job], run: _Run) -> None:
        self.jobs = jobs
        self.run = run
        self.workers = 0
        self._left = list(jobs)
        self._most, rate = endpoint_limits(job.limits for job in jobs)
        self._limiters: dict[str, EndpointLimiter] = {}
        gate = Gate(name, self._most, rate, run.give_up, run.notice)
        served = dict.fromkeys(job.served for job in jobs)
        for model in served:
            shown = f"{model} at {name}" if len(served) > 1 else name
            limiter = EndpointLimiter(shown, gate)
            self._limiters[model] = limiter
            run.brake.connect(limiter)

    def limiter(self, job: Job) -> EndpointLimiter:
        """The limits of a job's model."""
        return self._limiters[job.served]

    def begin(self) -> None:
        """Put the first workers to work."""
        for _ in range(min(self._most, sum(job.pending for job in self.jobs))):
            self.hire()

    def hire(self) -> None:
        """Add a worker, if there may be one more and there is work for it."""
        if not self._left:
            return
        resting = sum(job.in_flight for job in self.jobs if self.limiter(job).resting)
        if all(self.limiter(job).resting for job in self._left):
            resting = min(resting, self.run.give_up.first_rows)
        failing = max(self.limiter(job).failing for job in self._left)
        if self.workers < 2 * self._most + max(resting, failing):
            self.workers += 1
            self.run.group.create_task(_work(self))

    def next(self) -> tuple[Job, str, Request] | None:
        """Take the next row. One job is emptied before the next begins, so that finished tasks come early."""
        while self._left:
            job = next((job for job in self._left if not self.limiter(job).resting), self._left[0])
            given_up = job.stopped or self.limiter(job).stopped is not None
            item = None if given_up else next(job.requests, None)
            if item is not None:
                job.in_flight += 1
                return job, *item
            self._left.remove(job)
        return None


async def run(
    jobs: Sequence[Job],
    watch: Callable[[Job, Response], None],
    *,
    brake: Brake | None = None,
    budget: Budget | None = None,
    give_up: GiveUpAfter | None = None,
    notice: Notice = lambda line: None,
) -> str | None:
    """Ask all jobs, each endpoint on its own, and save every response as it arrives.

    Never more requests are in memory than twice those that may be in flight. A model whose key, name or address is
    refused is stopped (`Job.stopped`) while the others go on; so are all models of an endpoint that stays down.

    Args:
        jobs: What to ask.
        watch: Gets every response once it is saved.
        brake: To end the run early from outside.
        budget: What may be spent.
        give_up: When to give up what.
        notice: Gets a line when an endpoint goes down or comes back.

    Returns:
        None, or why the run was ended early, by the brake or the budget. A job that had not begun by then is not
        finished.

    Raises:
        HarnessError: an answer could not be saved. What was in flight has been waited for.
    """
    brake = brake or Brake()
    for job in jobs:
        if job.pending == 0:
            await _finish(job, brake)
    with _few_collections():
        async with asyncio.TaskGroup() as group:
            shared = _Run(watch, brake, budget or Budget(None), give_up or GiveUpAfter(), notice, group)
            for name, members in _by_endpoint(jobs).items():
                _Endpoint(name, members, shared).begin()
            lists = [job for job in jobs if job.pending and isinstance(job.backend, ListBackend)]
            for job in lists:
                task = group.create_task(_ask_lists(job, lists, shared))
                shared.brake.connect_list(task, _in_flight(job))
    lost = sum(not _save(shared, job, response) for job, response in shared.unsaved)
    for job in jobs:
        if not job.finished and (brake.reason is None or job.settled):
            await _finish(job, brake)
    if brake.error:
        raise HarnessError(f"{brake.error}; {lost} answers in flight are lost") if lost else brake.error
    return brake.reason


@contextlib.contextmanager
def _few_collections() -> Iterator[None]:
    """Collect garbage less often, and only among new objects: it takes a quarter of a request's CPU otherwise."""
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def _by_endpoint(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    shared: dict[str, list[Job]] = {}
    for job in jobs:
        if job.pending and not isinstance(job.backend, ListBackend):
            shared.setdefault(job.endpoint, []).append(job)
    return shared


async def _work(endpoint: _Endpoint) -> None:
    run = endpoint.run
    try:
        while (item := endpoint.next()) is not None:
            job, key, request = item
            response = await _settle(endpoint, job, key, request)
            job.in_flight -= 1
            if response is not None and not _save(run, job, response):
                run.unsaved.append((job, response))
            if job.in_flight == 0 and (job.stopped or job.settled == job.pending):
                await _finish(job, run.brake)
            # A model that runs in this process never waits for anything; the others get their turn here.
            await asyncio.sleep(0)
    except HarnessError as error:
        run.brake.pull(str(error), error)


async def _settle(endpoint: _Endpoint, job: Job, key: str, request: Request) -> Response | None:
    """Ask a row until it is answered or has failed; None when it stays unanswered, to be asked by the next run."""
    run = endpoint.run
    budget = run.budget
    worst = budget.worst_case(job.model, request)
    if not await budget.reserve(job.model, worst, alone=True):
        run.brake.pull(budget.explanation())
        return None

    def lost(error: AskError) -> None:
        # The row's own reservation stands for its next attempt, which must still fit beside this one.
        _charge(run, job, worst, error, most())

    most = partial(budget.lost_tokens, job.model, request)
    row = Attempts(job, key, request, endpoint.limiter(job), run.give_up, endpoint.hire, lost, most)
    spent = 0.0
    try:
        reply = await row.ask()
        spent = budget.cost(job.model, request, reply)
        return row.response(reply)
    except Stopped as stopped:
        _give_up(endpoint)
        # The row stays as it is, but for what was paid for it.
        return row.failure(Unavailable(str(stopped))) if row.lost else None
    except Exception as error:  # noqa: BLE001  the edge: one request's failure must never end the others
        if refuses_all(job, error):
            reject(endpoint.jobs, job, str(error))
            return row.failure(error) if row.lost else None
        job.unserved += row.last_hope and isinstance(error, (Throttled, Unavailable, BadReply))
        return row.failure(error)
    finally:
        budget.book(job.model, worst, spent)


def _charge(run: _Run, job: Job, worst: float, error: AskError, most: tuple[int, int]) -> tuple[int, int]:
    """Book an attempt that may have been charged, and return its tokens; `most` where the server does not tell them."""
    usage = error.usage or most
    if not run.budget.charge_lost(job.model, job.task, worst, usage, counted=error.usage is not None):
        run.brake.pull(run.budget.explanation())
    return usage


async def _ask_lists(job: Job, jobs: Sequence[Job], run: _Run) -> None:
    """Ask a job's rows as lists, each as long as the budget allows: one list where there is no cap.

    `jobs` are all that are asked in this way.
    """
    try:
        while not job.stopped and run.brake.reason is None and (rows := await _affordable(job, run)):
            await _ask_list(job, jobs, rows, run)
        if job.stopped or job.settled == job.pending:
            await _finish(job, run.brake)
    except HarnessError as error:
        run.brake.pull(str(error), error)


async def _affordable(job: Job, run: _Run) -> dict[Request, tuple[str, float]]:
    """Take the next rows, as many as the budget allows; return their requests with their keys and worst cases in USD.

    When nothing fits any more, the brake is pulled and nothing is returned.
    """
    rows: dict[Request, tuple[str, float]] = {}
    for key, request in job.requests:
        worst = run.budget.worst_case(job.model, request)
        if rows and not run.budget.fits(job.model, worst):
            job.requests = chain([(key, request)], job.requests)
            break
        if not await run.budget.reserve(job.model, worst):
            run.brake.pull(run.budget.explanation())
            break
        rows[request] = key, worst
        job.in_flight += 1
        await asyncio.sleep(0)  # there may be many, and others wait for their answers
    return rows


async def _ask_list(job: Job, jobs: Sequence[Job], rows: dict[Request, tuple[str, float]], run: _Run) -> None:
    """Ask rows as one list, and save each as its answer comes. Answers that are not saved are collected again."""
    assert isinstance(job.backend, ListBackend)
    lost: dict[Request, Lost] = {}
    try:
        async with contextlib.aclosing(job.backend.ask_all(list(rows))) as outcomes:
            async for request, outcome in outcomes:
                if isinstance(outcome, AskError) and outcome.charged:
                    most = run.budget.lost_tokens(job.model, request)
                    read, written = _charge(run, job, rows[request][1], outcome, most)
                    lost[request] = lost_in_all(lost.get(request), (read, written, 0.0))
                if isinstance(outcome, AskError) and not outcome.final:
                    continue
                key, worst = rows.pop(request)
                job.in_flight -= 1
                spent = run.budget.cost(job.model, request, outcome) if isinstance(outcome, Reply) else 0.0
                run.budget.book(job.model, worst, spent)
                response = _listed(job, jobs, key, request, outcome, lost.pop(request, None))
                if response is not None and not _save(run, job, response):
                    return
    except ModelRejected as error:
        reject(jobs, job, str(error))
    except Exception as error:  # noqa: BLE001  the edge: what goes wrong in one backend must never end the others
        job.stopped = f"{type(error).__name__}: {error}"
    finally:
        for _, worst in rows.values():
            job.in_flight -= 1
            run.budget.book(job.model, worst, 0.0)


def _in_flight(job: Job) -> Callable[[], int]:
    """Return a function that counts the rows of a job that are in flight."""
    return lambda: job.in_flight


def _listed(
    job: Job, jobs: Sequence[Job], key: str, request: Request, outcome: Reply | AskError, lost: Lost | None
) -> Response | None:
    """Return the response of a row of a list; None when it stays unanswered, to be asked by the next run."""
    if isinstance(outcome, Reply):
        # How long a list waits at the vendor says nothing about the model.
        return replace(answer(key, request, outcome, latency_s=None, attempts=1), lost=lost)
    job.count_trouble(outcome)
    if refuses_all(job, outcome):
        reject(jobs, job, str(outcome))
        if lost is None:
            return None
    return replace(failure(key, request, outcome, attempts=1), lost=lost)


def _save(run: _Run, job: Job, response: Response) -> bool:
    """Save a response and count it; False, with the brake pulled, when it cannot be saved."""
    try:
        job.save(response)
    except OSError as error:
        reason = f"the answers of {job.model} on {job.task} cannot be written ({error.strerror})"
        message = f"{reason}; asking has stopped, answers so far are saved. Fix that and run the same command to resume"
        run.brake.pull(reason, HarnessError(message))
        return False
    settle(job, response, run.give_up.first_rows)
    run.watch(job, response)
    return True


def _give_up(endpoint: _Endpoint) -> None:
    """Stop all jobs whose model, or endpoint, has been given up."""
    for job in endpoint.jobs:
        reason = endpoint.limiter(job).stopped
        if endpoint.run.brake.reason is None and reason is not None and not job.finished and not job.stopped:
            job.stopped = f"{reason}; {job.left} rows stay unanswered until the next run"


async def _finish(job: Job, brake: Brake) -> None:
    job.finished = True
    if job.settled < job.pending and not job.stopped:
        job.stopped = brake.reason
    await job.finish()
