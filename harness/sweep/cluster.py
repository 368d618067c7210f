"""Cells on a Ray cluster: one task each, which Ray places, and starts again only when its worker or node is lost."""

from __future__ import annotations

import importlib
import os
import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness import __version__
from harness.errors import HarnessError, UserError
from harness.sweep.cell import Processes, Work, as_data, as_work
from harness.sweep.file import Resources
from harness.sweep.places import CELLS, Place
from harness.sweep.sweep import run_at

SECONDS_TO_ANSWER = 10
LOST_WORKERS = 5
"""How often a cell is started again whose worker or node was lost."""
_STORE_BYTES = 80_000_000  # Ray's floor is 75 MB, and its default a third of the machine
_LOCAL = "127.0.0.2"  # Ray rewrites 127.0.0.1 to the machine's own address, and then waits for itself without end
FASTER = {
    "RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "1000", "RAY_raylet_start_wait_time_s": "120",
    "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}  # fmt: skip


class Cluster:
    """Cells as tasks of Ray, on the cluster at an address, or on one of this machine.

    Raises:
        UserError: Ray is not installed, or none answers at the address.
    """

    def __init__(self, address: str | None, place: Place, uses: Resources, jobs: int) -> None:
        os.environ.update({name: os.environ.get(name, value) for name, value in FASTER.items()})
        if address is None:  # its ports listen on all interfaces
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        try:
            ray: Any = importlib.import_module("ray")  # whose own types hold only where it is installed
        except ImportError:
            raise UserError("--ray needs the extra `sweep`: pip install 'lora-leaderboard[sweep]'") from None
        if address is not None:
            _answers(address)
        self._ray, self._place, self._uses = ray, place, uses
        own: dict[str, Any] = {
            "num_cpus": jobs * uses.cpus, "object_store_memory": _STORE_BYTES, "include_dashboard": False,
            "_node_ip_address": _LOCAL,
        }  # fmt: skip
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error", **({} if address else own))
        except (ConnectionError, RuntimeError, OSError, ValueError) as error:
            raise UserError(f"--ray {address or ''}: no cluster can be used: {error}") from None
        self._running: dict[Any, Work] = {}
        needs = {"num_cpus": uses.cpus, "num_gpus": uses.gpus, "memory": uses.memory}
        self._task = ray.remote(max_retries=LOST_WORKERS, retry_exceptions=False, **needs)(run_there)

    def room(self) -> int:
        """As many cells as fit the nodes that are there now."""
        found = self._ray.cluster_resources()
        wanted = {"CPU": self._uses.cpus, "GPU": self._uses.gpus, "memory": self._uses.memory or 0}
        fit = [int(found.get(name, 0) // amount) for name, amount in wanted.items() if amount]
        return max(1, min(fit))

    def start(self, work: Work) -> None:
        """Start a cell."""
        self._running[self._task.remote(as_data(work), self._place.address, __version__)] = work

    def finished(self, seconds: float) -> Iterator[dict[str, Any]]:
        """Wait so long at most, and yield what became of the cells that ended."""
        done, _ = self._ray.wait(list(self._running), timeout=seconds)
        for task in done:
            work = self._running.pop(task)
            try:
                yield self._ray.get(task)
            except self._ray.exceptions.RayError as error:
                lost = str(error).strip().splitlines()[0]
                found = {"cell": work.cell.name, **work.cell.point, "reason": f"lost {LOST_WORKERS + 1} times: {lost}"}
                memory = isinstance(error, self._ray.exceptions.OutOfMemoryError)
                found |= {"out_of_memory": memory, "last_lines": str(error).splitlines()[-50:]}
                self._place.write(f"{CELLS}/{work.cell.name}/failed.json", found)
                yield found

    def stop(self) -> None:
        """End all cells that run."""
        for task in self._running:
            self._ray.cancel(task, force=True)
        self._ray.shutdown()


def run_there(data: dict[str, Any], url: str, version: str) -> dict[str, Any]:
    """Run a cell on a node; what the node lacks is the cell's failure."""
    work = as_work(data)
    try:
        differs = lacking(work, version)
        if differs:
            raise UserError(f"{socket.gethostname()}: {'; '.join(differs)}")
        return run_at(work, Place(url), Processes())
    except HarnessError as error:
        found = {"cell": work.cell.name, **work.cell.point, "reason": str(error), "last_lines": []}
        Place(url).write(f"{CELLS}/{work.cell.name}/failed.json", found)
        return found


_CHECKED: dict[tuple[str, str | None], list[str]] = {}


def lacking(work: Work, version: str) -> Sequence[str]:
    """Return what differs on this machine from the one where the sweep was started, for a cell's task, found once."""
    key = work.cell.task, work.data
    if key not in _CHECKED:
        _CHECKED[key] = list(_lacking(work, version))
    return _CHECKED[key]


def _lacking(work: Work, version: str) -> Iterator[str]:
    from harness.rows.origin import locate
    from harness.tasks.catalog import load_task

    if version != __version__:
        yield f"lora-leaderboard {__version__} is installed, the sweep was started with {version}"
    try:
        file = load_task(Path(work.tasks), work.cell.task)
    except UserError as error:
        yield str(error)
        return
    if file.sha256 != work.cell.task_sha256:
        yield f"{file.source.path}: another task file than where the sweep was started"
    try:
        locate(file, work.data)
    except UserError as error:
        yield f"the data of {file.name} are missing: {error}"


def _answers(address: str) -> None:
    """See whether Ray answers at an address; its own waiting for one that does not is 40 s and more.

    Raises:
        UserError: nothing answers as Ray, or the address is none.
    """
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--ray {address}: expected host:port, such as 10.0.0.5:6379, or auto")
    raylet: Any = importlib.import_module("ray._raylet")
    said: list[str] = []

    def ask() -> None:
        try:
            raylet.GcsClient(address=address)
            said.append("")
        except Exception as error:  # noqa: BLE001 - whatever it says of the address is for the user
            said.append(str(error))

    try:
        socket.create_connection((host, int(port)), SECONDS_TO_ANSWER).close()
    except OSError as error:
        said.append(str(error))
    else:
        if address.startswith("ray://"):  # another protocol, whose own client gives up after 30 s
            return
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(SECONDS_TO_ANSWER)
    if said != [""]:
        reason = said[0] if said else f"nothing within {SECONDS_TO_ANSWER} s"
        raise UserError(f"--ray {address}: no Ray answers there: {reason}")
