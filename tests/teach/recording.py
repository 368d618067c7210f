"""`harness record` as a process of its own, as a user starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Recording:
    """A running recorder: `url` is the base_url for clients."""

    def __init__(self, upstream: str, out: Path, *arguments: str, before: Callable[[], None] | None = None) -> None:
        command = [sys.executable, "-m", "harness", "record", "--upstream", upstream, "--out", str(out), *arguments]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(out.parent), "PYTHONPATH": str(ROOT)}
        self.out = out
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=before
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        found = re.match(r"http://\S+", said)
        assert found, said + self.process.communicate()[1]
        self.url = found[0]

    def stop(self) -> tuple[int, str, str]:
        """End it as Ctrl-C does; return the exit code, its output and its errors."""
        self.process.send_signal(signal.SIGINT)
        said, errors = self.process.communicate(timeout=60)
        return self.process.returncode, said, errors

    def lines(self, number: int = 0) -> list[dict[str, Any]]:
        """The lines of the log, once there are this many."""
        return lines(self.out, number)

    def writer(self) -> int:
        """The process that writes the log."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        assert len(children) == 1
        return int(children[0])


def lines(out: Path, number: int = 0) -> list[dict[str, Any]]:
    """The lines of a log, once there are this many."""
    log = out / "requests.jsonl"
    wait_for(lambda: log.is_file() and log.read_bytes().count(b"\n") >= number)
    return [json.loads(line) for line in log.read_text().splitlines()]


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def kill(process: int) -> None:
    """End a process without warning."""
    os.kill(process, signal.SIGKILL)
