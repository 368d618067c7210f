"""The engine of the default install, with the model that is shipped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.models.engines.decoding import Answer, PromptTooLong, Query, answer
from harness.models.engines.onnx import OnnxEngine, is_exported
from tests.models.engines.mini import ADAPTERS, MINI, PROMPTS


@pytest.fixture(scope="module")
def engine() -> OnnxEngine:
    return OnnxEngine(MINI)


def said(engine: OnnxEngine, adapter: str | None, *queries: Query) -> list[str]:
    found = answer(engine, adapter, queries)
    assert all(isinstance(each, Answer) for each in found), found
    return [each.text for each in found if isinstance(each, Answer)]


def queries(most: int = 8, **settings: object) -> list[Query]:
    return [Query(prompt, most, **settings) for prompt in PROMPTS]  # type: ignore[arg-type]


def test_the_shipped_model_is_for_this_engine() -> None:
    assert is_exported(MINI)
    assert not is_exported(MINI.parent)


def test_so_are_its_adapters_but_not_one_in_another_form(tmp_path: Path) -> None:
    assert all(is_exported(MINI, Path(adapter)) for adapter in ADAPTERS)
    assert not is_exported(MINI, tmp_path)


@pytest.mark.parametrize("adapter", [None, *ADAPTERS])
def test_answers_of_a_batch_are_those_of_its_rows_alone(engine: OnnxEngine, adapter: str | None) -> None:
    assert said(engine, adapter, *queries()) == [said(engine, adapter, query)[0] for query in queries()]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_labels_of_a_batch_are_those_of_its_rows_alone(engine: OnnxEngine, adapter: str) -> None:
    asked = queries(labels=("zebra", "yes", "no", "none"))
    together = said(engine, adapter, *asked)
    assert together == [said(engine, adapter, query)[0] for query in asked]
    assert {text.strip() for text in together} <= {"zebra", "yes", "no", "none"}


def test_models_of_one_base_take_turns(engine: OnnxEngine) -> None:
    apart = {adapter: said(OnnxEngine(MINI), adapter, *queries()) for adapter in (None, *ADAPTERS)}
    for adapter in (*ADAPTERS, None, *reversed(ADAPTERS), None):
        assert said(engine, adapter, *queries()) == apart[adapter]
    assert len({tuple(texts) for texts in apart.values()}) == 3


def test_a_short_prompt_beside_one_that_fills_the_context_gets_its_whole_answer(engine: OnnxEngine) -> None:
    tokens = engine.tokenizer.encode("word " * engine.context).ids[: engine.context - 3]
    long, short = engine.tokenizer.decode(tokens), "The"
    found = answer(engine, None, [Query(long, 50), Query(short, 50)])
    assert found == [answer(engine, None, [query])[0] for query in (Query(long, 50), Query(short, 50))]


def test_a_prompt_longer_than_the_context_is_refused(engine: OnnxEngine) -> None:
    [found] = answer(engine, None, [Query("word " * engine.context, 4)])
    assert isinstance(found, PromptTooLong)


def test_there_is_no_chat(engine: OnnxEngine) -> None:
    with pytest.raises(UserError, match="leave `api: chat` out"):
        answer(engine, None, [Query("Hello", 4, chat=True)])


def test_an_adapter_that_is_not_there_is_a_users_error(engine: OnnxEngine, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=str(tmp_path)):
        answer(engine, str(tmp_path), [Query("Hello", 4)])
    assert said(engine, None, Query("Hello", 4))


def test_a_folder_that_lacks_something_is_a_users_error(tmp_path: Path) -> None:
    shutil.copy(MINI / "genai_config.json", tmp_path)
    with pytest.raises(UserError, match=f"the model in {tmp_path} cannot be loaded"):
        OnnxEngine(tmp_path)


def test_a_tokenizer_that_would_cut_prompts_does_not(tmp_path: Path) -> None:
    for path in MINI.iterdir():
        if path.suffix in {".json", ".onnx", ".data"}:
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "tokenizer.json").unlink()
    words = json.loads((MINI / "tokenizer.json").read_text())
    words["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(words))
    assert len(OnnxEngine(tmp_path).encode(Query("one two three four five six seven", 4))) > 4
