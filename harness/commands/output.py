"""What several commands print: the plan of a run, and the table of what was asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.ask.run import BenchOptions
    from harness.plan.plan import PairEstimate, Plan
    from harness.store.results import Manifest

UNANSWERED = 3
"""Exit code when some rows have no answer."""


def ask(
    asking: Callable[[BenchOptions, Callable[[str], None]], list[Manifest]], chosen: BenchOptions, *, as_json: bool
) -> int:
    """Ask, print the table of what was asked, and return the exit code."""
    from harness.ask.budget import CapReached
    from harness.ask.progress import Interrupted

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    capped = False
    try:
        manifests = asking(chosen, say)
    except CapReached as stop:
        manifests, capped = list(stop.manifests), True
        say(str(stop))
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    # Imported only now: what scoring needs takes as long to load as the first answers to come.
    from harness.report.findings import long_frame, verdicts
    from harness.report.tables import bench_json, bench_table
    from harness.score.scoring import score_all

    runs = score_all(chosen.results, manifests, say)
    frame = long_frame(runs)
    if as_json:
        print(bench_json(frame))
    elif runs:
        print(bench_table(frame, verdicts(runs)))
    return UNANSWERED if capped or any(run.rows.counts()["failed"] for run in runs) else 0


def print_plan(chosen: BenchOptions, *, as_json: bool) -> int:
    """Print the plan of a run."""
    from harness.plan.plan import plan

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    made = plan(chosen, say)
    print(plan_json(made) if as_json else plan_table(made))
    return 0


def plan_json(plan: Plan) -> str:
    """Return the plan as one JSON document."""
    from dataclasses import asdict

    tasks = [{"task": name, **asdict(task)} for name, task in plan.tasks.items()]
    pairs = [asdict(pair) for pair in plan.pairs]
    whole = {"totals": plan.totals(), "unpriced": plan.unpriced, "pairs": pairs, "tasks": tasks, "notes": plan.notes}
    return json.dumps(whole, ensure_ascii=False)


def plan_table(plan: Plan) -> str:
    """Return the plan as tables, with what each estimate rests on below them."""
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
            "difference": _difference(task.paired),
            "assuming": task.assuming,
        }
        for name, task in plan.tasks.items()
    ]
    parts = [
        tabulate([*rows, total], headers="keys", disable_numparse=True, colalign=("left", "left", *["right"] * 8)),
        "Minimum detectable difference on these rows (80 % power, 5 % two-sided; –: none):",
        tabulate(shown, headers="keys", disable_numparse=True, colalign=("left", "right", "left", "right", "left")),
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
    """Lines that say what the estimates rest on, and what is not known."""
    served = [pair for pair in plan.pairs if pair.price_by]
    if served:
        yield f"tokens in by {_by(served, lambda pair: pair.input_by)}"
        yield f"tokens out from {_by(served, lambda pair: pair.output_by)}"
        yield f"prices from {_by(served, lambda pair: pair.price_by)}"
        yield f"minutes at the limits of each endpoint, by {_by(served, lambda pair: pair.minutes_by)}"
    if plan.unpriced:
        yield f"USD without {', '.join(plan.unpriced)}: give a price or a gpu_per_hour in the models file"
    yield from plan.notes


def _by(pairs: Iterable[PairEstimate], ground: Callable[[PairEstimate], str]) -> str:
    """Each ground with the models it holds for."""
    models: dict[str, dict[str, None]] = {}
    for pair in pairs:
        models.setdefault(ground(pair), {})[pair.model] = None
    return "; ".join(f"{name} ({', '.join(found)})" for name, found in models.items())
