"""No text of a stranger reaches a terminal as a code that it obeys."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.printable import printable
from tests.loopback import Loopback
from tests.runs import TASK, Small

ROOT = Path(__file__).parents[1]
TITLE = "\x1b]0;owned\x07\x9b2J\x1b[1;31mred\r\x7f\u202eback"
CODES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@given(st.text())
def test_what_is_printed_holds_no_code_and_all_else_as_it_was(text: str) -> None:
    assert not CODES.search(printable(text))
    assert re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), printable(text)) == re.sub(
        r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text
    )


def test_half_of_a_character_is_printed_as_its_escape() -> None:
    assert printable("x\ud83d").encode() == b"x\\ud83d"


@given(st.recursive(st.text() | st.integers(), st.lists))
def test_a_json_document_stays_the_document_it_was(value: object) -> None:
    assert json.loads(printable(json.dumps(value, ensure_ascii=False))) == value


@pytest.fixture
def recorded(tmp_path: Path, loopback: Loopback) -> Small:
    """Two models on a task whose title, rows and answers hold codes; a folder of results as a stranger sends it."""
    small = Small(tmp_path)
    small.task(text=TASK.replace("title: Small", f"title: {json.dumps(TITLE)}"))
    samples = tmp_path / "tasks" / "samples" / "small.jsonl"
    samples.write_text(samples.read_text().replace("row 5", f"row 5 {json.dumps(TITLE)[1:-1]}"))
    loopback.answer = lambda prompt: f"yes{TITLE}" if "row 5" in prompt else ("yes", "no")[len(prompt) % 2]
    for name in "ab":
        small.model(name, loopback.openai_url)
    small.bench()
    for name in "ab":
        folder = small.results / "small" / name
        run = json.loads((folder / "run.json").read_text())
        run["sample"]["model"] = f"{name}\x1b[2J\x9bm"
        (folder / "run.json").write_text(json.dumps(run))
        folder.rename(folder.with_name(f"{name}\x1b[2J\x9bm"))
    return small


def shown_on_a_terminal(small: Small, *arguments: str) -> str:
    """What a command writes to a terminal, its stdout and stderr."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments], cwd=small.folder, stdin=subprocess.DEVNULL, stdout=child,
        stderr=child, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    os.close(child)
    shown = b""
    try:
        while part := os.read(parent, 65536):
            shown += part
    except OSError:  # how Linux says that nobody writes to the terminal any more
        pass
    os.close(parent)
    process.wait(timeout=60)
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "a\x1b[2J\x9bm", "b\x1b[2J\x9bm"),
        ("compare", "a\x1b[2J\x9bm", "nobody\x1b[31m"),
        ("check", "small", "--data", "sample", "--tasks", "tasks"),
        ("preview", "small", "--data", "sample", "--tasks", "tasks"),
        ("tasks", "--tasks", "tasks"),
    ],
    ids=lambda arguments: " ".join(arguments[:1]),
)
def test_a_terminal_is_sent_no_code_of_theirs(recorded: Small, arguments: tuple[str, ...]) -> None:
    shown = shown_on_a_terminal(recorded, *arguments)
    assert shown.strip()
    assert "Traceback" not in shown
    assert not CODES.search(shown), repr(shown)


def test_neither_is_one_that_shows_a_file_of_the_report(recorded: Small) -> None:
    shown = shown_on_a_terminal(recorded, "report", "--out", "out")
    assert "out/leaderboard.md" in shown
    assert not CODES.search(shown)
    files = [path for path in (recorded.folder / "out").rglob("*") if path.suffix in (".md", ".csv", ".svg", ".tex")]
    assert {path.suffix for path in files} == {".md", ".csv", ".svg", ".tex"}
    for path in files:
        assert not CODES.search(path.read_text(encoding="utf-8")), path
    assert "\\u001b[2J\\u009bm" in (recorded.folder / "out" / "leaderboard.csv").read_text()
