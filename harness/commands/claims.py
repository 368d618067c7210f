"""`harness claims`: what LoRA Land claims, and what its own tables and our runs show."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import options
from harness.printable import printable
from harness.shipped import published

if TYPE_CHECKING:
    from harness.score.scoring import ScoredRun
    from harness.studies.claims import Claim

WIDTH = 100


@click.command("claims")
@options.results
@click.option(
    "--markdown", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Write a Markdown page instead."
)
@options.json
@options.code
def command(results: Path, markdown: Path | None, as_json: bool) -> int:
    """Recompute the claims of the LoRA Land blog and paper.

    Where benchmark runs of adapters are recorded, their results are shown beside each claim.
    """
    from harness.studies.claims import claims, read_tables

    found = claims(read_tables(published(results)), _runs(results))
    if as_json:
        print(json.dumps([asdict(claim) for claim in found], ensure_ascii=False))
    elif markdown is None:
        print(text(found))
    if markdown is not None:
        markdown.write_text(printable(page(found)), encoding="utf-8", newline="\n")
    return 0


def _runs(results: Path) -> list[ScoredRun]:
    from harness.errors import warn
    from harness.score.rules import current_rules
    from harness.score.scoring import score_all
    from harness.store.results import read_manifests

    wanted = [run for run in read_manifests(results) if run.kind == "benchmark"]
    return score_all(results, wanted, warn, current_rules(None))


def text(found: Sequence[Claim]) -> str:
    """A paragraph for each claim, at most 100 characters wide."""
    blocks = []
    for claim in found:
        lines = [
            f"{claim.claim} ({claim.source})",
            f"  published   {claim.published or '–'}",
            f"  recomputed  {claim.recomputed or '–'}",
            *([f"  our runs    {claim.ours}"] if claim.ours else []),
            textwrap.fill(claim.why, WIDTH, initial_indent="  ", subsequent_indent="  "),
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def page(found: Sequence[Claim]) -> str:
    """The claims as a Markdown page."""
    from tabulate import tabulate

    own = any(claim.ours for claim in found)
    header = ["source", "claim", "published", "recomputed", *(["our runs"] if own else []), "why they differ"]
    body = [
        [
            claim.source,
            claim.claim,
            claim.published or "–",
            claim.recomputed or "–",
            *([claim.ours or "–"] if own else []),
            claim.why,
        ]
        for claim in found
    ]
    table = tabulate(body, header, tablefmt="github", disable_numparse=True)
    return f"{_INTRODUCTION}\n{table}\n\n{_CLOSING}"


_INTRODUCTION = """\
# Published claims, recomputed

What the LoRA Land blog post (Predibase, February 2024), its paper (arXiv 2405.00732) and a toxicity study say, beside
what comes out of the tables they print. The tables are in [results/published](../results/published/README.md); this
page is written by `harness claims --markdown docs/claims.md`. Nothing here was measured by this project: recomputing
shows whether a figure follows from a table, not whether the table is right.
"""
_CLOSING = """\
None of the published scores has an interval. With 1,000 rows a score near 0.8 is known to about 2.5 points either way,
so a model two points behind GPT-4 may be level with it, and one two points ahead as well. Where runs of adapters are
recorded, the command sets what they give beside each claim:

```sh
.venv/bin/harness claims
```
"""
