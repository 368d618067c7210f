"""`harness plan`: what a run would cost, before anything is asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from harness.commands import options

if TYPE_CHECKING:
    from harness.ask.run import BenchOptions
    from harness.plan.plan import Plan


@click.command("plan")
@options.planned
@options.json
def command(chosen: BenchOptions, as_json: bool) -> int:
    """Estimate what a bench would cost, and what its rows can show.

    Tokens, USD and minutes, and the smallest difference that so many rows can show.

    Nothing is asked and nothing is written.
    """
    return show(chosen, as_json=as_json)


def show(chosen: BenchOptions, *, as_json: bool) -> int:
    """Print the plan of a run."""
    from harness.plan.plan import plan

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    made = plan(chosen, say)
    print(document(made) if as_json else text(made))
    return 0


def document(plan: Plan) -> str:
    """Return the plan as one JSON document."""
    from dataclasses import asdict

    tasks = [{"task": name, **asdict(task)} for name, task in plan.tasks.items()]
    pairs = [asdict(pair) for pair in plan.pairs]
    whole = {"totals": plan.totals(), "unpriced": plan.unpriced, "pairs": pairs, "tasks": tasks, "notes": plan.notes}
    return json.dumps(whole, ensure_ascii=False)


def text(plan: Plan) -> str:
    """Return the plan as tables, with what each estimate rests on below them."""
    from tabulate import tabulate

    from harness.report.words import number, plan_sources

    rows = [
        {"task": pair.task, "model": pair.model, **_significant({name: getattr(pair, name) for name in plan.totals()})}
        for pair in plan.pairs
    ]
    total = {"task": "total", "model": "", **_significant(plan.totals())}
    shown = [
        {
            "task": name,
            "rows": task.rows,
            "metric": task.metric,
            "paired": number(task.paired),
            "unpaired": number(task.unpaired),
            "assuming": task.assuming,
        }
        for name, task in plan.tasks.items()
    ]
    parts = [
        tabulate([*rows, total], headers="keys", disable_numparse=True, colalign=("left", "left", *["right"] * 8)),
        "Smallest difference that the rows show (80 % power, 5 % two-sided; –: none):",
        tabulate(shown, headers="keys", disable_numparse=True, colalign=("left", "right", "left", "right", "right")),
        "\n".join(plan_sources(plan)),
    ]
    return "\n\n".join(part for part in parts if part)


def _significant(values: Mapping[str, float | None]) -> dict[str, str]:
    """One line of the table from the fields of a plan's totals."""
    from harness.report.words import small

    return {
        "rows": f"{values['rows']:,}",
        "answered": f"{values['answered']:,}",
        "to ask": f"{values['ask']:,}",
        "tokens in": f"{values['input_tokens']:,}",
        "tokens out": f"{values['output_tokens']:,}",
        "USD": small(values["usd"], "?"),
        "at most": small(values["usd_most"], "?"),
        "minutes": f"{values['minutes']:,.1f}",
    }
