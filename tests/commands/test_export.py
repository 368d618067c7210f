"""`harness export` as a user sees it."""

from __future__ import annotations

import pyarrow.parquet as pq

from tests.commands.conftest import Command
from tests.loopback import Loopback
from tests.runs import ROWS, Small


def test_runs_become_a_parquet_file(harness: Command, small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url)
    small.bench()
    out = small.folder / "m.parquet"
    code, said, _ = harness("export", "--model", "m", "--out", str(out), "--results", str(small.results))
    assert (code, said) == (0, f"{out}: {ROWS} rows\n")
    assert pq.read_table(out).num_rows == ROWS


def test_an_empty_results_folder_is_said_so(harness: Command, small: Small) -> None:
    code, _, err = harness("export", "--out", str(small.folder / "x.parquet"), "--results", str(small.results))
    assert code == 2
    assert "no runs are recorded here" in err
