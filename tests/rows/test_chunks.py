"""Documents in chunks: joined they are the document, byte for byte, and what cannot be read is said."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError, UserError
from harness.rows.chunks import chunked, read_text, spans
from tests.commands.conftest import Command, harness

__all__ = ["harness"]

TEXTS = st.text(st.sampled_from("ab .!?\n\r\té€😀\u0301”)"), max_size=300)


@given(TEXTS, st.integers(1, 60), st.booleans())
def test_chunks_without_overlap_joined_are_the_text(text: str, chars: int, sentences: bool) -> None:
    found = list(spans(text, chars, sentences=sentences))
    assert "".join(text[start:end] for start, end in found).encode() == text.encode()
    assert all(0 < end - start <= chars for start, end in found)


@given(TEXTS, st.integers(1, 60), st.integers(0, 59), st.booleans())
def test_each_chunk_begins_with_the_overlap_and_adds_something(
    text: str, chars: int, overlap: int, sentences: bool
) -> None:
    overlap = min(overlap, chars - 1)
    found = list(spans(text, chars, overlap, sentences=sentences))
    joined = "".join(text[start + (overlap if place else 0) : end] for place, (start, end) in enumerate(found))
    assert joined == text
    assert all(one[1] - overlap == two[0] and one[1] < two[1] for one, two in pairwise(found))


def test_chunks_end_where_sentences_end() -> None:
    text = "One is short. Two is short too. " + "x" * 30 + " Three ends here.\n\nFour"
    assert [text[start:end] for start, end in spans(text, 34, sentences=True)] == [
        "One is short. Two is short too. ", "x" * 30 + " Thr", "ee ends here.\n\nFour",
    ]  # fmt: skip


def pdf(text: str) -> bytes:
    """A PDF of one page that says this, or nothing."""
    drawn = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else b""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    whole, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, start=1):
        places.append(len(whole))
        whole += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return whole + b"xref\n0 6\n0000000000 65535 f \n%strailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        table,
        len(whole),
    )


def test_a_pdf_is_read_by_its_text(tmp_path: Path) -> None:
    (tmp_path / "paper.pdf").write_bytes(pdf("The term is two years."))
    assert read_text(tmp_path / "paper.pdf").strip() == "The term is two years."


def test_the_folder_is_one_that_datasets_opens(harness: Command, tmp_path: Path) -> None:
    import datasets

    text = "First line.\r\nSecond – line.\n" * 40
    (tmp_path / "a.txt").write_bytes(text.encode())
    (tmp_path / "b.md").write_text("# Title\n\nText.\n")
    out = tmp_path / "chunks"
    files = [str(tmp_path / name) for name in ("a.txt", "b.md")]
    code, shown, _ = harness("chunk", *files, "--chars", "100", "--out", str(out))
    assert code == 0
    assert shown == f"{out}: 13 chunks of 2 files\n"
    rows = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert set(rows.column_names) == {"text", "source", "start", "end"}
    own = [row for row in rows if row["source"] == "a.txt"]
    assert "".join(row["text"] for row in own).encode() == (tmp_path / "a.txt").read_bytes()
    assert all(text[row["start"] : row["end"]] == row["text"] for row in own)
    assert json.loads((out / "chunks.json").read_text())["rows"] == 13


@pytest.mark.parametrize(
    ("chars", "overlap", "message"),
    [(0, 0, "--chars 0: a chunk needs at least 1 character"), (10, 10, "--overlap 10: expected 0 to 9"),
     (10, -1, "--overlap -1: expected 0 to 9")],
)  # fmt: skip
def test_impossible_sizes_are_mistakes(chars: int, overlap: int, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        list(spans("text", chars, overlap))


def test_a_chunk_size_of_zero_ends_the_command(harness: Command, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    code, _, err = harness("chunk", str(tmp_path / "a.txt"), "--chars", "0", "--out", str(tmp_path / "out"))
    assert code == 2
    assert "--chars 0: a chunk needs at least 1 character" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("scan.pdf", pdf(""), "hold no text, as those of a scanned PDF; run an OCR program"),
        ("broken.pdf", b"%PDF-1.4 nothing", "not a PDF that can be read"),
        ("latin.txt", b"one\ntwo\nfianc\xe9e\n", r"latin\.txt:3: not UTF-8 at byte 13"),
        ("empty.md", b" \n", "it has no text"),
        ("none.txt", None, "cannot be read: No such file"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_document_that_cannot_be_read_is_named(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        chunked([tmp_path / name], 512)


def test_whatever_the_reader_of_a_damaged_pdf_raises_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd.pdf").write_bytes(pdf("text"))
    # Met with bytes of a cross-reference table changed at random.
    monkeypatch.setattr("pypdf.PdfReader.pages", property(lambda self: self.absent))
    with pytest.raises(DataError, match=r"odd\.pdf: not a PDF that can be read: .*absent"):
        read_text(tmp_path / "odd.pdf")


def test_without_pypdf_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "paper.pdf").write_bytes(pdf("text"))
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[pdf\]'"):
        read_text(tmp_path / "paper.pdf")


def test_documents_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text("text")
    with pytest.raises(DataError, match=r"a\.txt: two documents have this name"):
        chunked([tmp_path / "one" / "a.txt", tmp_path / "two" / "a.txt"], 10)


def test_a_folder_that_holds_something_is_left_alone(harness: Command, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    code, _, err = harness("chunk", str(tmp_path / "a.txt"), "--out", str(tmp_path))
    assert code == 2
    assert "it is not empty; name another --out" in err
