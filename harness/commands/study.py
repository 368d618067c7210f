"""`harness study`: what many tuned models say together."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.commands import options


@click.command("study")
@click.argument("results", nargs=-1, type=click.Path(file_okay=False, path_type=Path), metavar="[RESULTS]...")
@click.option("--published", is_flag=True, help="Study the 310 tuned models of the LoRA Land paper instead.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write pages, tables and plots here.")
@click.option(
    "--page", type=click.Path(dir_okay=False, path_type=Path),
    help="Write one Markdown page, with its plots in images/ beside it.",
)  # fmt: skip
@options.tasks_folder
@options.json
@options.code
def command(
    results: tuple[Path, ...], published: bool, out: Path | None, page: Path | None, tasks_folder: tuple[Path, ...],
    as_json: bool,
) -> int:  # fmt: skip
    """Compare tuned models over tasks: lifts, the best base, learning curves, seeds, complexity, predictions.

    RESULTS are folders of `harness sweep` or `harness bench`. Default: results.
    """
    from dataclasses import asdict

    from harness.shipped import published as figures
    from harness.studies.study import study
    from harness.studies.study_page import sections, text, write, write_page
    from harness.studies.tunes import from_published, from_results

    if published and results:
        raise click.UsageError("--published studies the paper's tables: leave RESULTS out, or --published")
    folders = results or (Path("results"),)
    place = figures(folders[0])
    found = study(from_published(place) if published else from_results(folders, place, tasks_folder), place)
    shown = sections(found)
    print(json.dumps([asdict(section) for section in shown], ensure_ascii=False) if as_json else text(shown))
    for path in [*(write(found, out) if out else []), *(write_page(found, page) if page else [])]:
        click.echo(path, err=True)
    return 0
