"""Documents cut into chunks of text to learn: plain text, Markdown, and PDF by its text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DataError, UserError

CARD = "chunks.json"
INSTALL = "a PDF is read by pypdf: pip install -e '.[pdf]'"
SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s+|\n\s*\n")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document: `text` is its characters from `start` to before `end`; `source` is the file's name."""

    text: str
    source: str
    start: int
    end: int


def read_text(path: Path) -> str:
    """Return the text of a document as it stands in the file; of a PDF that of its pages, one after another.

    Raises:
        DataError: it cannot be read, is not UTF-8, or has no text.
        UserError: it is a PDF and pypdf is not installed.
    """
    if path.is_dir():
        raise DataError(f"{path}: a folder; name its files")
    try:
        text = _pdf(path) if path.suffix.lower() == ".pdf" else path.read_bytes().decode("utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    if not text.strip():
        raise DataError(f"{path}: it has no text")
    return text


def _pdf(path: Path) -> str:
    try:
        from pypdf import PdfReader
    except ImportError as error:
        raise UserError(f"{path}: {INSTALL} ({error})") from None
    try:
        pages = [page.extract_text() for page in PdfReader(path).pages]
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001  what a damaged file raises in its reader is anything
        raise DataError(f"{path}: not a PDF that can be read: {error or type(error).__name__}") from None
    if not any(page.strip() for page in pages):
        raise DataError(
            f"{path}: its {len(pages)} pages hold no text, as those of a scanned PDF; run an OCR program on it first, "
            "such as ocrmypdf"
        )
    return "\n\n".join(pages)


def spans(text: str, chars: int, overlap: int = 0, *, sentences: bool = False) -> Iterator[tuple[int, int]]:
    """Yield the beginning and end of each chunk of a text, in characters.

    A chunk has at most `chars` characters, of which the first `overlap` are also the last of the chunk before. With
    `sentences` it ends at the last end of a sentence or paragraph that leaves something new in it, else where `chars`
    are full. Without overlap the chunks joined are the text.

    Raises:
        UserError: `chars` is not positive, or `overlap` not smaller than it.
    """
    if chars < 1:
        raise UserError(f"--chars {chars}: a chunk needs at least 1 character")
    if not 0 <= overlap < chars:
        raise UserError(f"--overlap {overlap}: expected 0 to {chars - 1}, fewer than --chars {chars}")
    ends = [found.end() for found in SENTENCE_END.finditer(text)] if sentences else []
    start, place = 0, 0
    while start < len(text):
        end = min(start + chars, len(text))
        if end < len(text):
            while place < len(ends) and ends[place] <= end:
                place += 1
            if place and ends[place - 1] > start + overlap:
                end = ends[place - 1]
        yield start, end
        if end == len(text):
            return
        start = end - overlap


def chunked(paths: Sequence[Path], chars: int, overlap: int = 0, *, sentences: bool = False) -> list[Chunk]:
    """Return the chunks of documents, in their order.

    Raises:
        DataError: a document cannot be read or has no text, or two have the same name.
        UserError: as `spans`; or pypdf is missing.
    """
    names = [path.name for path in paths]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(
            f"{twice[0]}: two documents have this name, by which chunks are told from each other; rename one"
        )
    texts = {path.name: read_text(path) for path in paths}
    return [
        Chunk(text[start:end], name, start, end)
        for name, text in texts.items()
        for start, end in spans(text, chars, overlap, sentences=sentences)
    ]
