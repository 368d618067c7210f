"""How far a run is, on stderr: a live display on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from harness.ask.attempts import Job, Trouble
from harness.ask.budget import Budget
from harness.ask.limiter import Brake
from harness.errors import HarnessError
from harness.printable import printable
from harness.store.results import Response

if TYPE_CHECKING:
    from rich.progress import Progress as Live


INTERRUPTED = "interrupted"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_FRAMES = 0.1


_WORDS: dict[Trouble, str] = {
    "throttled": "asked to slow down",
    "unavailable": "unavailable",
    "malformed": "malformed",
    "rejected": "rejected",
}


class Progress:
    """Counts responses as they arrive; open it around the asking.

    Args:
        jobs: What is asked.
        budget: What it costs.
        every: Seconds between two lines where there is no terminal.
    """

    def __init__(self, jobs: Sequence[Job], budget: Budget, every: float = SECONDS_BETWEEN_LINES) -> None:
        self._jobs, self._budget, self._every = jobs, budget, every
        self._total = sum(job.pending for job in jobs)
        self._done = self._failed = 0
        self._started = self._shown = time.monotonic()
        self._live = self._display() if self._total and sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        elif self._shown > self._started:
            self.notice(self.line())

    def watch(self, job: Job, response: Response) -> None:
        """Count one response."""
        self._done += 1
        self._failed += response.status == "failed"
        now = time.monotonic()
        if now - self._shown < (SECONDS_BETWEEN_FRAMES if self._live else self._every):
            return
        self._shown = now
        if self._live:
            self._live.update(self._task, completed=self._done, note=self._note())
        else:
            self.notice(self.line())

    def notice(self, line: str) -> None:
        """Show a line that stays."""
        if self._live:
            self._live.console.print(printable(line), markup=False, highlight=False)
            return
        # When nobody reads stderr any more, the asking goes on all the same.
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)

    def line(self) -> str:
        """How far the run is, in a line."""
        rate = self._rate()
        left = f", {(self._total - self._done) / rate:.0f} s left" if rate else ""
        return f"{self._done}/{self._total} answers, {self._note()}{left}"

    def _display(self) -> Live:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        live = Progress(
            TextColumn("asking"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(file=getattr(sys.stderr, "unfiltered", sys.stderr)),  # its own codes are wanted
            transient=True,
        )
        self._task = live.add_task("asking", total=self._total, note="")
        return live

    def _note(self) -> str:
        notes = [f"{self._rate():.0f}/s"]
        if self._failed:
            notes.append(f"{self._failed} failed")
        trouble = sum((job.trouble for job in self._jobs), Counter[Trouble]())
        if trouble:
            notes.append(
                f"attempts: {', '.join(f'{trouble[kind]} {_WORDS[kind]}' for kind in _WORDS if trouble[kind])}"
            )
        if self._budget.spent:
            notes.append(f"{self._budget.spent:.2f} USD")
        return ", ".join(notes)

    def _rate(self) -> float:
        return self._done / max(time.monotonic() - self._started, 1e-6)


class Interrupted(HarnessError):
    """The user has stopped the asking; says how to go on."""

    exit_code = 130

    def __init__(self, jobs: Sequence[Job]) -> None:
        answered, left = sum(job.answered for job in jobs), sum(job.left for job in jobs)
        super().__init__(
            f"stopped: {answered} answers of this run are saved, {left} are left; to resume, run\n  {command()}"
        )


class Stop:
    """Stops a run in another thread, where no signal arrives, as Ctrl-C does in a terminal."""

    def __init__(self) -> None:
        self._requests = 0
        self._stop: Callable[[], object] | None = None

    def request(self) -> None:
        """Ask the run to stop, the second time without waiting; a run that has not begun to ask stops as it begins."""
        self._requests += 1
        if self._stop:
            self._stop()

    @contextmanager
    def attached(self, stop: Callable[[], object]) -> Iterator[None]:
        """Within this context a request calls `stop`."""
        self._stop = stop
        if self._requests:
            stop()
        try:
            yield
        finally:
            self._stop = None


STOP: ContextVar[Stop | None] = ContextVar("STOP", default=None)


@contextmanager
def interruptible(brake: Brake, notice: Callable[[str], None]) -> Iterator[None]:
    """Within this context, the first signal pulls the brake and the second cancels the task that has entered it.

    Batches, which may take a day, are not waited for: the next run collects them.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def stop() -> None:
        if brake.reason is None:
            brake.pull(INTERRUPTED)
            left = brake.leave_lists()
            if (coming := brake.in_flight()) or not left:
                notice(f"stopping: waiting for {coming} answers in flight (Ctrl-C again to stop without them)")
            if left:
                notice(f"stopping: not waiting for {left} rows in batches; the next run collects them from the vendor")
        else:
            task.cancel()

    if outside := STOP.get():
        with outside.attached(lambda: loop.call_soon_threadsafe(stop)):
            yield
        return
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        yield
        return
    if os.name == "nt":  # no signal handlers in its loop: Ctrl-C ends at once there
        yield
        return
    # nohup has the signal of a closed terminal ignored, and so it stays.
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heard:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)


def command() -> str:
    """The command line of this process, as it can be given again."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return shlex.join([sys.executable, "-m", "harness", *sys.argv[1:]])
    near = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    return shlex.join([str(near), *sys.argv[1:]])
