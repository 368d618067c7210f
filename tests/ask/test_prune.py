"""A student that learned without fixed text is asked without it, and asked nothing where it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.ask.prepare import prune_of
from harness.errors import DataError
from harness.models.entry import LocalModel, ModelEntry
from harness.tasks.pruning import Prune
from tests.commands.conftest import Command, harness  # noqa: F401  the fixture
from tests.loopback import Loopback
from tests.runs import ROWS, TASK, Small

PRUNE = Prune("Is ", " fine? Answer with one word.")


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


def card(folder: Path, prune: Prune | None, name: str = "card.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({"prune": prune.as_json() if prune else None}))
    return folder


def entry(folder: Path, prune: Path | None = None) -> ModelEntry:
    written = str(prune) if prune else None
    return ModelEntry("tuned", LocalModel(backend="local", model="base", adapter=str(folder), prune=written), ())


@pytest.mark.parametrize("name", ["card.json", "distill.json"])
def test_a_served_student_is_asked_as_the_card_says(small: Small, loopback: Loopback, name: str) -> None:
    small.model("m", loopback.openai_url, prune=str(card(small.folder / "student", PRUNE, name)))
    small.bench()
    assert set(loopback.asked) == {f"row {number}" for number in range(ROWS)}
    small.model("m", loopback.openai_url)
    small.bench()
    assert sum(loopback.asked.values()) == 2 * ROWS, "with the whole prompt it is another question"


def test_another_prompt_than_was_learned_is_not_asked(
    small: Small, loopback: Loopback, harness: Command  # noqa: F811
) -> None:  # fmt: skip
    small.model("m", loopback.openai_url, prune=str(card(small.folder / "student", PRUNE)))
    small.task(text=TASK.replace("one word", "yes or no"))
    code, _, err = harness("bench", "--task", "small", *small.arguments())
    assert code == 2
    assert "the model has learned from other prompts than the task has now" in err
    assert not loopback.asked


def test_an_adapter_inherits_what_its_card_says(tmp_path: Path) -> None:
    adapter = card(tmp_path / "adapter", PRUNE)
    assert prune_of(entry(adapter), "small") == PRUNE
    assert prune_of(entry(adapter, card(tmp_path / "student", PRUNE, "distill.json")), "small") == PRUNE
    assert prune_of(entry(card(tmp_path / "plain", None)), "small") is None


@pytest.mark.parametrize(("learned", "named"), [(PRUNE, Prune("Are ")), (None, PRUNE), (PRUNE, None)])
def test_an_entry_cannot_contradict_the_card_of_its_adapter(
    tmp_path: Path, learned: Prune | None, named: Prune | None
) -> None:
    adapter, student = card(tmp_path / "adapter", learned), card(tmp_path / "student", named)
    with pytest.raises(DataError, match="says other text than the card of"):
        prune_of(entry(adapter, student), "small")


def test_a_folder_that_is_not_there_is_named(small: Small, loopback: Loopback, harness: Command) -> None:  # noqa: F811
    small.model("m", loopback.openai_url, prune=str(small.folder / "nowhere"))
    code, _, err = harness("bench", "--task", "small", *small.arguments())
    assert code == 2
    assert "model 'm': prune: there is no folder" in err


def test_preview_shows_both_forms(small: Small, harness: Command) -> None:  # noqa: F811
    small.model("m", "http://localhost:1/v1", prune=str(card(small.folder / "student", PRUNE)))
    arguments = ["--tasks", str(small.folder / "tasks"), "--models", str(small.folder / "models.yaml")]
    code, out, err = harness("preview", "small", "--model", "m", "--data", "sample", *arguments)
    assert code == 0
    asked = json.loads(out)["messages"]
    assert len(asked) == 1
    assert f"the task's prompt:\nIs {asked[0]['content']} fine? Answer with one word.\n" in err
    assert f"what m is asked of it:\n{asked[0]['content']}\n" in err
