"""Memory that a base with adapters and slots takes, reckoned from the sizes of files before they are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import UserError
from harness.models.engines.gguf import Shape

OVERHEAD = 150_000_000
"""Bytes of the program and of intermediate results, about."""
_BYTES_PER_VALUE = 2  # llama.cpp keeps keys and values in float16


def memory_needed(base: Path, adapters: Sequence[str], shape: Shape, tokens: int) -> int:
    """Return about how many bytes a base takes with its adapters and a prompt cache of so many tokens."""
    narrow = shape.linear("self_attn.k_proj")[1]
    cache = 2 * _BYTES_PER_VALUE * shape.layers * narrow * tokens
    files = base.stat().st_size + sum(Path(adapter).stat().st_size for adapter in adapters)
    return files + cache + OVERHEAD


def memory_available() -> int | None:
    """Return the bytes that this process may still take; None where the system does not say."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        if limit.isdecimal():
            stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
            # Pages of files that were read are counted, too, and given up when they are needed.
            used = int((group / "memory.current").read_text(encoding="ascii")) - int(stat["file"])
            found.append(int(limit) - used)
    except (OSError, ValueError, KeyError):
        pass
    return min(found, default=None)


def check_memory(needed: int, given_back: int, adapters: int, slots: int, context: int) -> None:
    """See to it that what is needed is there, with the bytes that are given back before.

    Raises:
        UserError: it is not.
    """
    available = memory_available()
    free = None if available is None else available + given_back
    if free is not None and needed > free:
        raise UserError(
            f"the base with {adapters} adapters and {slots} slots of {context} tokens needs about "
            f"{needed / 1e6:,.0f} MB of memory, and {free / 1e6:,.0f} MB are free: choose fewer with --slots, "
            "--context or --models"
        )
