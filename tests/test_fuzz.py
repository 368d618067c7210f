"""What reads files and answers of others ends in a value or in an error of ours, whatever it is given.

By default a fixed set of examples that takes some seconds. For an hour of new ones: `FUZZ_EXAMPLES=200000 pytest -n 0
tests/test_fuzz.py`; an example that fails is kept in `.hypothesis/` and tried first from then on.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from harness.errors import HarnessWarning, SpecError, UserError
from harness.score.answers import answer_in, text_of
from harness.store.results import read_manifests, read_responses, read_rows, rows_path
from harness.tasks.task import AnswerFormat, Task
from harness.tasks.yaml import read, validate

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
fuzzed = settings(
    max_examples=EXAMPLES or 60,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

odd = st.sampled_from(
    ["\x1b[2J", "\ud800", "\x00", "é", "\u2028", "```", "{{", "{%", "</think>", "[[[[", "9" * 400, "1e999", "NaN"]
)
texts = st.lists(odd | st.text(), max_size=4).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
LINE: dict[str, Any] = {"key": "k", "row": "r", "status": "ok", "completion": "yes", "latency_s": 0.5, "attempts": 1}
ROW: dict[str, Any] = {"id": "r", "prompt": "p", "references": ["yes"], "fields": {}}
TASK: dict[str, Any] = {
    "title": "t", "category": "classification", "dataset": {"hub": "a/b", "splits": {"test": "test"}},
    "prompt": "{{ text }}", "target": "{{ label }}", "answer": {"type": "label", "labels": ["yes", "no"]},
    "metrics": ["accuracy"], "max_tokens": 4,
}  # fmt: skip
RUN: dict[str, Any] = {
    "task": "t", "model": "m", "kind": "sample", "place": "sample", "source": "sample", "spec": TASK,
    "task_sha256": "1", "prompt_hash": "2", "settings": "3", "model_settings": {}, "dataset": {},
    "rows": "0123456789abcdef", "n": 1, "seed": 0, "versions": {}, "git": {}, "started": "", "finished": "",
    "seconds": 0.5, "asked": 1,
}  # fmt: skip


def spoilt(whole: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """A JSON document with some keys changed, left out or added, as it is or cut, or anything at all."""
    changed = st.dictionaries(st.sampled_from(sorted(whole)) | texts, values, max_size=3)
    document = st.tuples(changed, st.sets(st.sampled_from(sorted(whole)), max_size=1)).map(
        lambda two: json.dumps({name: one for name, one in (whole | two[0]).items() if name not in two[1]}).encode()
    )
    cut = st.tuples(document, st.integers(0, 400)).map(lambda two: two[0][: two[1]])
    return document | cut | st.binary(max_size=60)


@fuzzed
@given(lines=st.lists(spoilt(LINE), max_size=4))
def test_lines_of_answers(lines: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "responses.jsonl").write_bytes(b"\n".join([*lines, json.dumps(LINE).encode()]) + b"\n")
    with warnings.catch_warnings(action="ignore", category=HarnessWarning):
        found = list(read_responses(tmp_path))
    assert found[-1].key == "k"
    assert all(isinstance(one.completion, str) and isinstance(one.latency_s, float | None) for one in found)


@fuzzed
@given(line=spoilt(ROW))
def test_rows(line: bytes, tmp_path: Path) -> None:
    path = rows_path(tmp_path, "t", "0123456789abcdef")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(line + b"\n")
    with pytest.raises(UserError, match=r"0123456789abcdef\.jsonl"):
        list(read_rows(tmp_path, "t", "0123456789abcdef"))


@fuzzed
@given(content=spoilt(RUN))
def test_manifests(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t" / "m" / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'{"sample": ' + content + b"}")
    with warnings.catch_warnings(action="ignore", category=HarnessWarning):
        assert all((run.task, run.model) == ("t", "m") for run in read_manifests(tmp_path))


@fuzzed
@given(content=spoilt(TASK) | texts.map(lambda text: text.encode("utf-8", "replace")))
def test_task_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_bytes(content)
    with contextlib.suppress(SpecError):
        validate(read(path), Task)


ANSWERS = [
    {"type": "label", "labels": ["yes", "no"]}, {"type": "number"}, {"type": "text"}, {"type": "json"},
    {"type": "entities", "types": ["person"]}, {"type": "sql"}, {"type": "code", "program": "{{ completion }}"},
]  # fmt: skip


@pytest.mark.parametrize("kind", ANSWERS, ids=lambda kind: kind["type"])
@fuzzed
@given(completion=texts | values.map(json.dumps) | values.map(str))
def test_answers(completion: str, kind: dict[str, Any]) -> None:
    answer_in(text_of(completion, None), TypeAdapter(AnswerFormat).validate_python(kind))
