"""The instructions of a row are read strictly; the answer to them is a text as it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.score.answers import read, read_gold
from harness.tasks.catalog import load_task
from harness.tasks.task import Task
from tests.score.metrics.rows import spec

FOLLOWED = spec("instructions")
EXISTS = "keywords:existence"
WORDS = {"num_words": 9, "relation": "at least"}


def gold(ids: Any, kwargs: Any, **more: Any) -> str:
    return json.dumps({"instruction_id_list": ids, "kwargs": kwargs, **more})


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("“Yes”, he said\u00a0…\n", "“Yes”, he said\u00a0…\n"),
        ("<think>no, commas</think>Yes", "Yes"),
        (" \n", None),
        ("", None),
    ],
)
def test_the_answer_is_the_text_as_it_stands_without_thinking(completion: str, answer: str | None) -> None:
    assert read(completion, FOLLOWED) == answer


def test_instructions_are_read_with_their_arguments_and_without_nulls() -> None:
    text = gold(["punctuation:no_comma", EXISTS], [None, {"keywords": ["fog"], "num_words": None}])
    assert [(one.id, one.arguments) for one in read_gold(text, FOLLOWED)] == [
        ("punctuation:no_comma", {}), (EXISTS, {"keywords": ["fog"]}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no commas", "Expecting value"),
        ("[]", "valid dictionary"),
        (gold([], []), "instruction_id_list: List should have at least 1 item"),
        (gold([EXISTS], [{}], key=7), "key: Extra inputs"),
        (gold([EXISTS], []), "it has 1 instructions and 0 sets of arguments"),
        (
            gold(["keywords:existance"], [{}]),
            r"unknown instruction 'keywords:existance' \(did you mean 'keywords:exist",
        ),
        (gold([EXISTS], [{}]), "instruction 'keywords:existence' needs the argument 'keywords'"),
        (gold([EXISTS], [{"keyword": ["fog"]}]), r"has no argument 'keyword' \(did you mean 'keywords'\?\)"),
        (gold(["punctuation:no_comma"], [{"commas": 1}]), r"has no argument 'commas' \(it has none\)"),
        (gold([EXISTS], [{"keywords": "fog"}]), "argument 'keywords': .*valid list, found 'fog'"),
        (gold([EXISTS], [{"keywords": ["fog", ""]}]), "argument 'keywords': 1: .*at least 1 character"),
        (gold([EXISTS], [{"keywords": []}]), "argument 'keywords': .*at least 1 item"),
    ],
)
def test_an_instruction_of_which_a_part_is_not_understood_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_gold(text, FOLLOWED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_words": 0}, "greater than or equal to 1, found 0"),
        ({"num_words": "9"}, "valid integer, found '9'"),
        ({"num_words": True}, "valid integer, found True"),
        ({"relation": "at most"}, r"not a valid value \(did you mean 'at least'\?\), found 'at most'"),
    ],
)
def test_an_argument_of_a_wrong_kind_is_an_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_gold(gold(["length_constraints:number_words"], [WORDS | change]), FOLLOWED)


@pytest.mark.parametrize(("language", "valid"), [("de", True), ("zh-cn", True), ("zh", False), ("German", False)])
def test_a_language_is_a_code_that_can_be_detected(language: str, valid: bool) -> None:
    text = gold(["language:response_language"], [{"language": language}])
    if valid:
        assert read_gold(text, FOLLOWED)
    else:
        with pytest.raises(ValueError, match="argument 'language': not a valid value"):
            read_gold(text, FOLLOWED)


def test_no_examples_can_be_shown_of_targets_that_are_no_answers() -> None:
    shipped = load_task(Path(__file__).parents[3] / "tasks", "ifeval").task
    with pytest.raises(ValueError, match="the target of instructions is not an answer, so no example can be shown"):
        Task.model_validate(shipped.model_dump() | {"shots": {"n": 1}})
