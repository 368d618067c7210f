"""Metrics, answer types and backends that others add.

Their code comes from two places only: installed packages that declare the entry point group `harness.plugins`, and
Python files that the user names, with `--plugin` or `load_file`. Task files, models files and recorded runs cannot name
code, so that those of strangers run none. A script of the `evaluate` library that a task names needs `--allow-code`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from harness.errors import UserError

GROUP = "harness.plugins"
Kind = Literal["metric", "answer type", "backend"]


@dataclass(frozen=True, slots=True)
class Addition:
    """What a plugin adds under a name.

    `made` is a metric's function with the answer types it scores, the class of an answer type, or the class of a
    backend's settings. `source` says where its code is from, with its version or its hash.
    """

    made: Any
    source: str


@dataclass(slots=True)
class Plugins:
    """What has been added, by kind and name. A plugin's function `register` is called with it."""

    added: dict[tuple[Kind, str], Addition] = field(default_factory=dict)
    source: str = ""

    def add_metric(self, name: str, make: Callable[..., Any], answers: Iterable[str]) -> None:
        """Add a metric: `make(answer, *, options)` returns a `harness.Metric` for answers of these types.

        Raises:
            UserError: another plugin has added a metric of this name.
        """
        self._add("metric", name, (make, frozenset(answers)))

    def add_answer(self, name: str, kind: type[Any]) -> None:
        """Add an answer type: a subclass of `harness.CustomAnswer`.

        Raises:
            UserError: another plugin has added an answer type of this name.
        """
        self._add("answer type", name, kind)

    def add_backend(self, name: str, kind: type[Any]) -> None:
        """Add a backend by the settings of its entries: a subclass of `harness.CustomModel`.

        Raises:
            UserError: another plugin has added a backend of this name.
        """
        self._add("backend", name, kind)

    def of(self, kind: Kind, built_in: Iterable[str]) -> Mapping[str, Addition]:
        """Return what was added of one kind, by name.

        Raises:
            UserError: a plugin has added something by a name that is built in.
        """
        found = {name: addition for (of, name), addition in self.added.items() if of == kind}
        for name in sorted(found.keys() & set(built_in)):
            raise UserError(f"{found[name].source}: there is a built-in {kind} '{name}'; give it another name")
        return found

    def _add(self, kind: Kind, name: str, made: Any) -> None:
        if before := self.added.get((kind, name)):
            raise UserError(f"{self.source}: {before.source} has added a {kind} '{name}' already")
        self.added[kind, name] = Addition(made, self.source)


_scripts_allowed = False


def allow_scripts() -> None:
    """Let task files name scripts that are run, in this process: the user's own and explicit choice."""
    global _scripts_allowed
    _scripts_allowed = True


def scripts_allowed() -> bool:
    """Whether task files may name scripts that are run."""
    return _scripts_allowed


@lru_cache(maxsize=1)
def plugins() -> Plugins:
    """Return what installed packages and the files loaded so far add; the packages are loaded the first time.

    Raises:
        UserError: a package's plugin cannot be loaded.
    """
    found = Plugins()
    for point in entry_points(group=GROUP):
        version = f" {point.dist.version}" if point.dist else ""
        _register(found, point.load, f"plugin {point.name} ({point.value}{version})")
    return found


def load_file(path: Path) -> None:
    """Run a Python file and let its function `register(plugins)` add what it adds. A file is loaded once.

    Raises:
        UserError: there is no such file, it fails, or it has no such function.
    """
    try:
        source = f"plugin {path} ({hashlib.sha256(path.read_bytes()).hexdigest()[:16]})"
    except OSError as error:
        raise UserError(f"plugin {path}: cannot be read: {error.strerror}") from None
    if any(addition.source == source for addition in plugins().added.values()):
        return

    def load() -> Any:
        spec = importlib.util.spec_from_file_location(f"harness_plugin_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise UserError(f"plugin {path}: not a Python file (*.py)")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where dataclasses and pydantic look up the names in annotations
        spec.loader.exec_module(module)
        return getattr(module, "register", None)

    _register(plugins(), load, source)


def _register(into: Plugins, load: Callable[[], Any], source: str) -> None:
    into.source = source
    try:
        register = load()
        if not callable(register):
            raise UserError(f"{source}: it has no function register(plugins)")
        register(into)
    except UserError:
        raise
    except Exception as error:  # whatever a plugin raises is its author's mistake
        raise UserError(f"{source}: cannot be loaded: {type(error).__name__}: {error}") from error


def hint(names: str) -> str:
    """What to add to a list of choices (`errors.nearest`) in which no name is near the unknown one."""
    return "" if "did you mean" in names else "; if a plugin adds it, name the plugin's file with --plugin"
