"""The page on ToxicChat says what the recorded runs, collected answers and adapters' cards say."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.ask.run import BenchOptions, bench
from harness.errors import UserError
from harness.store.results import read_rows
from harness.teach.collect import collect
from harness.train import card
from studies.toxicity import BASE, STUDENTS, TASK, report

ROOT = Path(__file__).parents[2]
TRAIN, TEST = 20, 10


def message(split: str, number: int) -> dict[str, object]:
    """Every second message is toxic; the teacher misses every fifth, and so 2 of 5 toxic ones of each ten."""
    toxic = number % 2
    said = "toxic" if toxic and number % 5 else "not toxic"
    text = f"{split} message {number} " + ("with an insult" if toxic else "about the weather")
    return {"user_input": text, "toxicity": toxic, "jailbreaking": int(number % 10 == 1), "gpt4_label": said}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Collected answers and runs: `framed` repeats the teacher, `pruned` and the base say one class always."""
    folder = tmp_path / "data" / "lmsys__toxic-chat" / "toxicchat0124"
    folder.mkdir(parents=True)
    for split, rows in (("train", TRAIN), ("test", TEST)):
        pq.write_table(pa.Table.from_pylist([message(split, n) for n in range(rows)]), folder / f"{split}.parquet")
    said = {"framed": None, "pruned": "not toxic", BASE: "I cannot say."}
    entries = {
        "gpt-4": {"backend": "column", "column": "gpt4_label"},
        **{name: {"backend": "recorded", "path": str(tmp_path / f"{name}.jsonl")} for name in said},
        "majority": {"backend": "baseline", "method": "majority"},
        "tfidf": {"backend": "baseline", "method": "tfidf"},
    }
    (tmp_path / "models.yaml").write_text(json.dumps(entries))
    options = BenchOptions(
        (TASK,), ("gpt-4",), tmp_path / "models.yaml", ROOT / "tasks", tmp_path / "results", str(tmp_path / "data")
    )
    (run,) = bench(options, lambda line: None)
    rows = list(read_rows(options.results, TASK, run.rows))
    labels = {str(message("test", n)["user_input"]): str(message("test", n)["gpt4_label"]) for n in range(TEST)}
    for name, always in said.items():
        told = [always or next(label for text, label in labels.items() if text in row.prompt) for row in rows]
        lines = [json.dumps({"row": row.id, "completion": one}) for row, one in zip(rows, told, strict=True)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    bench(replace(options, models=tuple(entries)), lambda line: None)
    for split in (None, "test"):
        collect(replace(options, models=("column:gpt4_label",)), lambda line: None, split=split)
    return options.results


@pytest.fixture
def students(tmp_path: Path) -> Path:
    """Cards of two students and of another try, as a shipped adapter's is."""
    shipped = card.read(ROOT / "adapters" / "smollm2-135m" / TASK)
    for name in (*(f"{student}-lora" for student in STUDENTS), "pruned-slower"):
        folder = tmp_path / "student" / name / TASK
        folder.mkdir(parents=True)
        prune = {"start": "The message", "end": "", "texts": []} if name.startswith("pruned") else None
        (folder / "card.json").write_text(json.dumps(asdict(replace(shipped, prune=prune))))
    return tmp_path / "student"


def cells(text: str, heading: str, first: str) -> list[str]:
    """The cells of the row that begins with this text, in the first table below a heading that has one."""
    part = text[text.index(heading) :]
    line = next(line for line in part.splitlines() if line.startswith(f"| {first} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_has_the_figures_of_the_runs(results: Path, students: Path, tmp_path: Path) -> None:
    page = tmp_path / "toxicity.md"
    report(results, students, page)
    text = page.read_text()
    assert "all rows: n = 30, 0 without a usable answer" in text, "training and test messages together"
    # 15 of 30 messages are toxic; the teacher misses 3 of them, and calls no other one toxic.
    assert cells(text, "## GPT-4 against people", "toxic")[1:] == ["1.000", "0.800", "0.889", "15"]
    assert cells(text, "## GPT-4 against people", "not toxic")[1:] == ["0.833", "1.000", "0.909", "15"]
    assert cells(text, "## GPT-4 against people", "accuracy")[3].startswith("0.900 [")
    assert cells(text, "## GPT-4 against people", "kappa")[3] == "0.800"
    assert "jailbreaking = 1: n = 3" in text
    assert cells(text, "## Against people", "framed")[1:3] == ["4 of 10", "0"]
    assert cells(text, "## Against people", "framed")[4:8] == ["1.000", "0.800", "0.889", "0.800"]
    always = cells(text, "## Against people", "pruned")
    assert always[1] == "0 of 10", "a student that always says one class is not hidden"
    assert always[3].startswith("0.500 [")
    assert cells(text, "## Against people", BASE)[2] == "10", "answers that cannot be read count as wrong"
    assert "- framed and smollm2 are not separable (+0.889 f1" in text, "so few rows do not show it"
    assert "nor say anything of 1 jailbreak attempts" in text
    assert cells(text, "## Against GPT-4", "framed")[3].startswith("1.000 [")
    assert cells(text, "## Against GPT-4", "human")[3].startswith("0.900 [")
    assert "pruned-slower" in text
    assert cells(text, "## Cost", "`gpt-4`")[2] == "9.180", "300 tokens at 30 USD and 3 at 60 USD a million"


def test_a_run_or_adapter_that_is_missing_is_named(results: Path, students: Path, tmp_path: Path) -> None:
    shutil.rmtree(students / "framed-lora")
    with pytest.raises(UserError, match="no adapter framed-lora"):
        report(results, students, tmp_path / "toxicity.md")
    shutil.rmtree(results / TASK / "pruned")
    with pytest.raises(UserError, match="no run of pruned on toxic_chat"):
        report(results, students, tmp_path / "toxicity.md")
