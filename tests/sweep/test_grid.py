"""The cells of a grid, and the names by which they are known again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import SpecError
from harness.rows.origin import locate
from harness.rows.training import load
from harness.sweep.grid import Cell, cells_of, tasks_of
from harness.tasks.catalog import load_task
from harness.tasks.prompts import Prompts
from tests.models import tiny_gguf
from tests.sweep.test_file import load_sweep, options

ROOT = Path(__file__).parents[2]
FILE: dict[str, Any] = {
    "bases": ["smollm2-135m"], "tasks": ["glue_sst2"], "rows": [5, 10], "seeds": [0, 1],
    "train": {"rank": [2, 4]}, "bench": {"rows": 4}, "results": "runs",
}  # fmt: skip
Cells = Callable[..., list[Cell]]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def cells(tmp_path: Path, said: list[str]) -> Cells:
    def make(**changed: Any) -> list[Cell]:
        path = tmp_path / "sweep.yaml"
        path.write_text(json.dumps({**FILE, **changed}, indent=1))
        source, sweep = load_sweep(path, options())
        files = tasks_of(source, sweep, ROOT / "tasks")
        return cells_of(source, sweep, files, "sample", said.append, {})[0]

    return make


def test_a_cell_is_a_point_of_the_grid_and_each_base_is_asked_once_a_task(cells: Cells) -> None:
    found = cells(tasks=["glue_sst2", "ag_news"])
    assert [(cell.task, cell.tuned) for cell in found[:2]] == [("glue_sst2", False), ("ag_news", False)]
    assert len([cell for cell in found if cell.tuned]) == 2 * 2 * 2 * 2
    assert found[2].name.startswith("smollm2-135m-glue_sst2-rows5-seed0-rank2-")
    assert len({cell.name for cell in found}) == len(found)


def test_the_smaller_numbers_of_rows_are_the_first_of_the_larger() -> None:
    file = load_task(ROOT / "tasks", "glue_sst2")
    few, many = (load(file, Prompts(file), locate(file, "sample"), most).pairs for most in (5, 10))
    assert len(few) == 5
    assert few == many[:5]


@pytest.mark.parametrize(
    "changed",
    [
        {"train": {"rank": [3]}},
        {"seeds": [2]},
        {"rows": [6]},
        {"bench": {"rows": 3}},
        {"train": {"rank": 2, "epochs": 2}},
    ],
    ids=str,
)
def test_whatever_determines_a_cell_changes_its_name(cells: Cells, changed: dict[str, Any]) -> None:
    one = {"rows": [5], "seeds": [0], "train": {"rank": [2]}}
    before, after = cells(**one), cells(**{**one, **changed})
    assert before[-1].name.rpartition("-")[2] != after[-1].name.rpartition("-")[2]


def test_a_price_and_what_a_cell_may_use_do_not(cells: Cells) -> None:
    plain = [cell.name for cell in cells()]
    priced = {"train": {"rank": [2, 4], "gpu_per_hour": 1.5}, "limit": {"usd": 3}, "resources": {"cpus": 2}}
    assert [cell.name for cell in cells(**priced)] == plain


def test_a_rule_excludes_the_cells_that_have_all_its_values(cells: Cells) -> None:
    found = cells(exclude=[{"rank": 2, "rows": 5}, {"seed": [1]}])
    assert {(cell.rows, cell.train["rank"], cell.seed) for cell in found if cell.tuned} == {
        (5, 4, 0), (10, 2, 0), (10, 4, 0)
    }  # fmt: skip


def test_numbers_of_rows_above_what_a_task_has_are_one_cell(cells: Cells, said: list[str]) -> None:
    found = cells(rows=[10, 300, 1000], seeds=[0], train={})
    assert [cell.rows for cell in found if cell.tuned] == [10, 20]
    assert said == ["glue_sst2: 20 training rows, fewer than 300, 1000"]


def test_a_task_without_training_rows_is_said_and_left_out(cells: Cells, said: list[str]) -> None:
    assert {cell.task for cell in cells(tasks=["glue_sst2", "ifeval"])} == {"glue_sst2"}
    assert said[0].startswith("ifeval has no training rows: ")
    assert said[0].endswith("; it is left out")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tasks": ["glue_sst3"]}, "tasks.0: no task 'glue_sst3'"),
        ({"tasks": ["glue_sst3"]}, "(did you mean 'glue_sst2'?)"),
        ({"bases": ["smollm2-135"]}, "bases.0: no base 'smollm2-135'"),
        ({"bases": ["smollm2-135"]}, "(did you mean 'smollm2-135m'?)"),
        ({"bases": ["./nowhere"]}, "bases.0: no base './nowhere'"),
        ({"exclude": [{"rnk": 2}]}, "exclude.0.rnk: no axis 'rnk' (did you mean 'rank'?)"),
        ({"exclude": [{"rank": 3}]}, "exclude.0: this excludes no cell"),
        ({"exclude": [{"rank": [2, 4]}]}, "no cell is left"),
        ({"tasks": ["ifeval"]}, "no cell is left"),
    ],
)
def test_what_cannot_be_a_cell_is_said_with_its_line(cells: Cells, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as error:
        cells(**changed)
    assert message in str(error.value)
    assert "sweep.yaml:" in str(error.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bases": ["one.gguf", "./one.gguf"]}, r"bases: one.gguf and ./one.gguf are the same cell"),
        ({"train": {"gpu_per_hour": [1, 2]}}, r"train.gpu_per_hour: 1.0 and 2.0 are the same cell"),
    ],
)
def test_points_that_would_share_a_folder_are_refused(
    cells: Cells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_gguf.write_base(tmp_path / "one.gguf")
    with pytest.raises(SpecError, match=message):
        cells(**changed)
