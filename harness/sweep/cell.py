"""One cell in its folder: `harness train` and `harness bench` as processes of their own, and what became of them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import harness
from harness.errors import DataError, HarnessError, UserError
from harness.models.engines.adapter_files import WEIGHTS
from harness.models.engines.known_bases import is_gguf
from harness.models.local import CARD
from harness.store.atomic import replace_file
from harness.sweep.grid import Cell
from harness.train import card
from harness.train.checkpoint import unfinished

DONE, FAILED, COMMANDS, LOG, MODELS, BENCHED = (
    "done.json", "failed.json", "commands.txt", "log.txt", "models.yaml", "bench.json"
)  # fmt: skip
ADAPTER, RESULTS = "adapter", "results"
LAST_LINES, LAST_BYTES = 50, 1 << 16
WHY = ("error: ", "not scored: ")
"""What the line begins with in which a command says why it failed."""
INCOMPLETE = 3
"""What `harness bench` exits with when some rows have no answer; how many may be missing is its own rule."""


@dataclass(frozen=True, slots=True)
class Work:
    """A cell with where its rows and tasks are, and what it may use; all that another machine needs to run it.

    `base` is the cell's base as it is named in any folder.
    """

    cell: Cell
    base: str
    data: str | None
    tasks: str
    cpus: int
    timeout: float | None

    @property
    def model(self) -> str:
        """The name by which the cell's model is asked, and its answers are filed."""
        return "tuned" if self.cell.tuned else "base"

    @property
    def commands(self) -> dict[str, list[str]]:
        """The commands of the cell by what they do, run in its folder."""
        cell, run = self.cell, [sys.executable, "-m", "harness"]
        where = ["--tasks", self.tasks, *(["--data", self.data] if self.data else [])]
        found = {}
        if cell.tuned:
            options = [part for name, value in cell.train.items() for part in _given(name, value)]
            train = ["train", cell.task, "--base", self.base, "--rows", str(cell.rows), *options]
            once = ["--seed", str(cell.seed), "--out", ADAPTER, "--no-score", "--no-fingerprint"]
            found["train"] = [*run, *train, *once, *where]
        rows = ["--rows", str(cell.bench_rows)] if cell.bench_rows else []
        bench = ["bench", "--task", cell.task, "--model", self.model, "--models", MODELS, "--results", RESULTS]
        found["bench"] = [*run, *bench, *rows, *where, "--json"]
        return found

    @property
    def environment(self) -> dict[str, str]:
        """What the commands need of the environment: as many threads as the cell may use, and this package."""
        threads = {"OMP_NUM_THREADS": str(self.cpus), "TOKENIZERS_PARALLELISM": "false"}
        package = str(Path(harness.__file__).parents[1])
        return threads | {"PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}

    @property
    def models(self) -> str:
        """The file of models that is asked: the base, and its adapter."""
        gguf = is_gguf(self.base)
        entry: dict[str, Any] = {"backend": "llamacpp" if gguf else "local", "model": self.base}
        entry |= {"threads": self.cpus} if gguf else {}
        tuned = {"tuned": {**entry, "adapter": ADAPTER, "base": "base"}} if self.cell.tuned else {}
        return json.dumps({"base": entry, **tuned}, indent=1) + "\n"  # which YAML reads, too

    @property
    def files(self) -> list[str]:
        """Files without which a cell is not done, whatever its `done.json` says."""
        answers = f"{RESULTS}/{self.cell.task}/{self.model}"
        adapter = [f"{ADAPTER}/{WEIGHTS}", f"{ADAPTER}/{CARD}"] if self.cell.tuned else []
        return [DONE, *adapter, f"{answers}/run.json", f"{answers}/responses.jsonl"]


class Processes:
    """The processes that cells have started, to end them all; `running` are those that have not ended."""

    def __init__(self) -> None:
        self.running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, command: Sequence[str], timeout: float | None, **how: Any) -> int:
        """Run a command as a group of its own, and return its exit code, or minus the signal that ended it.

        Raises:
            TimeoutError: it took longer than so many seconds; all of the group is killed.
            KeyboardInterrupt: `stop` was called.
        """
        process = subprocess.Popen(_ended_with_us(command), stdin=subprocess.DEVNULL, start_new_session=True, **how)
        self.running.add(process)
        try:
            if self._stopped:
                _kill(process)
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        finally:
            _kill(process)
            self.running.discard(process)
        if self._stopped:
            raise KeyboardInterrupt
        return code

    def stop(self) -> None:
        """End all that runs; what is started afterwards ends at once."""
        self._stopped = True
        for process in list(self.running):
            _kill(process)


_TIED = """import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])"""


def _ended_with_us(command: Sequence[str]) -> list[str]:
    """The command so that on Linux the kernel ends it with the thread that waits for it, which may be killed."""
    return [sys.executable, "-S", "-c", _TIED, str(os.getpid()), *command]


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except ProcessLookupError:
        pass


def run_cell(work: Work, folder: Path, processes: Processes) -> dict[str, Any]:
    """Run what is left of a cell in its folder, and return what its `done.json` or `failed.json` says.

    Raises:
        KeyboardInterrupt: it was stopped.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ended in (DONE, FAILED):
            (folder / ended).unlink(missing_ok=True)
        lines = [f"cd {shlex.quote(str(folder.absolute()))}"]
        settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in work.environment.items())
        lines += [f"{settings} {shlex.join(command)}" for command in work.commands.values()]
        replace_file(folder / COMMANDS, "\n".join(lines) + "\n")
        replace_file(folder / MODELS, work.models)
        began = time.monotonic()
        for step, command in work.commands.items():
            if step == "train" and _trained(folder / ADAPTER):
                continue
            failure = _run(work, step, command, folder, processes, began)
            if failure is not None:
                return _failed(work, folder, failure)
        found = _done(work, folder, time.monotonic() - began)
        replace_file(folder / DONE, json.dumps(found, ensure_ascii=False, indent=1) + "\n")
        return found
    except (OSError, HarnessError, ValueError, KeyError) as error:
        return _failed(work, folder, {"reason": f"{error}"})


def _run(
    work: Work, step: str, command: list[str], folder: Path, processes: Processes, began: float
) -> dict[str, Any] | None:
    """Run one command of a cell; None when it did what it should, else what is known of its failure."""
    left = None if work.timeout is None else max(0.0, work.timeout - (time.monotonic() - began))
    killed_before = _killed_for_memory()
    failure: dict[str, Any] = {"command": shlex.join(command), "step": step}
    with (folder / LOG).open("ab") as log:
        log.write(f"$ {shlex.join(command)}\n".encode())
        log.flush()
        with (folder / BENCHED).open("wb") if step == "bench" else contextlib.nullcontext(log) as output:
            try:
                code = processes.run(
                    command, left, cwd=folder, env=os.environ | work.environment, stdout=output, stderr=log
                )
            except TimeoutError:
                return failure | {"reason": f"not done after the {work.timeout:g} s of resources.timeout"}
    if code == 0 or (step == "bench" and code == INCOMPLETE and not _incomplete(folder)):
        return None
    failure |= {"signal": signal.Signals(-code).name} if code < 0 else {"exit_code": code}
    failure["out_of_memory"] = _killed_for_memory() > killed_before if code == -signal.SIGKILL else _says_memory(folder)
    reason = f"ended by {failure['signal']}" if code < 0 else f"exit code {code}"
    reason += ", out of memory" if failure["out_of_memory"] else ""
    of_this_command = itertools.takewhile(lambda line: not line.startswith("$ "), reversed(_last_lines(folder)))
    said = next((line for line in of_this_command if line.startswith(WHY)), "")
    return failure | {"reason": f"{reason}: {said.removeprefix('error: ')}" if said else reason}


def _incomplete(folder: Path) -> bool:
    scores = _scores(folder)
    return not scores or any(score["incomplete"] for score in scores)


def _scores(folder: Path) -> list[dict[str, Any]]:
    text = (folder / BENCHED).read_text(encoding="utf-8")
    return list(json.loads(text)["results"]) if text.strip() else []


def _trained(adapter: Path) -> bool:
    """Whether an adapter was trained to its end: its card is written last, and the checkpoint is then gone."""
    if unfinished(adapter):
        return False
    try:
        card.read(adapter)
        return (adapter / WEIGHTS).stat().st_size > 0
    except (DataError, FileNotFoundError):
        return False


def _killed_for_memory() -> int:
    """How many processes the kernel has killed for memory since it started; 0 where it does not say."""
    try:
        found = [line.split() for line in Path("/proc/vmstat").read_text().splitlines()]
    except OSError:
        return 0
    return next((int(line[1]) for line in found if line[0] == "oom_kill"), 0)


_MEMORY = ("MemoryError", "OutOfMemoryError", "out of memory", "Cannot allocate memory", "std::bad_alloc")


def _says_memory(folder: Path) -> bool:
    return any(word in line for line in _last_lines(folder) for word in _MEMORY)


def _last_lines(folder: Path) -> list[str]:
    path = folder / LOG
    try:
        if not path.is_file():
            return []
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LAST_BYTES))
            return file.read(LAST_BYTES).decode("utf-8", "replace").splitlines()[-LAST_LINES:]
    except OSError:
        return []


def _failed(work: Work, folder: Path, failure: dict[str, Any]) -> dict[str, Any]:
    """Write `failed.json`, and return it; where the disk is full, it is returned all the same."""
    found = {"cell": work.cell.name, **work.cell.point, **failure, "last_lines": _last_lines(folder)}
    try:
        replace_file(folder / FAILED, json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    except UserError as error:
        found["reason"] = f"{found['reason']}; {error}"
    return found


def _done(work: Work, folder: Path, took: float) -> dict[str, Any]:
    """What a finished cell says of itself.

    Raises:
        HarnessError: its adapter learned from other rows than the sweep says, or something is missing.
    """
    cell = work.cell
    for name in work.files[1:]:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing after both commands")
    run = json.loads((folder / RESULTS / cell.task / work.model / "run.json").read_text(encoding="utf-8"))
    scores = _scores(folder)
    trained = card.read(folder / ADAPTER) if cell.tuned else None
    if trained and trained.training_fingerprint != cell.learned:
        raise UserError(f"{cell.task}: the training rows are others than when the sweep began; is --data the same?")
    price = cell.train.get("gpu_per_hour")
    seconds = {"train": round(trained.hours * 3600, 1) if trained else 0.0}
    seconds["bench"] = round(max(one["seconds"] for one in run.values()), 1)
    # Without what an earlier start of this cell did, which `train` holds too.
    seconds["rest"] = round(max(0.0, took - sum(seconds.values())), 1)
    return {
        "cell": cell.name,
        "kind": "tuned" if cell.tuned else "base",
        **{"base": cell.base, "task": cell.task, "rows": cell.rows, "seed": cell.seed, "train": dict(cell.train)},
        "task_sha256": cell.task_sha256,
        "scores": scores,
        "learned_rows": trained.rows if trained else None,
        "recipe": trained.recipe if trained else None,
        "steps": trained.steps if trained else None,
        "validation_loss": min(trained.curve["validation"]) if trained else None,
        "adapter_sha256": _adapter_hash(folder) if cell.tuned else None,
        "seconds": seconds,
        "usd": None if price is None else round(price * sum(seconds.values()) / 3600, 6),
        "hardware": trained.hardware if trained else None,
        "version": harness.__version__,
    }


def _adapter_hash(folder: Path) -> str:
    from harness.hashing import file_sha256

    return file_sha256(folder / ADAPTER / WEIGHTS)


def _given(name: str, value: Any) -> list[str]:
    """An option of a sweep file as it is typed."""
    values = value if isinstance(value, list) else [value]
    return [part for one in values for part in (f"--{name.replace('_', '-')}", str(one))]


def as_work(found: Mapping[str, Any]) -> Work:
    """The work that was sent to another machine as plain data."""
    return Work(**{**found, "cell": Cell(**found["cell"])})


def as_data(work: Work) -> dict[str, Any]:
    """Work as plain data."""
    return asdict(work)
