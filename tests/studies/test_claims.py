"""Published claims, against what was found by hand in the same tables."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from harness.commands.claims import page
from harness.errors import DataError
from harness.studies.claims import Claim, claims, ours, read_tables
from tests.scored import right, scored

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "results" / "published"


@pytest.fixture(scope="module")
def found() -> list[Claim]:
    return claims(read_tables(PUBLISHED))


def checked() -> list[dict[str, str]]:
    with (PUBLISHED / "claims_checked.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_checked_claim_is_recomputed(found: list[Claim]) -> None:
    assert len(found) == len(checked())


@pytest.mark.parametrize(
    ("place", "recomputed"),
    [
        (0, "38.4"), (1, "9.5"), (2, "301/310"), (3, "194/310"), (5, "6/31"), (6, "28/31"), (8, "0.599 and 0.661"),
        (9, "25.0"), (10, "25/27"),
    ],
)  # fmt: skip
def test_figures_are_those_found_by_hand(found: list[Claim], place: int, recomputed: str) -> None:
    assert found[place].recomputed == checked()[place]["recomputed"] == recomputed


def test_figures_that_the_table_words_differently(found: list[Claim]) -> None:
    assert found[4].recomputed == "6 of 10 agree"
    assert found[7].recomputed == "0.677 and 0.695"
    assert found[11].recomputed == "14.3"
    assert found[12].recomputed == "58.8 points"
    assert found[13].recomputed == ""


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (0, "38.7 when losses count as no change"),
        (1, "over all tuned models the lead is 2.4"),
        (3, "With ties it is 204; 224 comes out when a model less than 0.02 behind"),
        (4, "10 agree when"),
        (5, "magicoder, wikisql, boolq, mmlu, arc_combined, glue_wnli; customer_support is a tie"),
        (6, "(customer_support, arc_combined) it is 30"),
        (10, "23 above, 2 level, and webnlg and magicoder below"),
        (11, "18.4 without the two lost tasks does not, and single tasks go from -71 to 95"),
        (12, "the base has 0 on 12 of 27 tasks"),
        (12, "it is 36.7 points"),
    ],
)
def test_reasons_carry_the_figures_that_explain(found: list[Claim], place: int, words: str) -> None:
    assert words in found[place].why


def test_the_page_in_docs_is_not_stale(found: list[Claim]) -> None:
    assert (ROOT / "docs" / "claims.md").read_text(encoding="utf-8") == page(found)


def test_our_own_runs_stand_beside_the_claims() -> None:
    runs = [
        scored("news", "tuned", right(0.9), base="small", usd=0.1),
        scored("news", "small", right(0.4)),
        scored("news", "gpt-4", right(0.8), usd=6.0),
        scored("maths", "tuned", right(0.5), base="small", usd=0.1),
        scored("maths", "small", right(0.5)),
        scored("maths", "gpt-4", right(0.8), usd=6.0),
    ]
    assert ours(runs) == {
        "lift": "25.0 points (n = 2)",
        "above base": "1/2, 1 better and 0 worse beyond chance",
        "over": "-10.0 points (n = 2)",
        "at or above": "1/2, 1 better and 1 worse beyond chance",
        "ahead": "1/2 beyond chance",
        "cost": "60 times",
    }
    beside = claims(read_tables(PUBLISHED), runs)
    assert beside[0].ours == "25.0 points (n = 2)"
    assert "our runs" in page(beside)
    assert "our runs" not in page(claims(read_tables(PUBLISHED)))


def test_runs_without_an_adapter_say_nothing() -> None:
    assert ours([scored("news", "a", right(0.9)), scored("news", "gpt-4", right(0.8), usd=1.0)]) == {}


def test_broken_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lora_land_paper\.csv: cannot be read"):
        read_tables(tmp_path)
    (tmp_path / "lora_land_paper.csv").write_text("task,base_model,fine_tuned,base\nnews,phi-2,high,0.1\n")
    with pytest.raises(DataError, match=r"lora_land_paper\.csv, line 2: could not convert"):
        read_tables(tmp_path)
    (tmp_path / "lora_land_paper.csv").write_text("task,base_model,base\nnews,phi-2,0.1\n")
    with pytest.raises(DataError, match=r"lora_land_paper\.csv: no column 'fine_tuned'"):
        read_tables(tmp_path)
