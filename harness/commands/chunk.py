"""`harness chunk`: cut documents into rows to learn."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("chunk")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--chars", type=int, default=512, show_default=True, help="Most characters of a chunk.")
@click.option("--overlap", type=int, default=0, show_default=True, help="Characters that two chunks in sequence share.")
@click.option("--sentences", is_flag=True, help="End chunks where a sentence or paragraph ends.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="New folder to write.")
def command(files: tuple[Path, ...], chars: int, overlap: int, sentences: bool, out: Path) -> int:
    """Cut text, Markdown and PDF files into chunks of plain text, for `harness train --train-on`.

    Each row has the text, the file's name, and the span of characters. Without overlap the chunks joined are the text.
    """
    from harness.report.words import plural
    from harness.rows.chunks import chunked
    from harness.teach.folder import write_chunks

    chunks = chunked(files, chars, overlap, sentences=sentences)
    write_chunks(chunks, out, {"chars": chars, "overlap": overlap, "sentences": sentences})
    print(f"{out}: {plural(len(chunks), 'chunk')} of {plural(len(files), 'file')}")
    return 0
