"""Scores over time: a prompt that was edited, a planted drop, and lines that several processes add at once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest

from harness.compare.intervals import wilson
from harness.report.findings import long_frame
from harness.report.plots.score_over_time import history_plot
from harness.report.trend import cells, record, table
from harness.store.history import HISTORY, PastRun, append, read
from tests.commands.conftest import Command, harness, small
from tests.loopback import Loopback
from tests.runs import ROWS, TASK, Small
from tests.scored import right, scored

__all__ = ["harness", "small"]


def past(day: int, right: int, n: int = 200, model: str = "tuned", **changes: object) -> PastRun:
    """A run on a day of January with so many right answers."""
    found = wilson(right, n)
    run = PastRun(
        at=f"2026-01-{day:02}T08:00:00+00:00", task="small", kind="benchmark", model=model, metric="accuracy",
        higher_is_better=True, score=found.value, low=found.low, high=found.high, n=n, task_sha256="t",
        asking_version="aaaa", answers_version="bbbb", scoring_version="cccc", rows="r", settings="s", incomplete="",
        git={}, versions={},
    )  # fmt: skip
    return replace(run, **changes)  # type: ignore[arg-type]


def test_a_planted_drop_is_named_and_chance_is_not() -> None:
    (cell,) = cells([past(1, 170), past(2, 165), past(3, 168), past(4, 120), past(5, 118)])
    (drop,) = cell.drops
    assert (drop.before.at[8:10], drop.after.at[8:10]) == ("03", "04")
    assert "worse beyond chance since 2026-01-04" in str(drop)
    assert "corrected for 4 comparisons" in str(drop)


def test_the_interval_of_a_drop_is_newcombes() -> None:
    from statsmodels.stats.proportion import confint_proportions_2indep

    (cell,) = cells([past(1, 168), past(2, 120)])
    expected = confint_proportions_2indep(120, 200, 168, 200, method="newcomb", compare="diff")
    assert (cell.drops[0].low, cell.drops[0].high) == pytest.approx(expected, abs=1e-9)


def test_of_a_metric_where_lower_is_better_a_rise_is_the_drop() -> None:
    runs = [
        past(1, 20, higher_is_better=False),
        past(2, 80, higher_is_better=False),
        past(3, 10, higher_is_better=False),
    ]
    assert [drop.after.at[8:10] for drop in cells(runs)[0].drops] == ["02"]


def test_rows_that_a_server_lost_are_no_drop() -> None:
    """The same answers twice, 8 of 400 lost the second time: "worse beyond chance, p = 0.0042"."""
    as_good = wilson(400, 400)
    after = past(2, 392, 400, lost=8, if_right=(as_good.value, as_good.low, as_good.high))
    (cell,) = cells([past(1, 400, 400), after])
    assert not cell.drops
    assert "8 rows have no answer" in table([cell])
    worse = wilson(208, 400)
    (cell,) = cells([past(1, 400, 400), past(2, 200, 400, lost=8, if_right=(worse.value, worse.low, worse.high))])
    assert len(cell.drops) == 1


def test_a_run_is_recorded_with_what_its_lost_rows_could_have_been(tmp_path: Path) -> None:
    run = scored("small", "m", right(0.9), failed=4)
    record(tmp_path, [run], long_frame([run]))
    (line,) = read(tmp_path)
    assert (line.lost, line.score) == (4, pytest.approx(0.9))
    assert line.if_right is not None
    assert line.if_right[0] > 0.9


def test_runs_before_an_edit_are_superseded_and_compared_with_nothing() -> None:
    edited = [past(1, 190), past(2, 100, asking_version="dddd"), past(3, 101, asking_version="dddd")]
    (cell,) = cells(edited)
    assert not cell.drops
    assert [why for _, why in cell.runs] == ["superseded: another prompt", "", ""]
    (scored,) = cells([past(1, 190), past(2, 90, answers_version="x", scoring_version="y")])
    assert scored.superseded[0][1] == "superseded: another right answers"
    assert not scored.drops


def test_models_of_a_task_are_superseded_together() -> None:
    found = {cell.model: cell for cell in cells([past(1, 1, model="old"), past(2, 1, scoring_version="new")])}
    assert not found["old"].now
    assert found["old"].superseded[0][1] == "superseded: another scoring"


def test_an_incomplete_run_is_listed_and_compared_with_nothing() -> None:
    (cell,) = cells([past(1, 170), past(2, 40, incomplete="130 of 200 rows have no answer"), past(3, 168)])
    assert len(cell.now) == 3
    assert not cell.drops


def test_superseded_runs_are_never_joined_by_a_line(tmp_path: Path) -> None:
    runs = [past(1, 180), past(2, 182), past(3, 90, asking_version="dddd"), past(4, 92, asking_version="dddd")]
    history_plot(cells(runs), tmp_path / "plot")
    svg = (tmp_path / "plot.svg").read_text()
    assert "superseded" in svg
    # A line that joins runs has the model's colour and as many points as there are current runs.
    joined = re.findall(r'<path d="([^"]+)"[^>]*style="fill: none; stroke: #0072b2; stroke-width: 1.1[^"]*"', svg)
    longest = max(joined, key=len)
    assert len(re.findall("[ML]", longest)) == 2
    grey = re.findall(r'<path d="([^"]+)"[^>]*style="fill: none; stroke: #7f7f7f; stroke-width: 1.1', svg)
    assert all(len({x for x, _ in _points(path)}) == 1 for path in grey)  # intervals alone, which are upright


def _points(path: str) -> list[tuple[str, str]]:
    return re.findall(r"[ML] (\S+) (\S+)", path)


def test_a_task_that_was_run_once_has_no_plot(tmp_path: Path) -> None:
    assert history_plot(cells([past(1, 10), past(1, 12, model="other")]), tmp_path / "plot") == []


WRITER = """
import sys
from dataclasses import asdict, replace
from pathlib import Path
from harness.store.history import append
from tests.report.test_trend import past
for number in range(150):
    append(Path(sys.argv[1]), [replace(past(1, 1), model=f"{sys.argv[2]}-{number}")])
"""


def test_processes_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / HISTORY).write_bytes(b'{"at": "half a line that a killed process left')
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(name)]) for name in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = [run.model for run in read(tmp_path)]
    assert len(found) == len(set(found)) == 450
    for name in range(3):  # each process's own stand in its order
        own = [int(model.partition("-")[2]) for model in found if model.startswith(f"{name}-")]
        assert all(one < other for one, other in pairwise(own))


def test_a_damaged_line_is_left_out_with_its_number(tmp_path: Path) -> None:
    append(tmp_path, [past(1, 10)])
    with (tmp_path / HISTORY).open("a") as file:
        file.write('{"at": 1}\nnot JSON\n')
    append(tmp_path, [past(2, 10)])
    with pytest.warns(match=r"history\.jsonl:[23]: left out") as warned:
        assert [run.at[8:10] for run in read(tmp_path)] == ["01", "02"]
    assert len(warned) == 2


@pytest.mark.parametrize(
    ("edit", "said"), [({"at": "yesterday"}, "at: "), ({"n": 0}, "n: "), ({"score": None}, "score: ")]
)
def test_a_line_that_was_edited_into_nonsense_is_left_out(tmp_path: Path, edit: dict[str, object], said: str) -> None:
    append(tmp_path, [past(1, 150)])
    with (tmp_path / HISTORY).open("a") as file:
        file.write(json.dumps({**asdict(past(2, 150)), **edit}) + "\n")
    with pytest.warns(match=rf"history\.jsonl:2: left out: {said}"):
        assert [run.at[:10] for run in read(tmp_path)] == ["2026-01-01"]


def test_runs_are_in_order_of_time_in_whatever_zone_it_is_given(tmp_path: Path) -> None:
    late, early = past(2, 118, at="2026-01-02T01:00:00-09:00"), past(2, 170, at="2026-01-02T08:00:00+00:00")
    append(tmp_path, [late, early])
    (cell,) = cells(read(tmp_path))
    assert [run.score for run in cell.now] == [early.score, late.score]
    assert len(cell.drops) == 1


def test_an_interval_beside_its_score_is_drawn(tmp_path: Path) -> None:
    (cell,) = cells([past(1, 150, low=0.8), past(2, 150, high=0.7)])
    assert history_plot([cell], tmp_path / "plot")


def test_a_plot_that_cannot_be_written_is_one_message(harness: Command, tmp_path: Path) -> None:
    append(tmp_path, [past(1, 150), past(2, 150)])
    code, _, err = harness("history", "small", "--results", str(tmp_path), "--plot", "/dev/null/plot")
    assert code == 2
    assert "/dev/null/plot: cannot be written" in err


def test_a_history_that_cannot_be_written_does_not_end_a_run(tmp_path: Path) -> None:
    (tmp_path / HISTORY).mkdir()
    with pytest.warns(match="not added to the history"):
        append(tmp_path, [past(1, 10)])


@pytest.fixture
def edited(harness: Command, small: Small, loopback: Loopback) -> Small:
    """A project that was run twice, once again after its prompt was edited, and whose answers were then forgotten."""
    small.model("tuned", loopback.openai_url)
    bench = ["bench", *small.arguments()]
    for _ in range(2):
        assert harness(*bench)[0] == 0
    small.task(text=TASK.replace("fine?", "all right?"))
    assert harness(*bench)[0] == 0
    assert harness("forget", "small", "tuned", "--results", str(small.results))[0] == 0
    assert harness(*bench)[0] == 0
    return small


def test_a_prompt_edited_between_two_runs(harness: Command, edited: Small, tmp_path: Path) -> None:
    results = str(edited.results)
    code, out, _ = harness("history", "small", "tuned", "--results", results, "--plot", str(tmp_path / "over.svg"))
    assert code == 0
    assert out.count("superseded: another prompt") == 2
    assert out.splitlines()[0] == "small, tuned (sample rows)"
    assert (tmp_path / "over.png").is_file()
    code, out, _ = harness("history", "--json", "--results", results)
    (cell,) = json.loads(out)
    runs = cell["runs"]
    assert [run["superseded"] for run in runs] == ["superseded: another prompt"] * 2 + ["", ""]
    assert all(run["n"] == ROWS and run["low"] <= run["score"] <= run["high"] and run["versions"] for run in runs)


def test_the_report_has_a_plot_of_the_history(harness: Command, edited: Small, tmp_path: Path) -> None:
    out = tmp_path / "report"
    code, listed, _ = harness(
        "report", "--results", str(edited.results), "--tasks", str(edited.folder / "tasks"), "--out", str(out)
    )
    assert code == 0
    assert f"{out / 'plots' / 'history-small-sample.svg'}" in listed
    assert "Scores of small over time" in (out / "index.html").read_text()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["smal"], "no run of task 'smal' (did you mean 'small'?)"),
        (["small", "tunde"], "no run of model 'tunde' (did you mean 'tuned'?)"),
    ],
)
def test_an_unknown_name_is_a_mistake(harness: Command, edited: Small, asked: list[str], message: str) -> None:
    code, _, err = harness("history", *asked, "--results", str(edited.results))
    assert code == 2
    assert message in err
    assert HISTORY in err


def test_without_runs_there_is_nothing_to_show(harness: Command, tmp_path: Path) -> None:
    code, _, err = harness("history", "--results", str(tmp_path))
    assert code == 2
    assert "harness bench" in err
    code, _, err = harness("history", "--plot", "x", "--results", str(tmp_path))
    assert code == 2
    assert "--plot shows one task: name it" in err


def test_rows_that_are_added_look_after_look_are_warned_of(small: Small, loopback: Loopback, harness: Command) -> None:
    small.model("a", loopback.openai_url)
    said = []
    for rows in ("5", "10", "20", "20"):
        _, out, err = harness("bench", *small.arguments(), "--rows", rows)
        said.append([line for line in (out + err).splitlines() if "by chance too often" in line])
    assert said[:2] == [[], []], "a trial on a few rows is no such look"
    assert len(said[2]) == 1
    assert said[2][0].startswith("small: scored on 5 and 10 rows before these 20;")
    assert said[3] == said[2]


def test_another_scoring_is_another_question(small: Small, loopback: Loopback, harness: Command) -> None:
    small.model("a", loopback.openai_url)
    for rows in ("5", "10"):
        harness("bench", *small.arguments(), "--rows", rows)
    small.task(text=TASK.replace("labels: [yes, no]", "labels: [yes, no], aliases: {aye: yes}"))
    _, out, err = harness("bench", *small.arguments(), "--rows", "20")
    assert "by chance too often" not in out + err
