"""Recorded answers: found by row, else by prompt; a line that is wrong is named."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import Rejected, UserError
from harness.models.backend import Reply
from harness.models.entry import RecordedModel
from harness.models.recorded import RecordedBackend, read
from tests.models.asking import request


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def backend(path: Path, task: str = "jigsaw") -> RecordedBackend:
    return RecordedBackend(RecordedModel(backend="recorded", path=str(path)), task)


def ask(path: Path, **changes: Any) -> Reply:
    return asyncio.run(backend(path).ask(request(**changes)))


def test_a_row_is_answered_by_its_id(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"row": "r0", "completion": "no"}, {"row": "r1", "completion": "yes"})
    assert ask(path) == Reply("yes", "stop")


def test_a_row_is_answered_by_its_exact_prompt(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "Is it?", "completion": ""})
    assert ask(path, prompt="Is it?") == Reply("")
    with pytest.raises(Rejected):
        ask(path, prompt="Is it? ")


def test_the_row_id_goes_before_the_prompt(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "Is it?", "completion": "no"}, {"row": "r1", "completion": "yes"})
    assert ask(path, prompt="Is it?").completion == "yes"


def test_all_that_is_known_of_an_answer_is_kept(tmp_path: Path) -> None:
    known = {"input_tokens": 7, "output_tokens": 0, "model": "m-2026", "finish_reason": "length"}
    path = write(tmp_path / "a.jsonl", {"row": "r1", "completion": "ye", "other": 1, **known})
    assert ask(path) == Reply("ye", "length", 7, 0, "m-2026")


def test_our_own_responses_can_be_read_and_their_failures_count_as_missing(tmp_path: Path) -> None:
    path = write(
        tmp_path / "responses.jsonl",
        {"key": "k", "row": "r1", "status": "failed", "completion": None, "error": "HTTP 500"},
        {"key": "k", "row": "r2", "status": "truncated", "completion": "ye"},
        {"key": "k", "row": "r3", "status": "refused", "completion": ""},
    )
    with pytest.raises(Rejected):
        ask(path)
    assert ask(path, row="r2").finish_reason == "length"
    assert ask(path, row="r3").finish_reason == "refusal"


def test_a_row_that_is_not_recorded_is_rejected_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"row": "r0", "completion": "no"})
    with pytest.raises(Rejected, match=r"no recorded answer for row r1 in .*a\.jsonl"):
        ask(path)


def test_the_task_is_filled_into_the_path(tmp_path: Path) -> None:
    write(tmp_path / "jigsaw.jsonl", {"row": "r1", "completion": "yes"})
    assert ask(tmp_path / "{task}.jsonl").completion == "yes"


def test_blank_lines_marks_and_odd_line_ends_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    # U+2028 ends a line for str.splitlines(), but not in JSON Lines.
    path.write_bytes('\ufeff\n{"row": "r1", "completion": "one\u2028two"}\r\n\n'.encode())
    assert ask(path).completion == "one\u2028two"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"row": "r1", "comple', "not JSON"),
        ("[1]", "no row or prompt"),
        ('{"completion": "yes"}', "no row or prompt"),
        ('{"row": 1, "completion": "yes"}', "no row or prompt that is a text"),
        ('{"row": "r1"}', "completion is missing"),
        ('{"row": "r1", "completion": null}', "completion is missing or not a text"),
        ('{"row": "r1", "completion": "x", "input_tokens": -1}', "input_tokens and output_tokens"),
        ('{"row": "r1", "completion": "x", "output_tokens": "3"}', "input_tokens and output_tokens"),
        ('{"row": "r1", "completion": "x", "finish_reason": "done"}', "finish_reason must be one of stop, length"),
        ('{"row": "r1", "completion": "x", "model": 4}', "model must be a text"),
    ],
)
def test_a_wrong_line_is_named_with_what_was_expected(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"row": "r0", "completion": "no"}}\n{line}\n')
    with pytest.raises(UserError, match=said) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert 'expected {"row": the row\'s id' in str(caught.value)


def test_two_answers_for_one_row_must_agree(tmp_path: Path) -> None:
    same = {"row": "r1", "completion": "yes"}
    assert ask(write(tmp_path / "a.jsonl", same, same)).completion == "yes"
    with pytest.raises(UserError, match=r"b\.jsonl:2: a second, different answer for the same row"):
        read(write(tmp_path / "b.jsonl", same, {"row": "r1", "completion": "no"}))


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_the_users_mistake(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.jsonl: .*recorded answers"):
        _ = backend(path).identity


def test_the_answers_identity_is_what_the_file_says_not_where_it_lies(tmp_path: Path) -> None:
    record = {"row": "r1", "completion": "yes"}
    first, moved = write(tmp_path / "a.jsonl", record), write(tmp_path / "b.jsonl", record)
    changed = write(tmp_path / "c.jsonl", {**record, "completion": "no"})
    assert backend(first).identity == backend(moved).identity != backend(changed).identity
