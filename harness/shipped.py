"""The tasks, the models file and the published figures that come with the package, and what takes their place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

TaskFolders = Path | Sequence[Path] | None
"""The folder of task files that a user names, or several; None or empty: `tasks/` of the current folder."""

_PACKAGE = Path(__file__).parent

# A wheel carries them in harness/data (see pyproject.toml); in a checkout they are beside the package.
_ROOT = _PACKAGE / "data" if (_PACKAGE / "data").is_dir() else _PACKAGE.parent
TASKS = _ROOT / "tasks"
MODELS_FILE = _ROOT / "models.yaml"
PUBLISHED = _ROOT / "results" / "published"


def published(results: Path) -> Path:
    """Return the folder of published figures beside these results, or the shipped one where there is none."""
    own = results / "published"
    return own if own.is_dir() else PUBLISHED


def models_file() -> Path:
    """Return `models.yaml` of the current folder, or the shipped one where there is none."""
    own = Path("models.yaml")
    return own if own.is_file() else MODELS_FILE
