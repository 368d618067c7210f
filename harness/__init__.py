"""The harness: ask models the held-out rows of a task, score the answers, compare the models.

The names in `__all__` are for programs and notebooks (docs/python.md); each is loaded when it is first used. `compare`,
`report`, `score` and `train` are functions, and also the packages that hold what they need.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    import inspect

    from harness.api import (
        BenchResults,
        PredictionScores,
        bench,
        compare,
        load_models,
        load_task,
        report,
        score,
        train,
    )
    from harness.ask.budget import CapReached
    from harness.ask.progress import Interrupted
    from harness.compare.paired import ModelPair
    from harness.errors import BusyError, DataError, HarnessError, SpecError, UserError
    from harness.models.backend import Reply, Request
    from harness.models.entry import CustomModel, Model, ModelEntry
    from harness.plugins import Plugins
    from harness.score.metrics.base import Example, Metric
    from harness.tasks.catalog import TaskFile
    from harness.tasks.task import CustomAnswer, Task

_HOMES = {
    "harness.api": "BenchResults PredictionScores bench compare load_models load_task report score train",
    "harness.ask.budget": "CapReached",
    "harness.ask.progress": "Interrupted",
    "harness.compare.paired": "ModelPair",
    "harness.errors": "BusyError DataError HarnessError SpecError UserError",
    "harness.models.backend": "Reply Request",
    "harness.models.entry": "CustomModel Model ModelEntry",
    "harness.plugins": "Plugins",
    "harness.score.metrics.base": "Example Metric",
    "harness.tasks.catalog": "TaskFile",
    "harness.tasks.task": "CustomAnswer Task",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}
_PACKAGES = ("compare", "report", "score", "train")

__all__ = [
    "BenchResults", "BusyError", "CapReached", "CustomAnswer", "CustomModel", "DataError", "Example", "HarnessError",
    "Interrupted", "Metric", "Model", "ModelEntry", "ModelPair", "Plugins", "PredictionScores", "Reply", "Request",
    "SpecError", "Task", "TaskFile", "UserError", "bench", "compare", "load_models", "load_task", "report", "score",
    "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _CallablePackage(ModuleType):
    """A package that is called like the function of its name in `harness.api`."""

    def _function(self) -> Any:
        return getattr(importlib.import_module("harness.api"), self.__name__.rpartition(".")[2])

    @property
    def __signature__(self) -> inspect.Signature:
        import inspect

        return inspect.signature(self._function())

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._function()(*arguments, **named)


class _Harness(ModuleType):
    """This module. Importing `harness.compare` makes it an attribute here, which must stay callable."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _PACKAGES and isinstance(value, ModuleType):
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Harness
