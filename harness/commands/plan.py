"""`harness plan`: estimate the cost of a run before any request is sent."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import click

from harness.commands import options

if TYPE_CHECKING:
    from harness.ask.run import BenchOptions
    from harness.plan.plan import PairEstimate, Plan


@click.command("plan")
@options.planned
@options.json
@options.code
def command(chosen: BenchOptions, as_json: bool) -> int:
    """Estimate a bench: cost, minimum detectable difference.

    Tokens, USD and minutes, and the smallest difference between two models that this many rows can detect.

    No model is asked and no file is written.
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
    """Return the plan as tables, followed by the basis of each estimate."""
    from tabulate import tabulate

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
            "paired": _difference(task.paired),
            "unpaired": _difference(task.unpaired),
            "assuming": task.assuming,
        }
        for name, task in plan.tasks.items()
    ]
    parts = [
        tabulate([*rows, total], headers="keys", disable_numparse=True, colalign=("left", "left", *["right"] * 8)),
        "Minimum detectable difference (80 % power, two-sided at 5 %; –: none):",
        tabulate(shown, headers="keys", disable_numparse=True, colalign=("left", "right", "left", "right", "right")),
        "\n".join(_grounds(plan)),
    ]
    return "\n\n".join(part for part in parts if part)


def _significant(values: Mapping[str, float | None]) -> dict[str, str]:
    """One line of the table from the fields of a plan's totals."""
    return {
        "rows": f"{values['rows']:,}",
        "answered": f"{values['answered']:,}",
        "to ask": f"{values['ask']:,}",
        "tokens in": f"{values['input_tokens']:,}",
        "tokens out": f"{values['output_tokens']:,}",
        "USD": _usd(values["usd"]),
        "at most": _usd(values["usd_most"]),
        "minutes": f"{values['minutes']:,.1f}",
    }


def _usd(value: float | None) -> str:
    return "?" if value is None else f"{value:,.2f}" if value >= 0.1 or value == 0 else f"{value:.4f}"


def _difference(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _grounds(plan: Plan) -> Iterable[str]:
    """Lines on the basis of the estimates, and on what is not known."""
    served = [pair for pair in plan.pairs if pair.price_by]
    if served:
        yield f"tokens in by {_by(served, lambda pair: pair.input_by)}"
        yield f"tokens out from {_by(served, lambda pair: pair.output_by)}"
        yield f"prices from {_by(served, lambda pair: pair.price_by)}"
        yield f"minutes at the limits of each endpoint, by {_by(served, lambda pair: pair.minutes_by)}"
    if plan.unpriced:
        yield f"USD does not include {', '.join(plan.unpriced)}: set a price or gpu_per_hour in the models file"
    yield from plan.notes


def _by(pairs: Iterable[PairEstimate], ground: Callable[[PairEstimate], str]) -> str:
    """Each basis with the models it applies to."""
    models: dict[str, dict[str, None]] = {}
    for pair in pairs:
        models.setdefault(ground(pair), {})[pair.model] = None
    return "; ".join(f"{name} ({', '.join(found)})" for name, found in models.items())
