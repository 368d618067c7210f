"""The weights that come with the project are whole, belong together, and answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.ask.prepare import select_rows
from harness.hashing import digest
from harness.models.engines.decoding import Answer, Query, answer
from harness.models.engines.onnx import OnnxEngine, is_exported
from harness.models.engines.transformers import TIED
from harness.models.local import CARD
from harness.rows.evaluation import choose
from harness.rows.origin import locate
from harness.rows.training import load
from harness.tasks.catalog import load_task
from harness.tasks.prompts import Prompts
from studies.mini import ADAPTERS, MODEL
from tests.models.engines.plain import generated

ROOT = Path(__file__).parents[3]
TASKS = sorted(path.name for path in (ROOT / ADAPTERS).iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def engine() -> OnnxEngine:
    return OnnxEngine(ROOT / MODEL)


def test_they_take_no_more_than_60_megabytes() -> None:
    weights = [path for folder in (MODEL, ADAPTERS) for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in weights) < 60e6


def test_most_tasks_have_an_adapter() -> None:
    assert len(TASKS) == 30


@pytest.mark.parametrize("task", TASKS)
def test_an_adapter_was_trained_on_the_prompt_that_is_asked(task: str) -> None:
    card = json.loads((ROOT / ADAPTERS / task / CARD).read_text())
    assert (card["task"], card["base"]) == (task, str(MODEL))
    assert card["prompt_hash"] == digest(load_task(ROOT / "tasks", task).task.prompt), "train it again: make mini"


@pytest.mark.parametrize("task", TASKS)
def test_an_adapter_is_there_in_both_forms_and_names_its_base(task: str) -> None:
    folder = ROOT / ADAPTERS / task
    assert is_exported(ROOT / MODEL, folder)
    assert (folder / "adapter_model.safetensors").is_file()
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"]) == (str(MODEL), 8)


def test_every_adapter_answers_in_its_own_way(engine: OnnxEngine) -> None:
    prompt = "The film is a delight from beginning to end.\nAnswer:"
    said = {}
    for task in TASKS:
        [found] = answer(engine, str(ROOT / ADAPTERS / task), [Query(prompt, 24)])
        assert isinstance(found, Answer)
        said[task] = found.text
    [base] = answer(engine, None, [Query(prompt, 24)])
    assert isinstance(base, Answer)
    # Many say one of the few labels that follow such a prompt; what is written, a number or a letter differs.
    assert len({base.text, *said.values()}) > len(TASKS) // 3


@pytest.mark.parametrize("task", ["glue_sst2", "ag_news"])
def test_an_adapter_knows_what_an_answer_looks_like(task: str, engine: OnnxEngine) -> None:
    file = load_task(ROOT / "tasks", task)
    _, rows = select_rows(file, "sample", 0, 8, strict=True)
    found = answer(engine, str(ROOT / ADAPTERS / task), [Query(row.prompt, 8) for row in rows])
    assert {one.text.strip() for one in found if isinstance(one, Answer)} <= set(file.task.choices)


def test_on_dbpedia_an_adapter_doubles_the_score_of_its_base(engine: OnnxEngine) -> None:
    file = load_task(ROOT / "tasks", "dbpedia")
    rows = choose(file, Prompts(file), locate(file, "sample")).rows
    queries = [Query(row.prompt, 8) for row in rows]

    def right(adapter: str | None) -> int:
        parts = [queries[start : start + engine.batch] for start in range(0, len(queries), engine.batch)]
        found = [one for part in parts for one in answer(engine, adapter, part)]
        return sum(
            isinstance(one, Answer) and one.text.strip() in row.references for one, row in zip(found, rows, strict=True)
        )

    assert right(str(ROOT / ADAPTERS / "dbpedia")) >= 2 * right(None) > 0


@pytest.mark.local
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", f"ignore:{TIED}")
def test_plain_transformers_and_peft_give_the_same_answers_on_100_rows_and_to_the_base(engine: OnnxEngine) -> None:
    adapted = ("ag_news", "dbpedia", "e2e_nlg", "glue_sst2")
    for task, adapter in (*((task, str(ROOT / ADAPTERS / task)) for task in adapted), ("e2e_nlg", None)):
        file = load_task(ROOT / "tasks", task)
        pairs = load(file, Prompts(file), locate(file, "sample")).pairs
        _, rows = select_rows(file, "sample", 0, 25, strict=True)
        prompts = [*(row.prompt for row in rows), *(pair.prompt for pair in pairs)][:25]
        found = [answer(engine, adapter, [Query(prompt, 24)])[0] for prompt in prompts]
        texts = [one.text for one in found if isinstance(one, Answer)]
        assert len(texts) == 25
        assert texts == generated(ROOT / MODEL, adapter, prompts, 24)


def test_the_main_job_asks_the_baselines_and_the_miniature(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "harness", "bench", "--task", "jigsaw", "--data", "sample", "--json"]
    done = subprocess.run(
        [*command, "--results", str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    scores = [row for row in json.loads(done.stdout)["results"] if row["metric"] == "accuracy"]
    assert {row["model"] for row in scores} == {"majority", "tfidf", "mini", "mini-lora"}
    assert all(row["n"] == 24 and row["low"] <= row["score"] <= row["high"] for row in scores)
