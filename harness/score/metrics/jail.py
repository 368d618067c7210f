"""Runs one command in Linux namespaces of its own. A script by itself: it is started in isolated mode and imports
nothing of the package.

Arguments: an empty folder to build the file system on, the file that becomes /program.py, the file of the filter of
system calls, the paths to show (read-only), `--`, and the command. It ends with the command's exit status, or 125 when
the jail cannot be built. Started by root, the command is still root, though without network and files, and has to shed
its rights itself.

What the command sees: the readable paths, /program.py, three devices and an empty 64 MB /tmp, its working folder and
the only place to write. No network, no other processes; an ordinary user also has no capabilities and no way to any.
"""

# Importing pathlib takes longer than all the rest, and this starts once for every program.
# ruff: noqa: PTH102, PTH103, PTH106, PTH112, PTH114, PTH115, PTH118, PTH120, PTH211

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

UNBUILT = 125
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")

_NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000  # mount, uts, ipc, pid, net
_NEW_USER = 0x10000000
_READ_ONLY, _NO_SUID, _NO_DEV, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
# A mount's flags that a user namespace may not take off again.
_LOCKED = {"nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_DETACH = 2
_SET_PARENT_DEATH_SIGNAL, _SET_SECCOMP, _SET_NO_NEW_PRIVILEGES = 1, 22, 38
_FILTER, _STEP = 2, 8
_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(function: Callable[..., int], *arguments: object) -> None:
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(arguments))


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    _call(_LIBC.mount, texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])


def _unshare() -> None:
    """Leave the host's namespaces; an ordinary user needs a user namespace to do so, and is user 1000 in it."""
    if os.geteuid() == 0:
        _call(_LIBC.unshare, _NAMESPACES)
        return
    uid, gid = os.geteuid(), os.getegid()
    _call(_LIBC.unshare, _NAMESPACES | _NEW_USER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"1000 {uid} 1"), ("gid_map", f"1000 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _show(path: str, root: str) -> None:
    """Make a host path appear at the same place under the new root."""
    target = root + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.close(os.open(target, os.O_CREAT))
    _mount(path, target, None, _BIND | _RECURSIVE)


def _seal(root: str) -> None:
    """Make every mount under the root read-only, those inside the readable paths too."""
    kept = {root + device for device in DEVICES}
    with open("/proc/self/mountinfo", "rb") as file:
        mounts = [line.split()[4:6] for line in file]
    for escaped, options in mounts:
        place = os.fsdecode(escaped.decode("unicode_escape").encode("latin-1"))
        if place.startswith(root + "/") and place not in kept:
            flags = sum(flag for name, flag in _LOCKED.items() if name in options.decode().split(","))
            _mount("none", place, None, flags | _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | _NO_DEV)


def _build(root: str, program: str, readable: list[str]) -> None:
    """Build the file system on `root` and make it the process's root folder, the host's being gone."""
    _mount("none", "/", None, _RECURSIVE | _PRIVATE)
    _mount("tmpfs", root, "tmpfs", _NO_SUID | _NO_DEV, "size=16m,mode=755")
    for path in (*readable, *DEVICES):
        _show(path, root)
    with open(program, "rb") as source, open(f"{root}/program.py", "wb") as copy:
        copy.write(source.read())
    _seal(root)
    temporary, old = os.path.join(root, "tmp"), os.path.join(root, "old")
    os.mkdir(temporary)
    os.mkdir(old)
    _mount("tmpfs", temporary, "tmpfs", _NO_SUID | _NO_DEV, "size=64m,mode=1777")
    _call(_LIBC.syscall, _PIVOT_ROOT[os.uname().machine], os.fsencode(root), os.fsencode(old))
    os.chdir("/")
    _call(_LIBC.umount2, b"/old", _DETACH)
    os.rmdir("/old")
    _mount("none", "/", None, _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | _NO_DEV)
    os.chdir("/tmp")  # noqa: S108 (the jail's own)


def _die_with_parent() -> None:
    _call(_LIBC.prctl, _SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


class _Steps(ctypes.Structure):
    """The kernel's struct sock_fprog."""

    _fields_ = (("count", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def _filter(calls: bytes) -> None:
    """Refuse system calls from here on, also to what is started."""
    if calls:
        steps = _Steps(len(calls) // _STEP, calls)
        _call(_LIBC.prctl, _SET_SECCOMP, _FILTER, ctypes.byref(steps), 0, 0)


def _status_of(child: int) -> int:
    """Wait for a child and return its exit status; a signal counts as 128 and its number."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def main(root: str, program: str, filtered: str, readable: list[str], command: list[str]) -> int:
    """Build the jail, run the command in it, and return its exit status."""
    _die_with_parent()
    with open(filtered, "rb") as file:
        calls = file.read()
    try:
        _unshare()
    except OSError as error:
        print(f"no namespaces: {error}", file=sys.stderr)
        return UNBUILT
    first = os.fork()
    if first:
        return _status_of(first)
    # From here on it is process 1 of the new namespace: when it ends, the kernel ends all that the command started.
    try:
        _die_with_parent()
        _build(root, program, readable)
    except (OSError, KeyError) as error:
        print(f"no jail: {error}", file=sys.stderr)
        os._exit(UNBUILT)
    second = os.fork()
    if second:
        os._exit(_status_of(second))
    try:
        _call(_LIBC.prctl, _SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        _die_with_parent()
        _filter(calls)
        os.execve(command[0], command, {})  # noqa: S606 (no shell is the point)
    except OSError as error:
        print(f"no command: {error}", file=sys.stderr)
        os._exit(UNBUILT)


if __name__ == "__main__":
    parted = sys.argv.index("--")
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:parted], sys.argv[parted + 1 :]))
