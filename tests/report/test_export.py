"""A recorded run as a Parquet file, against what is recorded and how it is scored."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness.errors import UserError
from harness.report.export import ROWS_AT_ONCE, export
from harness.score.scoring import score_run
from harness.store.results import ResponseLog, read_manifests, read_responses
from tests.loopback import FAULTS, Loopback
from tests.runs import ROWS, TASK, Small


@pytest.fixture
def small(tmp_path: Path, loopback: Loopback) -> Small:
    """Two models have been asked; to the second, one row is lost and every fourth answer is no label."""
    project = Small(tmp_path)
    project.model("a", loopback.openai_url)
    project.bench()
    project.model("b", loopback.openai_url)
    loopback.plan = lambda prompt, attempt: FAULTS["invalid"] if prompt.startswith("Is row 7 ") else None
    loopback.answer = lambda prompt: "perhaps" if int(prompt.split()[2]) % 4 == 0 else "no"
    project.bench()
    return project


def test_every_row_of_every_run_is_a_line(small: Small) -> None:
    out = small.folder / "runs.parquet"
    assert export(small.results, (), (), out) == 2 * ROWS
    frame = pq.read_table(out).to_pandas()
    assert list(frame.columns) == [
        "task", "model", "kind", "source", "row", "sample", "prompt", "references", "completion", "status", "latency_s",
        "ttft_s", "tpot_s",
        "input_tokens", "output_tokens", "score_accuracy",
    ]  # fmt: skip
    assert frame.groupby("model")["row"].nunique().to_dict() == {"a": ROWS, "b": ROWS}
    assert set(frame["kind"]) == {"sample"}
    assert frame["references"].map(list).isin([["yes"], ["no"]]).all()
    (lost,) = [line for line in pq.read_table(out).to_pylist() if line["status"] == "failed"]
    assert (lost["model"], lost["completion"], lost["latency_s"], lost["score_accuracy"]) == ("b", None, None, 0)
    assert lost["prompt"].startswith("Is row 7 ")
    statuses = frame[frame["model"] == "b"]["status"].value_counts().to_dict()
    assert statuses == {"ok": 29, "unparsed": 10, "failed": 1}


def test_the_mean_of_a_score_is_the_score(small: Small) -> None:
    out = small.folder / "runs.parquet"
    export(small.results, (), (), out)
    means = pq.read_table(out).to_pandas().groupby("model")["score_accuracy"].mean()
    for manifest in read_manifests(small.results):
        run = score_run(small.results, manifest)
        assert means[manifest.model] == pytest.approx(run.rows.stats["accuracy"].mean())


def test_a_line_holds_the_answer_that_counts(small: Small) -> None:
    folder = small.results / "small" / "a"
    first, *_ = read_responses(folder)
    with ResponseLog(folder) as log:
        log.append(type(first)(key=first.key, row=first.row, status="ok", completion="later", latency_s=9.0))
    with (folder / "responses.jsonl").open("a") as file:
        file.write('{"key": "half a li')
    out = small.folder / "runs.parquet"
    export(small.results, (), ("a",), out)
    frame = pq.read_table(out).to_pandas().set_index("row")
    assert frame.loc[first.row, "completion"] == "later"
    assert frame.loc[first.row, "latency_s"] == 9.0
    assert (frame.drop(index=first.row)["completion"] == "yes").all()


def test_a_task_without_a_metric_leaves_its_column_empty(small: Small) -> None:
    small.task("exact", TASK.replace("[accuracy, macro_f1]", "[exact_match]"))
    small.bench(tasks=("exact",), models=("a",))
    out = small.folder / "runs.parquet"
    export(small.results, (), ("a",), out)
    frame = pq.read_table(out).to_pandas()
    filled = frame.groupby("task")[["score_accuracy", "score_exact_match"]].count()
    assert filled.loc["small"].tolist() == [ROWS, 0]
    assert filled.loc["exact"].tolist() == [0, ROWS]


def test_only_what_is_named_is_written(small: Small) -> None:
    out = small.folder / "runs.parquet"
    assert export(small.results, ("small",), ("b",), out) == ROWS
    assert set(pq.read_table(out).to_pandas()["model"]) == {"b"}
    with pytest.raises(UserError, match=r"no run of task 'smal' in .* \(did you mean 'small'\?\)"):
        export(small.results, ("smal",), (), out)


def test_many_rows_are_written_in_pieces(small: Small) -> None:
    samples = small.folder / "tasks" / "samples" / "small.jsonl"
    samples.write_text(
        "".join(f'{{"text": "row {n} \\ud800", "label": "yes", "_split": "test"}}\n' for n in range(ROWS_AT_ONCE + 5))
    )
    small.task("many")
    small.bench(tasks=("many",), models=("a",), rows=ROWS_AT_ONCE + 5)
    out = small.folder / "runs.parquet"
    assert export(small.results, ("many",), (), out) == ROWS_AT_ONCE + 5
    file = pq.ParquetFile(out)
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [ROWS_AT_ONCE, 5]


def test_a_file_that_cannot_be_written_leaves_nothing_behind(small: Small) -> None:
    folder = small.folder / "out"
    folder.mkdir()
    (folder / "taken").mkdir()
    for out in (folder / "nowhere" / "runs.parquet", folder / "taken"):
        with pytest.raises(UserError, match="cannot be written"):
            export(small.results, (), (), out)
    assert [path.name for path in folder.rglob("*")] == ["taken"]
