"""A folder with one good task file and one good models file, to be spoiled in one place at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.models.entry import ModelEntry, load_models
from harness.tasks.catalog import TaskFile, load_task

GOOD = """\
title: Toxicity
category: classification
dataset:
  hub: some/toxicity
  splits: {train: train, test: test}
prompt: |
  Comment: {{ text }}
  Toxic:
target: "{{ 'yes' if toxic else 'no' }}"
answer: {type: label, labels: [yes, no]}
metrics: [accuracy, macro_f1]
max_tokens: 4
"""


@pytest.fixture
def task(tmp_path: Path) -> Callable[[str], TaskFile]:
    """Write a task file of this text and load it."""

    def load(text: str) -> TaskFile:
        (tmp_path / "toxic.yaml").write_text(text, encoding="utf-8")
        return load_task(tmp_path, "toxic")

    return load


@pytest.fixture
def problems(task: Callable[[str], TaskFile], tmp_path: Path) -> Callable[..., list[str]]:
    """What is said about the good task file with `old` replaced by `new`; the folder's name is left out."""

    def complaints(*changes: tuple[str, str]) -> list[str]:
        text = GOOD
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        with pytest.raises(SpecError) as found:
            task(text)
        return str(found.value).replace(f"{tmp_path}/", "").splitlines()

    return complaints


@pytest.fixture
def models(tmp_path: Path) -> Callable[..., list[ModelEntry]]:
    """Write a models file of this text and load it, with these names and this environment."""

    def load(text: str, *names: str, ready: bool = True, **environment: str) -> list[ModelEntry]:
        path = tmp_path / "models.yaml"
        path.write_text(text, encoding="utf-8")
        return load_models(path, names, environment, ready=ready)

    return load


@pytest.fixture
def model_problems(models: Callable[..., list[ModelEntry]], tmp_path: Path) -> Callable[[str], list[str]]:
    """What is said about a models file; the folder's name is left out."""

    def complaints(text: str) -> list[str]:
        with pytest.raises(SpecError) as found:
            models(text)
        return str(found.value).replace(f"{tmp_path}/", "").splitlines()

    return complaints
