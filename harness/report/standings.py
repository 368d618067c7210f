"""Standings and slices as Markdown and LaTeX: who wins how often, and where."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from tabulate import tabulate

from harness.intervals import Estimate
from harness.report.tables import ABSENT, labels_only, leaderboard, number, plural
from harness.slices import FEW, Slice
from harness.standings import Standing, Standings


def standings_markdown(found: Standings) -> str:
    """A line for each model, best mean rank first, and what the columns rest on."""
    against = f"won, tied, lost against {found.reference}"
    tuned = any(row.lift for row in found.models)
    spent = any(row.usd for row in found.models)
    header = ["model", "tasks", "mean rank", "macro average", against, *(["lift over base, points"] if tuned else [])]
    body = [
        [
            row.model,
            str(row.tasks),
            _interval(row.mean_rank, 2),
            _interval(row.macro, 3),
            _record(row),
            *([_lift(row)] if tuned else []),
            *([_usd(row.usd)] if spent else []),
        ]
        for row in found.models
    ]
    header += ["USD per 1,000 rows"] if spent else []
    align = ["left", *["right"] * (len(header) - 1)]
    table = tabulate(body, header, tablefmt="pipe", disable_numparse=True, colalign=align)
    return "\n\n".join(["### Standings", _grounds(found), table])


def slices_markdown(found: Sequence[Slice]) -> str:
    """A line for each slice, a column for each model; a slice with fewer than 30 rows says so in place of scores."""
    models = list(dict.fromkeys(model for part in found for model in part.scores))
    body = [
        [
            part.column,
            part.value.replace("|", "\\|") or "(empty)",
            f"{part.n:,}",
            *(f"(n < {FEW})" if part.few else _interval(part.scores.get(model), 3) for model in models),
        ]
        for part in found
    ]
    align = ["left", "left", *["right"] * (1 + len(models))]
    table = tabulate(body, ["slice", "rows with", "n", *models], tablefmt="pipe", disable_numparse=True, colalign=align)
    return f"<details><summary>Slices</summary>\n\n{table}\n\n</details>"


def latex(df: pd.DataFrame) -> str:
    """Main-metric scores as a booktabs table, tasks by models, best mean rank first; `df` holds one kind of runs.

    Raises:
        ValueError: benchmark and sample rows together.
    """
    wide = leaderboard(df).T
    metric_of = df[df["is_main"]].drop_duplicates("task").set_index("task")["metric"]
    rows = wide.reset_index().to_numpy().tolist()
    body = [[task, metric_of[task], *(number(score) for score in scores)] for task, *scores in rows]
    align = ["left", "left", *["right"] * len(wide.columns)]
    header = ["task", "metric", *map(str, wide.columns)]
    table = tabulate(body, header, tablefmt="latex_booktabs", disable_numparse=True, colalign=align) + "\n"
    note = labels_only(df).replace("_", r"\_")
    return f"{table}\n{{\\footnotesize {note}\\par}}\n" if note else table


def _grounds(found: Standings) -> str:
    common = plural(len(found.common), "task")
    parts = [
        f"Mean rank and macro average are over the {common} that every model was asked, on the same rows; brackets "
        "hold 95 % bootstrap intervals over those rows, which say nothing about other tasks."
    ]
    if found.left_out:
        parts.append(f"Not in the macro average, for their metric has no common scale: {', '.join(found.left_out)}.")
    parts.append(
        f"Won and lost are differences from {found.reference}, {found.why}, beyond chance, after Holm's correction "
        "over the tasks; everything else is tied."
    )
    apart = sorted({task for row in found.models if row.against for task in row.against.apart})
    if apart:
        parts.append(f"Asked on different rows, and so compared with nothing: {', '.join(apart)}.")
    return " ".join(parts)


def _interval(found: Estimate | None, digits: int) -> str:
    if found is None or found.n == 0:
        return ABSENT
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _record(row: Standing) -> str:
    return f"{row.against.won}, {row.against.tied}, {row.against.lost}" if row.against else ABSENT


def _lift(row: Standing) -> str:
    if row.lift is None:
        return ABSENT
    mean, pair = row.lift.mean, row.lift.pair
    interval = f"{100 * mean.value:+.1f} [{100 * mean.low:+.1f}, {100 * mean.high:+.1f}]"
    return f"{interval}, better on {pair.won} of {len(pair.tasks)}"


def _usd(value: float | None) -> str:
    return ABSENT if value is None else f"{1000 * value:.3g}"
