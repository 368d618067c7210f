"""Models of transformers: batched answers are those of `generate`, one by one, whatever adapter is at work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.models.engines.decoding import DecodedAnswer, PromptTooLong, Query, answer
from harness.models.engines.transformers import TransformersEngine
from tests.models.engines.plain import PROMPTS, generated
from tests.train import tiny

# What the libraries say to each other of their next versions is not for us.
pytestmark = [pytest.mark.local, pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("base"), texts=PROMPTS)


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two adapters with weights that change every answer, in different modules."""
    one, other = (tmp_path_factory.mktemp("adapter") for _ in range(2))
    tiny.adapter(base, one)
    tiny.adapter(base, other, ["o_proj", "down_proj"], seed=1)
    return str(one), str(other)


@pytest.fixture(scope="module")
def engine(base: Path) -> TransformersEngine:
    return TransformersEngine(str(base))


def said(engine: Any, adapter: str | None, *queries: Query) -> list[str]:
    found = answer(engine, adapter, queries)
    return [each.text if isinstance(each, DecodedAnswer) else repr(each) for each in found]


def test_answers_are_those_of_generate(engine: TransformersEngine, base: Path, adapters: tuple[str, str]) -> None:
    apart = {adapter: generated(base, adapter, PROMPTS, 12) for adapter in (None, *adapters)}
    assert len({tuple(texts) for texts in apart.values()}) == 3
    for adapter in (None, *adapters, None, *reversed(adapters)):
        assert said(engine, adapter, *(Query(prompt, 12) for prompt in PROMPTS)) == apart[adapter]


def test_labels_of_a_batch_are_those_of_its_rows_alone(engine: TransformersEngine) -> None:
    queries = [Query(prompt, 4, labels=("yes", "no", "not at all")) for prompt in PROMPTS]
    together = said(engine, None, *queries)
    assert together == [said(engine, None, query)[0] for query in queries]
    assert {text.strip() for text in together} <= {"yes", "no", "not at all"}


def test_a_prompt_longer_than_the_context_is_refused(engine: TransformersEngine) -> None:
    [found] = answer(engine, None, [Query("word " * engine.context, 4)])
    assert isinstance(found, PromptTooLong)


def test_a_model_without_a_chat_template_cannot_chat(engine: TransformersEngine) -> None:
    with pytest.raises(UserError, match="no chat template"):
        answer(engine, None, [Query("Hello", 4, chat=True)])


def test_a_chat_template_is_put_around_the_prompt(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "chat")
    (tmp_path / "chat" / "chat_template.jinja").write_text("[{{ messages[0].content }}]")
    engine = TransformersEngine(str(tmp_path / "chat"))
    assert engine.encode(Query("Hello", 4, chat=True)) == engine.encode(Query("[Hello]", 4))


def test_a_model_that_is_nowhere_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        TransformersEngine(str(tmp_path / "absent"))


def test_an_adapter_that_is_nowhere_is_a_users_error(engine: TransformersEngine, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"the adapter '{tmp_path}' cannot be loaded"):
        answer(engine, str(tmp_path), [Query("Hello", 4)])


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
def test_an_adapter_that_fits_no_module_is_an_error_and_leaves_the_base_as_it_was(
    base: Path, adapters: tuple[str, str], tmp_path: Path
) -> None:
    shutil.copytree(adapters[0], tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    config["target_modules"] = ["o_proj"]
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    engine = TransformersEngine(str(base))
    with pytest.raises(
        UserError, match=r"the adapter .* cannot be loaded: it does not fit this base: of 4 weights 4 are missing"
    ):
        answer(engine, str(tmp_path / "adapter"), [Query("Hello", 4)])
    for adapter in (None, adapters[1]):
        expected = generated(base, adapter, PROMPTS, 12)
        assert said(engine, adapter, *(Query(prompt, 12) for prompt in PROMPTS)) == expected
