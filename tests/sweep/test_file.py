"""A sweep file: what is wrong in it is said with its line and the nearest valid choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import SpecError
from harness.sweep.file import SweepFile, load_sweep

GOOD = """\
bases: [smollm2-135m]
tasks: [glue_sst2, ag_news]
rows: [10, 20]
seeds: [0, 1]
train: {rank: [2, 8], learning_rate: 1e-3}
bench: {rows: 10}
resources: {cpus: 2, memory: 3GB, timeout: 2h}
results: runs/ranks
"""


def options() -> list[Any]:
    from harness.commands.train import command

    return command.params


def load(folder: Path, text: str) -> SweepFile:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return load_sweep(path, options())[1]


def test_amounts_have_units_and_every_option_of_training_is_an_axis(tmp_path: Path) -> None:
    found = load(tmp_path, GOOD)
    assert (found.resources.memory, found.resources.timeout) == (3e9, 7200)
    assert found.train == {"rank": [2, 8], "learning_rate": [0.001]}


def test_an_option_that_takes_several_values_takes_them_as_a_list_in_the_axis(tmp_path: Path) -> None:
    found = load(tmp_path, GOOD.replace("rank: [2, 8]", "target: [q_proj, [q_proj, v_proj]]"))
    assert found.train["target"] == [["q_proj"], ["q_proj", "v_proj"]]


@pytest.mark.parametrize(
    ("given", "wrong", "message"),
    [
        ("rank: [2, 8]", "rnk: 2", "train.rnk: 'rnk' is no option of `harness train` (did you mean 'rank'?)"),
        ("rank: [2, 8]", "rank: [2, x]", "sweep.yaml:5: train.rank: 'x' is not a valid integer range."),
        ("rank: [2, 8]", "rank: [2, 0]", "sweep.yaml:5: train.rank: 0 is not in the range x>=1."),
        ("rank: [2, 8]", "rank: [2, 2]", "sweep.yaml:5: train.rank: 2 is listed twice"),
        ("rank: [2, 8]", "rank: []", "sweep.yaml:5: train.rank: an empty list makes an empty grid"),
        ("rank: [2, 8]", "seed: [2, 8]", "sweep.yaml:5: train.seed: this is set by `seeds`"),
        ("rank: [2, 8]", "out: here", "sweep.yaml:5: train.out: 'out' is not for a sweep"),
        ("rank: [2, 8]", "engine: peff", "sweep.yaml:5: train.engine: 'peff' is not one of 'ludwig', 'peft'."),
        ("rows: [10, 20]", "rows: []", "sweep.yaml:3: rows: List should have at least 1 item"),
        ("rows: [10, 20]", "rows: [10, 10]", "sweep.yaml:3: rows: 10 is listed twice"),
        ("rows: [10, 20]", "rows: 10", "sweep.yaml:3: rows: Input should be a valid list"),
        ("seeds: [0, 1]", "seeds: [1, 0, 1]", "sweep.yaml:4: seeds: 1 is listed twice"),
        ("rank: [2, 8]", "fingerprint: true", "sweep.yaml:5: train.fingerprint: 'fingerprint' is not for a sweep"),
        ("3GB", "0GB", "sweep.yaml:7: resources.memory: Input should be greater than 0"),
        ("2h", "0s", "sweep.yaml:7: resources.timeout: Input should be greater than 0"),
        ("rows: [10, 20]", "rows: [0]", "sweep.yaml:3: rows.0: Input should be greater than or equal to 1"),
        ("seeds: [0, 1]", "seeds: [0, 1]\nseeds: [2]", 'sweep.yaml:5: found duplicate key "seeds"'),
        ("seeds:", "seed:", "sweep.yaml:4: seed: unknown key 'seed' (did you mean 'seeds'?)"),
        ("[glue_sst2, ag_news]", "[ag_news, ag_news]", "ag_news is listed twice"),
        ("[glue_sst2, ag_news]", "{category: clasification}", "(did you mean 'classification'?)"),
        ("3GB", "3", "sweep.yaml:7: resources.memory: expected a number with its unit, such as 3GB (found 3)"),
        ("2h", "2 weeks", "sweep.yaml:7: resources.timeout: expected a number with its unit, such as 90s, 30min or 2h"),
        ("results: runs/ranks\n", "", "sweep.yaml:1: missing key 'results'"),
        ("results:", "limit: {usd: 1}\nresults:", "sweep.yaml:8: limit.usd: a cost needs a price"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, given: str, wrong: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        load(tmp_path, GOOD.replace(given, wrong))
    assert message in str(error.value)
