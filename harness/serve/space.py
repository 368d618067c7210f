"""`harness demo --export`: the page as a Hugging Face Space, with the models that run in its own process."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from harness import __version__
from harness.errors import UserError
from harness.models.engines.adapter_files import CONFIG, WEIGHTS
from harness.models.engines.known_bases import KNOWN
from harness.models.entry import LlamaCppModel, ModelEntry, load_models
from harness.models.local import CARD
from harness.serve.choice import TASK, adapters_of
from harness.serve.demo import DemoOptions, gradio
from harness.shipped import TASKS
from harness.store.atomic import new_folder
from harness.tasks.catalog import load_task, task_folders

_APP = '''\
"""Models side by side: `harness demo` of the package lora-leaderboard, as a Hugging Face Space."""

import asyncio
import os
from pathlib import Path

from harness.serve.demo import DemoOptions, demo

os.chdir(Path(__file__).parent)
options = DemoOptions(
    Path("models.yaml"),
    tasks={tasks},
    host=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
    port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
)
asyncio.run(demo(options, lambda line: print(line, flush=True)))
'''
_README = """\
---
title: Models side by side
sdk: gradio
sdk_version: {gradio}
python_version: "3.12"
app_file: app.py
---

A base model and its adapters answer the same prompt side by side, each with its time and tokens and with what the
task's metrics say of the answer. Written by `harness demo --export` of lora-leaderboard {version}.
"""


def export_space(options: DemoOptions, folder: Path) -> list[Path]:
    """Write a Space into a new or empty folder, and return its files.

    It holds the models with `backend: llamacpp`, which need no key: entries, adapters, and GGUF files that are not
    known by name; and the tasks that are not shipped with the package.

    Raises:
        UserError: the folder is not empty, Gradio is not installed, a task does not exist, or no such model is there.
    """
    gradio()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder; name one that is new or empty with --export")
    tasks = tuple(load_task(options.tasks_folder, name).name for name in options.tasks)
    models = _of_this_process(options)
    with new_folder(folder) as new:
        written = {entry.name: _carried(entry, model, new, tasks) for entry, model in models}
        with (new / "models.yaml").open("w", encoding="utf-8") as file:
            YAML().dump(written, file)
        (new / "app.py").write_text(_APP.format(tasks=repr(tasks)), encoding="utf-8")
        (new / "README.md").write_text(_README.format(gradio=version("gradio"), version=__version__))
        (new / "requirements.txt").write_text(f"lora-leaderboard[demo]=={__version__}\n")
        for source in reversed(task_folders(options.tasks_folder)):  # of two tasks of one name the first counts
            _copy_tasks(source, new / "tasks")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _of_this_process(options: DemoOptions) -> list[tuple[ModelEntry, LlamaCppModel]]:
    found = []
    for entry in load_models(options.models_file, options.models, os.environ):
        if isinstance(entry.model, LlamaCppModel):
            found.append((entry, entry.model))
        elif options.models:
            raise UserError(
                f"'{entry.name}' has `backend: {entry.model.backend}`: a Space holds models with `backend: llamacpp` "
                "only, which need neither a key nor another server"
            )
    if not found:
        raise UserError(f"{options.models_file} has no model with `backend: llamacpp`, which a Space could hold")
    return found


def _carried(entry: ModelEntry, model: LlamaCppModel, folder: Path, tasks: Sequence[str]) -> dict[str, Any]:
    """Copy a model's files into the Space, and return its entry there."""
    written = entry.public()
    if model.model not in KNOWN:
        file = Path(model.model).expanduser()
        if not file.is_file():
            raise UserError(f"model '{entry.name}': there is no GGUF file {file}")
        if (folder / file.name).is_file() and not filecmp.cmp(file, folder / file.name, shallow=False):
            raise UserError(f"model '{entry.name}': another model has a GGUF file of the name {file.name}; rename one")
        shutil.copyfile(file, folder / file.name)
        written["model"] = f"./{file.name}"
    if model.adapter is not None:
        written["adapter"] = f"./adapters/{entry.name}" + (f"/{TASK}" if TASK in model.adapter else "")
        for name, place in adapters_of(entry.name, model.adapter).items():
            if TASK not in model.adapter or not tasks or name in tasks:
                _copy(place, written["adapter"].replace(TASK, name), folder)
    return written


def _copy(adapter: Path, place: str, folder: Path) -> None:
    """Copy what an adapter is asked with: its settings, weights and card."""
    (folder / place).mkdir(parents=True)
    for name in (CONFIG, WEIGHTS, CARD):
        if (adapter / name).is_file():
            shutil.copyfile(adapter / name, folder / place / name)


def _copy_tasks(source: Path, target: Path) -> None:
    """Copy task files with their sample rows, unless they are those of the package."""
    if TASKS.is_dir() and source.samefile(TASKS):
        return
    for path in [*source.glob("*.yaml"), *source.glob("samples/*.jsonl")]:
        (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / path.relative_to(source))
