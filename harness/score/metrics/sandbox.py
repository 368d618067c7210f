"""Runs a model's program where it can do no harm.

The answer and its tests each get a process of their own (`trial.py`) in bubblewrap, or in Linux namespaces where that
is missing: no network, no files but Python's own (read-only) and an empty temporary folder, no environment, no other
processes; limits on CPU time, wall time, file size and processes, and one on the memory of all of them together. Where
neither works it is refused, because generated code can delete and send whatever its user can.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import select
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from socket import socketpair
from typing import Literal

from harness.errors import UserError
from harness.score.metrics.trial import MEMORY_BYTES, PASSED

Mechanism = Literal["bubblewrap", "namespaces", "none"]

WALL_SECONDS = 60.0
"""For programs that wait. Those that compute are stopped by their CPU time, which does not depend on what else runs."""
MOST_MEMORY = MEMORY_BYTES + (128 << 20)
"""Bytes of all processes of an answer and of its tests together."""
WATCH_SECONDS = 0.05
_TMP, _SHARED = 64 << 20, 16 << 20
# Python is started without `site`, so that no installed package decides what passes.
_PYTHON = ("-I", "-S", "-B", "-c")


@dataclass(frozen=True, slots=True)
class Program:
    """An answer and the statements that test it, which call what it defines."""

    answer: str
    tests: str = ""


# A sandbox that lets the host be seen is none.
_PROBE = "import os\nassert not os.path.exists('/etc/passwd') and not os.path.exists('/home')\nassert os.getuid() != 0"
_unsafe_allowed = False


def allow_unsafe() -> None:
    """Let programs run without a sandbox, in this process, where none works: the user's own and explicit choice."""
    global _unsafe_allowed
    _unsafe_allowed = True


def run(program: Program | str) -> bool:
    """Return whether an answer passes its tests within the limits; by itself, whether it runs to its end.

    Raises:
        UserError: no sandbox works here, and `allow_unsafe` was not called.
    """
    mechanism = working_mechanism()
    if mechanism == "none" and not _unsafe_allowed:
        raise UserError(
            "a model's code is only run in a sandbox, and none works here: install bubblewrap (Linux), or allow user "
            "namespaces, or use a machine you can afford to lose and the option --unsafe-code"
        )
    return execute(program, mechanism)


@lru_cache(maxsize=1)
def working_mechanism() -> Mechanism:
    """Return the first sandbox that works on this machine, "none" without one; found out by running a program."""
    mechanisms: tuple[Mechanism, ...] = ("bubblewrap", "namespaces")
    return next((one for one in mechanisms if available(one) and execute(_PROBE, one)), "none")


def available(mechanism: Mechanism) -> bool:
    """Return whether a mechanism can be tried at all."""
    if mechanism == "bubblewrap":
        return shutil.which("bwrap") is not None
    return sys.platform == "linux"


def execute(program: Program | str, mechanism: Mechanism, wall_seconds: float = WALL_SECONDS) -> bool:
    """Run a program under one mechanism and return whether it passed, as `run` defines it.

    The verdict comes from the process of the tests, through a pipe that the answer's process does not have.
    """
    parts = Program(program) if isinstance(program, str) else program
    verdict, writing = os.pipe()
    pair = socketpair()
    ours = [end.fileno() for end in pair]
    with ExitStack() as stack:
        stack.callback(os.close, verdict)
        started: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, started)
        with closing(pair[0]), closing(pair[1]), os.fdopen(writing, "wb"):
            for role, source, inherited in (
                ("answer", parts.answer, ours[:1]),
                ("tests", parts.tests, [ours[1], writing]),
            ):
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="harness-", ignore_cleanup_errors=True))
                _fill(folder, source)
                started.append(_start(mechanism, folder, [role, *map(str, inherited)], inherited))
        return _watch(started, verdict, wall_seconds)


def _fill(folder: str, source: str) -> None:
    """Put into a folder what a sandbox needs: the file to run, an empty root, and the filter of system calls."""
    Path(folder).chmod(0o755)
    Path(folder, "program.py").write_text(source, encoding="utf-8", errors="surrogatepass")
    Path(folder, "root").mkdir()
    Path(folder, "filter").write_bytes(system_calls())


def _start(mechanism: Mechanism, folder: str, role: Sequence[str], inherited: Sequence[int]) -> subprocess.Popen[bytes]:
    with Path(folder, "filter").open("rb") as calls:
        return subprocess.Popen(
            _command(mechanism, folder, role, calls.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder if mechanism == "none" else "/",
            env={},
            pass_fds=(*inherited, calls.fileno()),
            start_new_session=True,
        )


def _watch(started: Sequence[subprocess.Popen[bytes]], verdict: int, seconds: float) -> bool:
    """Wait for the verdict of the tests; whether they passed, in time and within the memory there is for all."""
    end = time.monotonic() + seconds
    # The pipe speaks or closes the moment the tests end; waiting for the process alone would be polling.
    poll = select.poll()
    poll.register(verdict, select.POLLIN)
    while not poll.poll(WATCH_SECONDS * 1000):
        if time.monotonic() > end or used_memory([process.pid for process in started]) > MOST_MEMORY:
            return False
    if os.read(verdict, 4096) != PASSED:
        return False
    try:
        return started[-1].wait(max(end - time.monotonic(), 0.01)) == 0
    except subprocess.TimeoutExpired:
        return False


def _end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def used_memory(processes: Sequence[int]) -> int:
    """Bytes that these processes and all that they have started use together, shared memory included; 0 outside Linux.

    What forked processes still share counts for each at first; when that is too much, each page is counted once.
    """
    family = list(processes)
    for process in family:  # which grows meanwhile
        with contextlib.suppress(OSError):
            family += map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())
    own = sum(map(_resident, family))
    if own << 10 > MOST_MEMORY:
        # One that has ended meanwhile has none of either; one that may not be looked into counts whole.
        own = sum(
            _kilobytes(f"/proc/{process}/smaps_rollup", ("Pss:", "SwapPss:")) or _resident(process)
            for process in family
        )
    return own << 10


def _resident(process: int) -> int:
    return _kilobytes(f"/proc/{process}/status", ("RssAnon:", "RssShmem:", "VmSwap:"))


def _kilobytes(path: str, names: Sequence[str]) -> int:
    try:
        lines = [line.split() for line in Path(path).read_text().splitlines()]
    except OSError:  # it has ended
        return 0
    return sum(int(words[1]) for words in lines if words and words[0] in names)


def _command(mechanism: Mechanism, folder: str, role: Sequence[str], calls: int) -> list[str]:
    python = os.path.realpath(sys.executable)
    inner = [python, *_PYTHON, _script()]
    if mechanism == "none":
        return [*inner, f"{folder}/program.py", "0", *role]
    root = os.geteuid() == 0
    user = 20_000 + secrets.randbelow(40_000) if root else 0
    inner += ["/program.py", str(user), *role]
    if mechanism == "bubblewrap":
        shown = [part for path in _readable() for part in _bubblewrap_path(path)]
        return [
            shutil.which("bwrap") or "bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts",
            *(["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if root else
              ["--unshare-user", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]),
            "--die-with-parent", "--new-session", "--clearenv", "--dev", "/dev",
            "--perms", "1777", "--size", str(_SHARED), "--tmpfs", "/dev/shm", "--remount-ro", "/dev",  # noqa: S108
            "--perms", "1777", "--size", str(_TMP), "--tmpfs", "/tmp", *shown,  # noqa: S108 (the sandbox's own)
            "--ro-bind", f"{folder}/program.py", "/program.py", "--remount-ro", "/", "--chdir", "/tmp",  # noqa: S108
            "--seccomp", str(calls), *inner,
        ]  # fmt: skip
    jail = [python, "-I", "-S", "-B", str(Path(__file__).with_name("jail.py"))]
    return [*jail, f"{folder}/root", f"{folder}/program.py", f"{folder}/filter", *_readable(), "--", *inner]


@lru_cache(maxsize=1)
def _script() -> str:
    return Path(__file__).with_name("trial.py").read_text(encoding="utf-8")


def _bubblewrap_path(path: str) -> list[str]:
    link = Path(path)
    # Left to bubblewrap, a parent folder can become one that only its owner may enter.
    parents = [part for folder in reversed(link.parents[:-1]) for part in ("--perms", "0755", "--dir", str(folder))]
    shown = ["--symlink", str(link.readlink()), path] if link.is_symlink() else ["--ro-bind", path, path]
    return parents + shown


@lru_cache(maxsize=1)
def _readable() -> list[str]:
    """The paths that Python needs: itself, its library, and the system's shared libraries."""
    system = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/nix/store")
    prefix = sys.base_prefix
    own = [os.path.realpath(sys.executable), str(Path(os.__file__).resolve().parent)]
    if prefix not in ("/usr", "/usr/local", "/"):
        own.append(prefix)
    elif sysconfig.get_config_var("LIBDIR"):
        own.append(str(sysconfig.get_config_var("LIBDIR")))
    paths = sorted({path for path in (*system, *own) if os.path.lexists(path)}, key=len)
    kept: list[str] = []
    for path in paths:
        covered = any(path.startswith(parent + "/") for parent in kept if not Path(parent).is_symlink())
        if not covered:
            kept.append(path)
    return kept


# What a program could have memory by that counts for no process, or reach beyond its sandbox by. Numbers of the kernel,
# for x86-64 and 64-bit Arm; clone3 is said not to be there, so that C libraries use clone.
_REFUSED = {
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mount": (165, 40), "fsopen": (430, 430), "fsmount": (432, 432), "open_tree": (428, 428),
    "move_mount": (429, 429), "unshare": (272, 97), "setns": (308, 268), "clone3": (435, 435), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "io_uring_setup": (425, 425), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219),
}  # fmt: skip
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


@lru_cache(maxsize=1)
def system_calls() -> bytes:
    """The filter of system calls as the kernel's seccomp takes it (struct sock_filter); empty on other processors.

    It answers ENOSYS to those refused, and ends a program that calls the kernel as another processor's would.
    """
    if platform.machine() not in _ARCHITECTURES:
        return b""
    place, architecture = _ARCHITECTURES[platform.machine()]
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    kill, allow, refuse = 0x80000000, 0x7FFF0000, 0x00050000 | 38
    numbers = [both[place] for both in _REFUSED.values()]
    steps = [
        (load, 0, 0, 4), (equal, 1, 0, architecture), (answer, 0, 0, kill),
        (load, 0, 0, 0), (at_least, 0, 1, 0x40000000), (answer, 0, 0, kill),
        *((equal, len(numbers) - after, 0, number) for after, number in enumerate(numbers)),
        (answer, 0, 0, allow), (answer, 0, 0, refuse),
    ]  # fmt: skip
    return b"".join(struct.pack("HBBI", *step) for step in steps)
