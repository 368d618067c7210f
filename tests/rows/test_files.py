"""Rows from Parquet, CSV and JSONL files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from harness.errors import DataError, HarnessWarning
from harness.rows.files import DELIMITERS, Form, Row, local
from harness.rows.files import jsonl as read_jsonl
from harness.rows.files import parquet as open_parquet
from tests.rows.conftest import jsonl, parquet

ROWS: list[Row] = [
    {"text": 'für, "x"\n{{ y }}', "label": "1"},
    {"text": "", "label": "0"},
    {"text": "NA", "label": "1"},
]


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
        with pytest.raises(
            DataError, match=r"a '.xlsx' file cannot be read \(expected .parquet, .jsonl, .json, .csv or .tsv\)"
        ):
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

    def test_a_32_bit_float_is_the_decimal_number_it_was_written_as(self, tmp_path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        numbers = [2.8, 0.1, 5.0, 1e-7, None, 2.35]
        table = pa.table(
            {
                "one": pa.array(numbers, pa.float32()),
                "half": pa.array([2.8, 0.1, 5.0, 1e-7, None, 2.35], pa.float32()).cast(pa.float16()),
                "many": pa.array([[number] for number in numbers], pa.list_(pa.float32())),
                "deep": pa.array([{"x": [{"y": number}]} for number in numbers]).cast(
                    pa.struct([("x", pa.list_(pa.struct([("y", pa.float32())])))])
                ),
                "wide": pa.array(numbers, pa.float64()),
                "whole": pa.array([9007199254740993, 1, 2, 3, 4, None], pa.int64()),
            }
        )
        pq.write_table(table, tmp_path / "a.parquet")
        rows = list(open_parquet([tmp_path / "a.parquet"]).read(table.column_names))
        assert [row["one"] for row in rows] == numbers
        assert [row["half"] for row in rows][:3] == [2.8, 0.1, 5.0]
        assert [row["many"] for row in rows] == [[number] for number in numbers]
        assert [row["deep"] for row in rows] == [{"x": [{"y": number}]} for number in numbers]
        assert [row["wide"] for row in rows] == numbers
        assert [row["whole"] for row in rows] == [9007199254740993, 1, 2, 3, 4, None]

    def test_values_of_other_types_are_what_they_were(self, tmp_path: Path) -> None:
        import datetime
        from decimal import Decimal

        import pyarrow as pa
        import pyarrow.parquet as pq

        when = datetime.datetime(2020, 1, 2, 3, 4)
        table = pa.table(
            {
                "price": [Decimal("1.10")],
                "when": [when],
                "name": pa.array(["a"]).dictionary_encode(),
                "large": pa.array([2**64 - 1], pa.uint64()),
            }
        )
        pq.write_table(table, tmp_path / "a.parquet")
        (row,) = open_parquet([tmp_path / "a.parquet"]).read(table.column_names)
        assert row == {"price": Decimal("1.10"), "when": when, "name": "a", "large": 2**64 - 1}

    def test_a_uuid_is_one(self, tmp_path: Path) -> None:
        import uuid

        import pyarrow as pa
        import pyarrow.parquet as pq

        if not hasattr(pa, "uuid"):
            pytest.skip("this version of pyarrow has no such type")
        key = uuid.UUID(int=7)
        pq.write_table(pa.table({"key": pa.array([key.bytes], pa.uuid())}), tmp_path / "a.parquet")
        assert list(open_parquet([tmp_path / "a.parquet"]).read(["key"])) == [{"key": key}]

    def test_text_stored_as_bytes_is_text_and_other_bytes_stay_bytes(self, tmp_path: Path) -> None:
        rows: list[Row] = [{"a": "für".encode(), "b": [b"x"]}, {"a": b"\xff", "b": None}]
        found = list(open_parquet([parquet(tmp_path / "a.parquet", rows)]).read(["a", "b"]))
        assert found == [{"a": "für", "b": ["x"]}, {"a": b"\xff", "b": None}]

    def test_views_of_bytes_and_lists_are_what_they_show(self, tmp_path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        values = [b"abc", "f\N{LATIN SMALL LETTER U WITH DIAERESIS}r".encode(), b"\xff", None]
        table = pa.table(
            {
                "bytes": pa.array(values, pa.binary_view()),
                "many": pa.array([[value] for value in values], pa.list_(pa.binary_view())),
                "floats": pa.array([[2.8]] * 4, pa.list_view(pa.float32())),
            }
        )
        pq.write_table(table, tmp_path / "a.parquet")
        rows = list(open_parquet([tmp_path / "a.parquet"]).read(table.column_names))
        texts = ["abc", "f\N{LATIN SMALL LETTER U WITH DIAERESIS}r", b"\xff", None]
        assert rows == [{"bytes": text, "many": [text], "floats": [2.8]} for text in texts]

    def test_a_text_that_is_not_utf_8_is_an_error(self, tmp_path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        half = [None, pa.py_buffer(b"\0\0\0\0\3\0\0\0"), pa.py_buffer(b"\xed\xa0\xbd")]
        pq.write_table(pa.table({"a": pa.Array.from_buffers(pa.string(), 1, half)}), tmp_path / "a.parquet")
        with pytest.raises(DataError, match=r"a\.parquet: a text is not UTF-8: "):
            list(open_parquet([tmp_path / "a.parquet"]).read(["a"]))


class TestColumns:
    """`dataset.columns` gives our names to columns of any place."""

    def test_one_column_may_get_two_names(self, written: Path) -> None:
        split = local(written, {"a": "text", "b": "text"})
        assert split.columns == ("a", "b", "label")
        assert list(split.read(["a", "b"])) == [{"a": row["text"], "b": row["text"]} for row in ROWS]
        assert list(split.read(["b"])) == [{"b": row["text"]} for row in ROWS]

    def test_our_name_wins_over_a_column_that_is_called_so(self, written: Path) -> None:
        split = local(written, {"label": "text"})
        assert split.columns == ("label",)
        assert list(split.read(["label"])) == [{"label": row["text"]} for row in ROWS]


class TestJsonl:
    def test_a_byte_order_mark_is_no_part_of_the_first_line(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text('{"a": 1}\n{"a": "\ufeff"}\n', encoding="utf-8-sig")
        assert list(read_jsonl(path)) == [{"a": 1}, {"a": "\ufeff"}]

    def test_whole_numbers_are_exact_and_true_is_not_1(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text('{"a": 9007199254740993, "b": true, "c": 1}\n')
        assert repr(next(read_jsonl(path))) == "{'a': 9007199254740993, 'b': True, 'c': 1}"

    @pytest.mark.parametrize("value", ["9" * 5000, "[" * 100_000])
    def test_a_value_that_python_cannot_hold_is_an_error_with_the_line(self, tmp_path: Path, value: str) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text(f'{{"a": {value}}}\n')
        with pytest.raises(DataError, match=r"a\.jsonl:1: cannot be read: "):
            list(read_jsonl(path))

    def test_blank_lines_are_passed_over_and_text_is_kept_to_the_letter(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text('{"a": "x\u2028y\x85z"}\n\n   \n{"a": "\\ud800"}', encoding="utf-8")
        assert list(read_jsonl(path)) == [{"a": "x\u2028y\x85z"}, {"a": "\ud800"}]

    @pytest.mark.parametrize(("value", "read"), [("1.5", 1.5), ("-0.0", 0.0), ("0e5", 0.0), ("1e308", 1e308)])
    def test_a_number_that_a_float_holds_is_read(self, tmp_path: Path, value: str, read: float) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text(f'{{"a": {value}}}\n')
        assert list(read_jsonl(path)) == [{"a": read}]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (b'{"a": 1', ":2: not valid JSON: Expecting ',' delimiter at column 8"),
            (b"[1]", ":2: expected a JSON object of columns, found list"),
            (b'"a"', ":2: expected a JSON object of columns, found str"),
            ('{"a": "für"}'.encode("latin-1"), ":2: not UTF-8 at byte 9 of the line"),
            (b'{"a": 1, "b": {"c": 1, "c": 1}}', ":2: cannot be read: key 'c' is listed twice in one object"),
            (
                b'{"a": -1e999}',
                ":2: cannot be read: -1e999 is beyond the numbers that a float can hold; quote it as a text",
            ),
            (
                b'{"a": 0.1e-999}',
                ":2: cannot be read: 0.1e-999 is beyond the numbers that a float can hold; quote it as a text",
            ),
            (b", {}", ":2: not valid JSON: Expecting value at column 1"),
            (b'{"a": 1} x', ":2: not valid JSON: Extra data at column 10"),
        ],
    )
    def test_a_bad_line_is_told_by_its_number(self, tmp_path: Path, line: bytes, message: str) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(b'{"a": 0}\n' + line + b"\n")
        with pytest.raises(DataError) as found:
            list(read_jsonl(path))
        assert str(found.value) == f"{path}{message}"


class TestCsv:
    def test_a_cell_is_the_text_that_is_written_there(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        cells = ["NA", "null", "", "None", "00123", "1.10", "TRUE", "1e5", " a ", "-", "NaN", "9007199254740993"]
        path.write_text("text,label\n" + "".join(f"{cell},x\n" for cell in cells))
        assert [row["text"] for row in local(path, {}).read(["text"])] == cells

    def test_a_new_row_changes_no_other(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("text,version\nfirst,1.10\nsecond,2\n")
        before = list(local(path, {}).read(["text", "version"]))
        path.write_text("text,version\nfirst,1.10\nsecond,2\nthird,n/a\n")
        assert list(local(path, {}).read(["text", "version"]))[:2] == before

    @pytest.mark.parametrize(
        ("content", "line", "found"),
        [
            ("a,b\n1,2\n1,2,3\n", 3, 3),
            ("a,b\n1,2,\n", 2, 3),
            ("a,b\n1\n", 2, 1),
            ('a,b\n"x\ny",2\n\n1,"2\n3",\n', 5, 3),
        ],
    )
    def test_a_record_of_another_width_is_an_error_with_the_line_it_starts_on(
        self, tmp_path: Path, content: str, line: int, found: int
    ) -> None:
        path = tmp_path / "a.csv"
        path.write_text(content)
        with pytest.raises(DataError) as error:
            list(local(path, {}).read(["a"]))
        assert f"{path}:{line}: expected 2 fields as in the header, found {found} " in str(error.value)

    def test_a_comma_behind_every_line_is_a_column_without_a_name(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("a,b,\n1,2,\n")
        assert list(local(path, {}).read(["a", "b"])) == [{"a": "1", "b": "2"}]

    def test_a_byte_order_mark_is_no_part_of_the_first_columns_name(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("text\r\na\r\n", encoding="utf-8-sig")
        assert list(local(path, {}).read(["text"])) == [{"text": "a"}]

    def test_a_cell_may_be_as_long_as_a_contract(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text(f"a\n{'x' * 300_000}\n")
        assert [len(row["a"]) for row in local(path, {}).read(["a"])] == [300_000]

    def test_a_column_listed_twice_is_an_error(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("a,b,a\n1,2,3\n")
        with pytest.raises(DataError, match=r"a\.csv:1: column 'a' is listed twice in the header"):
            local(path, {})

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "a.csv: not a CSV file: it is empty"),
            (b"a\nf\x81r\n", "a.csv: not a CSV file in cp1252: "),
            (b'a\nx\n"open\nto the end\n', "a.csv:3: not valid CSV: unexpected end of data"),
        ],
    )
    @pytest.mark.filterwarnings("ignore::harness.errors.HarnessWarning")
    def test_a_file_that_is_no_csv_is_an_error(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = tmp_path / "a.csv"
        path.write_bytes(content)
        with pytest.raises(DataError) as error:
            list(local(path, {}).read(["a"]))
        assert message in str(error.value)


def test_rows_of_a_file_have_the_columns_of_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"b": 2, "a": 3}\n')
    split = local(path, {})
    assert split.columns == ("a", "b")
    assert list(split.read(["b"])) == [{}, {"b": 2}]


class TestForms:
    ROWS = [{"text": "caf\u00e9; red, black", "label": "yes"}, {"text": "a|b", "label": "no"}]  # noqa: RUF012

    @pytest.mark.parametrize("delimiter", DELIMITERS)
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_a_csv_shows_its_delimiter_and_encoding(self, tmp_path: Path, delimiter: str, encoding: str) -> None:
        path = tmp_path / "a.csv"
        pd.DataFrame(self.ROWS).to_csv(path, index=False, sep=delimiter, encoding=encoding)
        assert list(local(path, {}).read(["text", "label"])) == self.ROWS

    def test_what_is_not_utf_8_is_read_as_windows_1252_and_said(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        pd.DataFrame(self.ROWS).to_csv(path, index=False, encoding="cp1252")
        with pytest.warns(HarnessWarning, match=r"a\.csv: not UTF-8; it is read as Windows-1252"):
            split = local(path, {})
        assert list(split.read(["text", "label"])) == self.ROWS

    def test_what_the_task_file_says_counts(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_bytes("a,b;c\n1,\u00e9;2\n".encode("cp437"))
        assert list(local(path, {}, Form(";", "cp437")).read(["a,b", "c"])) == [{"a,b": "1,\u00e9", "c": "2"}]

    def test_a_tsv_is_divided_by_tabs_even_with_one_column(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tsv"
        path.write_text("text, all of it\none, two\n")
        assert list(local(path, {}).read(["text, all of it"])) == [{"text, all of it": "one, two"}]

    def test_a_header_that_holds_another_delimiter_is_divided_as_its_rows_are(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("answer (yes; no; both),text\nyes,one\n")
        assert local(path, {}).columns == ("answer (yes; no; both)", "text")

    def test_a_json_array_is_rows(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text('[{"a": 1}, {"b": 2, "a": 3}]')
        split = local(path, {})
        assert split.columns == ("a", "b")
        assert list(split.read(["a"])) == [{"a": 1}, {"a": 3}]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (
                '{"a": 1}\n{"a": 2}',
                "a.json:2: not valid JSON: Extra data at column 1; name a file with one object a line",
            ),
            ('{"a": 1}', "a.json: expected a JSON array of objects, found dict"),
            ("[1]", "a.json: item 1: expected an object of columns, found int"),
            ("", "a.json:1: not valid JSON: Expecting value at column 1"),
            ('[{"a": 1},\n\n {"a": 2},\n{"a": 1, "a": 2}]', "a.json:4: cannot be read: key 'a' is listed twice"),
            ('{"a": 1,\n "a": 2}', "a.json:1: cannot be read: key 'a' is listed twice in one object"),
        ],
    )
    def test_a_file_that_is_no_json_array_is_an_error(self, tmp_path: Path, content: str, message: str) -> None:
        path = tmp_path / "a.json"
        path.write_text(content)
        with pytest.raises(DataError) as error:
            local(path, {})
        assert message in str(error.value)
