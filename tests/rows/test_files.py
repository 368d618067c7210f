"""Rows from Parquet, CSV and JSONL files."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import DataError
from harness.rows.files import Row, local
from harness.rows.files import jsonl as read_jsonl
from harness.rows.files import parquet as open_parquet
from tests.rows.conftest import jsonl, parquet

ROWS: list[Row] = [{"text": 'für, "x"\n{{ y }}', "label": 1}, {"text": "", "label": 0}, {"text": "NA", "label": 1}]


def csv(path: Path, rows: list[Row]) -> Path:
    import pandas as pd

    pd.DataFrame(rows).to_csv(path, index=False)
    return path


WRITERS = {".parquet": parquet, ".jsonl": jsonl, ".csv": csv}


@pytest.fixture(params=WRITERS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of each kind that holds ROWS."""
    path = tmp_path / f"rows{request.param}"
    WRITERS[request.param](path, ROWS)
    return path


class TestLocal:
    def test_every_kind_gives_the_same_rows(self, written: Path) -> None:
        split = local(written, {})
        assert split.columns == ("text", "label")
        assert list(split.read(["text", "label"])) == ROWS

    def test_a_split_can_be_read_again_and_in_part(self, written: Path) -> None:
        split = local(written, {})
        for _ in range(2):
            assert list(split.read(["label"])) == [{"label": row["label"]} for row in ROWS]
        assert list(split.read(["label", "absent"])) == [{"label": row["label"]} for row in ROWS]

    def test_columns_get_our_names(self, written: Path) -> None:
        split = local(written, {"comment": "text"})
        assert split.columns == ("comment", "label")
        assert list(split.read(["comment"])) == [{"comment": row["text"]} for row in ROWS]
        assert list(split.read(["label"])) == [{"label": row["label"]} for row in ROWS]

    def test_two_columns_may_change_names_with_each_other(self, written: Path) -> None:
        split = local(written, {"label": "text", "text": "label"})
        assert split.columns == ("label", "text")
        assert list(split.read(["text"])) == [{"text": row["label"]} for row in ROWS]

    def test_a_mapped_column_that_is_not_in_the_file_is_an_error(self, written: Path) -> None:
        with pytest.raises(DataError, match=r"no column 'body' \(it has: text, label\)"):
            local(written, {"text": "body"})

    def test_a_missing_file_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"absent\.csv: no such file"):
            local(tmp_path / "absent.csv", {})

    def test_so_is_another_kind_of_file(self, tmp_path: Path) -> None:
        path = tmp_path / "rows.xlsx"
        path.touch()
        with pytest.raises(DataError, match=r"a '.xlsx' file cannot be read \(expected .parquet, .jsonl or .csv\)"):
            local(path, {})

    @pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"PAR1PAR1"])
    def test_a_file_that_is_no_parquet_is_an_error(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "rows.parquet"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"rows\.parquet: not a Parquet file: Parquet"):
            local(path, {})


class TestParquet:
    def test_several_files_are_one_split_in_their_order(self, tmp_path: Path) -> None:
        paths = [parquet(tmp_path / f"{n}.parquet", [{"n": n, "m": 0}]) for n in (2, 1)]
        assert list(open_parquet(paths).read(["n"])) == [{"n": 2}, {"n": 1}]

    def test_nested_values_are_plain_python(self, tmp_path: Path) -> None:
        rows: list[Row] = [{"answers": {"text": ["a", "b"], "start": [1, 2]}, "none": None, "tags": [[1], []]}]
        assert list(open_parquet([parquet(tmp_path / "a.parquet", rows)]).read(rows[0])) == rows

    def test_more_rows_than_a_batch_are_all_read(self, tmp_path: Path) -> None:
        path = parquet(tmp_path / "a.parquet", [{"n": n} for n in range(5000)])
        assert [row["n"] for row in open_parquet([path]).read(["n"])] == list(range(5000))


class TestJsonl:
    def test_blank_lines_are_passed_over_and_text_is_kept_to_the_letter(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text('{"a": "x\u2028y\x85z"}\n\n   \n{"a": "\\ud800"}', encoding="utf-8")
        assert list(read_jsonl(path)) == [{"a": "x\u2028y\x85z"}, {"a": "\ud800"}]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (b'{"a": 1', ":2: not valid JSON: Expecting ',' delimiter at column 8"),
            (b"[1]", ":2: expected a JSON object of columns, found list"),
            (b'"a"', ":2: expected a JSON object of columns, found str"),
            ('{"a": "für"}'.encode("latin-1"), ":2: not UTF-8 at byte 9 of the line"),
        ],
    )
    def test_a_bad_line_is_told_by_its_number(self, tmp_path: Path, line: bytes, message: str) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(b'{"a": 0}\n' + line + b"\n")
        with pytest.raises(DataError) as found:
            list(read_jsonl(path))
        assert str(found.value) == f"{path}{message}"


class TestCsv:
    def test_words_that_pandas_takes_for_nothing_stay_words(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("text,label\nNA,1\nnull,0\n,1\nNone,0\n")
        assert [row["text"] for row in local(path, {}).read(["text"])] == ["NA", "null", "", "None"]

    def test_a_long_column_is_of_one_type(self, tmp_path: Path) -> None:
        """Read in pieces, the first would be numbers and the last texts, and equal rows would have different ids."""
        path = tmp_path / "a.csv"
        columns = 2048  # pandas makes its pieces by the cell, so a wide table has several in few rows
        header = ",".join(["n", *(f"c{number}" for number in range(1, columns))])
        filling = ",0" * (columns - 1)
        path.write_text(f"{header}\n" + f"7{filling}\n" * 600 + f"seven{filling}\n")
        assert {row["n"] for row in local(path, {}).read(["n"])} == {"7", "seven"}

    @pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n1,2,3\n", "a\nfür\n".encode("latin-1")])
    def test_a_file_that_is_no_csv_is_an_error(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "a.csv"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.csv: not a CSV file in UTF-8: "):
            local(path, {})


def test_rows_of_a_file_have_the_columns_of_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"b": 2, "a": 3}\n')
    split = local(path, {})
    assert split.columns == ("a", "b")
    assert list(split.read(["b"])) == [{}, {"b": 2}]
