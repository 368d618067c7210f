"""`harness rank`: models ranked by votes from files."""

from __future__ import annotations

import os
from pathlib import Path

import click

from harness.commands import options

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("rank")
@click.argument("files", nargs=-1, required=True, type=_FILE, metavar="VOTES...")
@click.option(
    "--columns", default="", metavar="a=COL,b=COL,winner=COL,row=COL",
    help="Where the files have what a vote needs, if not in Arena's columns (model_a, model_b, winner, judge, row).",
)  # fmt: skip
@click.option(
    "--human", "people", multiple=True, metavar="FILE|JUDGE",
    help="Votes of people, to compare the judges with: a file, or a judge of the files; can be repeated.",
)  # fmt: skip
@options.rank
@options.models_file
@options.json
def command(
    files: tuple[Path, ...],
    columns: str,
    people: tuple[str, ...],
    anchor: str | None,
    control: tuple[str, ...],
    resamples: int,
    plot: Path | None,
    models_file: Path,
    as_json: bool,
) -> int:
    """Rank models by votes on pairs of their answers (CSV, JSONL or Parquet).

    Bradley-Terry strengths on the Elo scale, with intervals by resampling rows; next to them what the votes show of the
    judges: verdicts that change with the order, the first place, length, agreement with people.
    """
    from harness.commands.output import print_votes
    from harness.errors import UserError, nearest
    from harness.judge.analysis import findings
    from harness.judge.votes import read_votes
    from harness.models.entry import load_models

    named = dict(_pair(part) for part in columns.split(",") if part)
    votes = list(read_votes(files, named))
    judges = {vote.judge for vote in votes}
    from_files = [Path(one) for one in people if one not in judges]
    for path in from_files:
        if not path.is_file():
            raise UserError(f"--human {path}: neither a file nor a judge of the votes{nearest(str(path), judges)}")
    human = [*(vote for vote in votes if vote.judge in people), *read_votes(from_files, named)]
    others = [vote for vote in votes if vote.judge not in people]
    entries = {entry.name: entry for entry in load_models(models_file, (), os.environ)}
    found = findings(others or human, human, entries, anchor=anchor, control=control, resamples=resamples)
    return print_votes(found, plot, as_json=as_json)


def _pair(part: str) -> tuple[str, str]:
    from harness.errors import UserError

    name, found, column = part.partition("=")
    if not (found and name and column):
        raise UserError(f"--columns: expected NAME=COLUMN, found '{part}'")
    return name.strip(), column.strip()
