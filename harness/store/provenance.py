"""What a run was made with: package versions and the commit."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("lora-leaderboard", "datasets", "evaluate", "httpx", "numpy", "rouge-score", "sacrebleu", "scikit-learn")


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can move a score."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@functools.cache
def git_state(folder: Path) -> dict[str, Any]:
    """Return the commit that a folder is at and whether it has changes; empty outside a checkout."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return {}


def _git(folder: Path, *arguments: str) -> str:
    # In a session of its own, so that a Ctrl-C meant for the run does not end git.
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10, start_new_session=True
    )
    return done.stdout.strip()
