"""Ctrl-C and SIGTERM while models are asked: the first lets what is in flight arrive, the second ends at once."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError
from harness.fanout import Brake
from harness.jobs import Job

INTERRUPTED = "interrupted"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(HarnessError):
    """The user has stopped the asking; says how to go on."""

    exit_code = 130

    def __init__(self, jobs: Sequence[Job]) -> None:
        answered, left = sum(job.answered for job in jobs), sum(job.left for job in jobs)
        super().__init__(
            f"stopped: {answered} answers of this run are kept, {left} are left; go on with\n  {command()}"
        )


@contextmanager
def interruptible(brake: Brake, notice: Callable[[str], None], leave: Callable[[], int]) -> Iterator[None]:
    """Within this context, the first signal pulls the brake and the second cancels the task that has entered it.

    `leave` gives up waiting for answers that may take a day and are collected by the next run; it returns how many.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def stop() -> None:
        if brake.reason is None:
            brake.pull(INTERRUPTED)
            left = leave()
            if (coming := brake.in_flight() - left) > 0 or not left:
                notice(f"stopping: waiting for {coming} answers on their way (again to stop without them)")
            if left:
                notice(
                    f"stopping: not waiting for {left} rows in batches; the vendor goes on, the next run collects them"
                )
        else:
            task.cancel()

    if os.name == "nt":  # no signal handlers in its loop: Ctrl-C ends at once there
        yield
        return
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def command() -> str:
    """The command line of this process, as it can be given again."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return shlex.join([sys.executable, "-m", "harness", *sys.argv[1:]])
    near = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    return shlex.join([str(near), *sys.argv[1:]])
