"""The page of the landscape says what the recorded runs and the adapters' cards say."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.ask.run import BenchOptions, bench
from harness.store.results import Manifest, read_rows
from studies.landscape.report import ADAPTER, BASE, report

ROOT = Path(__file__).parents[3]
TASK = "ag_news"
TOPICS = ("World", "Sports", "Business", "Science and technology")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Runs on rows of a mirror: the base repeats one topic, the adapter is right on every row."""
    folder = tmp_path / "data" / "fancyzhx__ag_news" / "default"
    folder.mkdir(parents=True)
    for split, rows in (("train", 40), ("test", 60)):
        made = [{"text": f"{split} {TOPICS[row % 4]} {row}", "label": row % 4} for row in range(rows)]
        pq.write_table(pa.Table.from_pylist(made), folder / f"{split}.parquet")
    entries = {
        "majority": {"backend": "baseline", "method": "majority"},
        "tfidf": {"backend": "baseline", "method": "tfidf"},
        BASE: {"backend": "recorded", "path": str(tmp_path / "base.jsonl")},
        ADAPTER: {"backend": "recorded", "path": str(tmp_path / "lora.jsonl"), "base": BASE},
    }
    (tmp_path / "models.yaml").write_text(json.dumps(entries))

    def ask(*models: str) -> Manifest:
        options = BenchOptions(
            (TASK,), models, tmp_path / "models.yaml", ROOT / "tasks", tmp_path / "results", str(tmp_path / "data")
        )
        [run, *_] = bench(options, print)
        return run

    run = ask("majority")
    rows = list(read_rows(tmp_path / "results", TASK, run.rows))
    for name, answer in (("base", lambda row: rows[0].references[0]), ("lora", lambda row: row.references[0])):
        lines = [json.dumps({"row": row.id, "completion": answer(row)}) for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    ask()
    return tmp_path / "results"


def test_the_page_has_scores_verdicts_published_figures_claims_and_costs(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "landscape.md"
    page.parent.mkdir()
    report(results, ROOT / "adapters" / "smollm2-135m", page)
    text = page.read_text()
    assert "1 tasks, 60 to 60 rows each, 240 answers" in text
    line = next(line for line in text.splitlines() if line.startswith("| ag_news"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["ag_news", "accuracy", "60"]
    assert cells[6].startswith("1.000 [")
    assert cells[7:9] == [">", ">"], "better than the base and than the most frequent topic"
    assert "mean lift over the base" in text
    assert "75.0 points" in text
    assert "CPU-minutes an adapter" in text
    assert (page.parent / "images" / "landscape.svg").read_text().startswith("<?xml")
