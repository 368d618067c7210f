"""leaderboard.md: all scores as Markdown, published figures beside them, and each task's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import pandas as pd
from tabulate import tabulate

from harness.compare.slices import FEW, Slice
from harness.compare.standings import Standing, Standings
from harness.report.published import Published, counterpart
from harness.report.tables import (
    PROBLEMS,
    SPENT,
    Beside,
    beside_published,
    differs,
    highest,
    incomplete_runs,
    labels_only,
    leaderboard,
    main_rows,
    marked,
    marked_models,
    metrics_of,
    plot_name,
    provenance,
    spent,
    tasks_of,
    version_of,
)
from harness.report.words import (
    ABSENT,
    INTERVALS,
    absent,
    averages,
    compared_with,
    count,
    counted,
    interval,
    number,
    plural,
    signed,
    small,
    with_interval,
    won_or_lost,
)
from harness.rows.origin import KINDS

_INTRODUCTION = f"""\
Every score is over all rows asked: an answer that is missing, refused, cut off or cannot be read counts as wrong.
Where that matters, "answered" is the score over the rows with a valid answer. † marks a run of which a server left so
many rows without an answer that it has no verdict and no rank. Brackets hold intervals, and behind them what they rest
on where that is not the rows. {INTERVALS} Latency is in seconds."""


_SAMPLE_WARNING = """\
> These rows were written for this project, to try the software out. They are few, and easier or harder than the real
> task: **the scores say nothing about a model** and must not be put beside benchmark scores."""


_PUBLISHED_INTRODUCTION = """\
Published figures were measured by others: on other rows, with other prompts and with the metric they name. Our column
is the metric nearest to the published one; "≠" marks a published figure that was measured with another one."""


@dataclass(frozen=True, slots=True)
class Section:
    """What is said of one kind of runs beside its scores.

    `verdicts` and `slices` are by task, `plots` the names of the plots over all tasks, `doubts` sentences about runs.
    """

    standings: Standings
    verdicts: Mapping[str, str] = field(default_factory=dict)
    slices: Mapping[str, Sequence[Slice]] = field(default_factory=dict)
    plots: Sequence[str] = ()
    doubts: Sequence[str] = ()


def markdown(
    df: pd.DataFrame, published: Mapping[str, Sequence[Published]], sections: Mapping[str, Section] | None = None
) -> str:
    """All of leaderboard.md: benchmark runs with published figures beside them, then sample runs on their own.

    `sections` has one for each kind of runs in `df`.
    """
    parts = ["# Leaderboard", _INTRODUCTION]
    for kind, title in zip(KINDS, ("Benchmark runs", "Sample runs: not a benchmark"), strict=True):
        rows = df[df["kind"] == kind]
        if rows.empty:
            continue
        section = (sections or {})[kind]
        models = [row.model for row in section.standings.models]
        parts.append(f"## {title}")
        if kind == "sample":
            parts.append(_SAMPLE_WARNING)
        parts += [_wide_markdown(rows, models), *_one(labels_only(rows)), *_incomplete(rows)]
        parts.append(standings_markdown(section.standings))
        parts += [f"![{name}](plots/{name}.svg)" for name in section.plots]
        parts += _one("\n".join(f"- {line}" for line in section.doubts))
        figures = published if kind == "benchmark" else {}
        parts += _beside_published(rows, figures, models)
        for task, _, part in tasks_of(rows):
            parts += _task_markdown(part, figures.get(task, ()), section.verdicts.get(task))
            parts += _one(
                slices_markdown(section.slices[task], marked_models(rows, task)) if task in section.slices else None
            )
    if df.empty:
        parts.append("No runs are recorded.")
    return "\n\n".join(parts) + "\n"


def _one(text: str | None) -> list[str]:
    return [text] if text else []


def _incomplete(df: pd.DataFrame) -> list[str]:
    lines = incomplete_runs(df)
    return [f"† {' '.join(lines)}"] if lines else []


def _github(header: Sequence[str], body: Sequence[Sequence[str]], words: int) -> str:
    """A GitHub table whose first `words` columns are text; a bar inside a cell would end it."""
    safe = [[cell.replace("|", "\\|") for cell in row] for row in body]
    align = ["left"] * words + ["right"] * (len(header) - words)
    names = [name.replace("|", "\\|") for name in header]
    return tabulate(safe, names, tablefmt="pipe", disable_numparse=True, colalign=align)


def _wide_markdown(df: pd.DataFrame, models: Sequence[str]) -> str:
    """Models by tasks on the main metrics, the best of each task bold."""
    wide = leaderboard(df, models)
    best = highest(df, wide)
    metric_of = df[df["is_main"]].drop_duplicates("task").set_index("task")["metric"]
    marks = {(r["model"], r["task"]): r for r in df[df["is_main"]].to_dict("records")}

    def cell(model: str, task: str) -> str:
        text = _bold(number(wide.at[model, task]), bool(best.at[model, task]))
        return marked(marks[model, task], text) if (model, task) in marks else text

    body = [[str(model), *(cell(model, task) for task in wide.columns)] for model in wide.index]
    header = ["model", *(f"{task} ({metric_of[task]})" for task in wide.columns)]
    size = f"{plural(len(wide), 'model')}, {plural(len(wide.columns), 'task')}; {provenance(df)}."
    note = f"{size} Bold is the best score, which need not be more than chance: see the tasks."
    return "\n\n".join([note, _github(header, body, 1)])


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


def _beside_published(
    df: pd.DataFrame, published: Mapping[str, Sequence[Published]], models: Sequence[str]
) -> list[str]:
    """Tasks by models on the metric nearest to the published one; published figures have columns of their own."""
    found = beside_published(df, published)
    # OctoAI's are of one task only, which lists them.
    labels = list(dict.fromkeys(label for one in found for label, f in one.figures.items() if f.source != "OctoAI"))
    if not labels:
        return []
    body = [
        [
            one.task,
            one.metric,
            *(number(one.scores.get(model)) + one.marks.get(model, "") for model in models),
            *(_figure_cell(one, label) for label in labels),
        ]
        for one in found
        if set(labels) & set(one.figures)
    ]
    header = ["task", "our metric", *models, *labels]
    return ["### Beside published figures", _PUBLISHED_INTRODUCTION, _github(header, body, 2), *_one(labels_only(df))]


def _figure_cell(one: Beside, label: str) -> str:
    figure = one.figures.get(label)
    if figure is None:
        return ABSENT
    return f"{number(figure.score)} {figure.metric}" + ("" if one.same(label) else " ≠")


def _task_markdown(part: pd.DataFrame, published: Sequence[Published], verdict: str | None) -> list[str]:
    first = part.iloc[0]
    metrics = metrics_of(part)
    about = f"{first['category']}; {provenance(part)}; {version_of(part)}; leaderboard metric: {metrics[0]}."
    picture = f"![{first['task']}](plots/{plot_name(str(first['task']), str(first['kind']))}.svg)"
    parts = [f"### {first['task']}: {first['title']}", about, *([verdict] if verdict else []), picture]
    notes = [*_one(labels_only(part)), *_incomplete(part), *_claimed(part)]
    return [*parts, _task_table(part), *notes, *_published_list(published, metrics)]


def _claimed(part: pd.DataFrame) -> list[str]:
    """Why some intervals are the metric's whole range."""
    found = {f"{r['metric']} of {r['model']}: {r['reason']}" for r in part.to_dict("records") if r["reason"]}
    return [f"Nothing is claimed where too little counts: {'; '.join(sorted(found))}."] if found else []


def _task_table(part: pd.DataFrame) -> str:
    """The long form of one task: a line per model and metric, models best first."""
    order = {r["model"]: i for i, r in enumerate(main_rows(part))}
    metrics = metrics_of(part)
    rows = sorted(
        part.to_dict("records"),
        key=lambda r: (metrics.index(r["metric"]), order.get(r["model"], len(order)), r["model"]),
    )
    answered = differs(rows)
    header = ["metric", "model", "tuned from", "score", *(["answered"] if answered else []), "n", "ok", *PROBLEMS]
    body = [
        [
            r["metric"],
            r["model"],
            ABSENT if absent(r["base"]) else r["base"],
            marked(r, with_interval(r) + counted(r["rests_on"])),
            *([f"{number(r['score_answered'])} (n = {count(r['n_answered'])})"] if answered else []),
            *(count(r[name]) for name in ("n", "ok", *PROBLEMS)),
            *spent(r),
        ]
        for r in rows
    ]
    return _github([*header, *SPENT], body, 3)


def _published_list(figures: Sequence[Published], metrics: Sequence[str]) -> list[str]:
    """All published figures of a task, folded if many, each with its metric and which of ours may be read beside it."""
    if not figures:
        return []
    body = [
        [f.model, f.source, f.metric, counterpart(f, metrics) or "none", number(f.score), f.note or ABSENT]
        for f in figures
    ]
    header = ["published model", "source", "published metric", "our counterpart", "score", "note"]
    table = _github(header, body, 4)
    summary = f"<details><summary>{len(figures)} published figures</summary>"
    return [summary, table, "</details>"] if len(figures) > 8 else ["Published figures:", table]


def standings_markdown(found: Standings) -> str:
    """A line for each model, best mean rank first, and what the columns rest on."""
    header, body = _standings(found)
    text = f"{averages(found)} {compared_with(found)} {won_or_lost(None)}"
    apart = {task: why for row in found.models if row.against for task, why in row.against.apart.items()}
    for task, why in sorted(apart.items()):
        text += f" On {task} nothing can be told: {why}."
    return "\n\n".join(["### Standings", text, _github(header, body, 1)])


def standings_text(found: Standings) -> str:
    """The table of the standings as a terminal shows it."""
    header, body = _standings(found)
    align = ["left"] + ["right"] * (len(header) - 1)
    return tabulate([header, *body], tablefmt="plain", disable_numparse=True, colalign=align)


def _standings(found: Standings) -> tuple[list[str], list[list[str]]]:
    against = f"won, tied, lost against {found.reference}"
    tuned = any(row.lift for row in found.models)
    priced = any(row.usd for row in found.models)
    header = ["model", "tasks", "mean rank", "mean score", against, *(["lift over base, points"] if tuned else [])]
    body = [
        [
            row.model,
            str(row.tasks),
            interval(row.mean_rank, 2),
            interval(row.macro),
            _record(row),
            *([_lift(row)] if tuned else []),
            *([small(None if row.usd is None else 1000 * row.usd)] if priced else []),
        ]
        for row in found.models
    ]
    return header + (["USD per 1,000 rows"] if priced else []), body


def slices_markdown(found: Sequence[Slice], marks: Mapping[str, str] = MappingProxyType({})) -> str:
    """A line for each slice, a column for each model; a slice with fewer than 30 rows says so in place of scores."""
    models = list(dict.fromkeys(model for part in found for model in part.scores))
    body = [
        [
            part.column,
            part.value or "(empty)",
            count(part.n),
            *(
                f"(n < {FEW})" if part.few else interval(part.scores.get(model)) + marks.get(model, "")
                for model in models
            ),
        ]
        for part in found
    ]
    table = _github(["slice", "rows with", "n", *models], body, 2)
    return f"<details><summary>Slices</summary>\n\n{table}\n\n</details>"


def latex(df: pd.DataFrame, models: Sequence[str]) -> str:
    """Main-metric scores as a booktabs table, tasks by models in that order; `df` holds one kind of runs.

    Raises:
        ValueError: benchmark and sample rows together.
    """
    wide = leaderboard(df, models).T
    metric_of = df[df["is_main"]].drop_duplicates("task").set_index("task")["metric"]
    rows = wide.reset_index().to_numpy().tolist()
    broken = {(r["task"], r["model"]) for r in df[df["incomplete"] != ""].to_dict("records")}
    body = [
        [
            task,
            metric_of[task],
            *(
                number(score) + (" †" if (task, model) in broken else "")
                for model, score in zip(wide.columns, scores, strict=True)
            ),
        ]
        for task, *scores in rows
    ]
    align = ["left", "left", *["right"] * len(wide.columns)]
    header = ["task", "metric", *map(str, wide.columns)]
    table = tabulate(body, header, tablefmt="latex_booktabs", disable_numparse=True, colalign=align) + "\n"
    versions = "; ".join(f"{task}: {version_of(part)}" for task, part in df.groupby("task", sort=True))
    notes = " ".join([*filter(None, [labels_only(df)]), *incomplete_runs(df)]).replace("_", r"\_").replace("%", r"\%")
    table = f"% {versions}\n{table}"
    return f"{table}\n{{\\footnotesize {notes}\\par}}\n" if notes else table


def _record(row: Standing) -> str:
    return f"{row.against.won}, {row.against.tied}, {row.against.lost}" if row.against else ABSENT


def _lift(row: Standing) -> str:
    if row.lift is None:
        return ABSENT
    mean, pair = row.lift.mean, row.lift.pair
    size = f"{signed(100 * mean.value, 1)} [{signed(100 * mean.low, 1)}, {signed(100 * mean.high, 1)}]"
    return f"{size}, better on {pair.won} of {len(pair.tasks)}"
