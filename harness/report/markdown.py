"""leaderboard.md: all scores as Markdown, published figures beside them, and each task's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from tabulate import tabulate

from harness.report.published import Published, counterpart, headline
from harness.report.tables import (
    ABSENT,
    KINDS,
    PROBLEMS,
    SPENT,
    Verdicts,
    absent,
    count,
    differs,
    labels_only,
    leaderboard,
    main_rows,
    metrics_of,
    number,
    oriented,
    plot_name,
    plural,
    provenance,
    spent,
    tasks_of,
    with_interval,
)

_INTRODUCTION = """\
Every score is over all rows asked: an answer that is missing, refused, cut off or cannot be read counts as wrong.
Where that matters, "answered" is the score over the rows with a valid answer. Brackets hold 95 % intervals: Wilson's
for metrics that score a row 0 or 1, BCa bootstrap otherwise. Latency is in seconds."""
_SAMPLE_WARNING = """\
> These rows were written for this project, to try the software out. They are few, and easier or harder than the real
> task: **the scores say nothing about a model** and must not be put beside benchmark scores."""
_PUBLISHED_INTRODUCTION = """\
Published figures were measured by others: on other rows, with other prompts and with the metric they name. Our column
is the metric nearest to the published one; "≠" marks a published figure that was measured with another one."""


def markdown(
    df: pd.DataFrame,
    published: Mapping[str, Sequence[Published]],
    verdicts: Mapping[str, Verdicts] | None = None,
    standings: Mapping[str, str] | None = None,
    slices: Mapping[str, Mapping[str, str]] | None = None,
    plots: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """All of leaderboard.md: benchmark runs with published figures beside them, then sample runs on their own.

    By kind of runs: `verdicts` holds a sentence for each task, `standings` the table of models over all tasks,
    `slices` a table for each task, `plots` the names of further plots over all tasks.
    """
    parts = ["# Leaderboard", _INTRODUCTION]
    for kind, title in zip(KINDS, ("Benchmark runs", "Sample runs: not a benchmark"), strict=True):
        rows = df[df["kind"] == kind]
        if rows.empty:
            continue
        parts.append(f"## {title}")
        if kind == "sample":
            parts.append(_SAMPLE_WARNING)
        parts += [_wide_markdown(rows), *_one(labels_only(rows)), *_one((standings or {}).get(kind))]
        parts += [f"![{name}](plots/{name}.svg)" for name in (plots or {}).get(kind, [plot_name("overview", kind)])]
        figures = published if kind == "benchmark" else {}
        parts += _beside_published(rows, figures)
        for task, _, part in tasks_of(rows):
            parts += _task_markdown(part, figures.get(task, ()), (verdicts or {}).get(kind, {}).get(task))
            parts += _one((slices or {}).get(kind, {}).get(task))
    if df.empty:
        parts.append("No runs are recorded.")
    return "\n\n".join(parts) + "\n"


def _one(text: str | None) -> list[str]:
    return [text] if text else []


def _github(header: Sequence[str], body: Sequence[Sequence[str]], words: int) -> str:
    """A GitHub table whose first `words` columns are text; a bar inside a cell would end it."""
    safe = [[cell.replace("|", "\\|") for cell in row] for row in body]
    align = ["left"] * words + ["right"] * (len(header) - words)
    names = [name.replace("|", "\\|") for name in header]
    return tabulate(safe, names, tablefmt="pipe", disable_numparse=True, colalign=align)


def _wide_markdown(df: pd.DataFrame) -> str:
    """Models by tasks on the main metrics, the best of each task bold, and the mean over the tasks all models have."""
    wide = leaderboard(df)
    best = oriented(df, wide).rank(ascending=False, method="min") == 1
    common = wide.columns[wide.notna().all()]
    means = wide[common].mean(axis="columns").to_dict()
    metric_of = df[df["is_main"]].drop_duplicates("task").set_index("task")["metric"]
    body = [
        [
            str(model),
            *(_bold(number(wide.at[model, task]), bool(best.at[model, task])) for task in wide.columns),
            number(means[model]),
        ]
        for model in wide.index
    ]
    header = ["model", *(f"{task} ({metric_of[task]})" for task in wide.columns), f"mean of {len(common)}"]
    note = f"{plural(len(wide), 'model')}, {plural(len(wide.columns), 'task')}; {provenance(df)}."
    mean = f"The mean is over the {plural(len(common), 'task')} that every model has." if len(common) else ""
    highest = "Bold is the highest score, which need not be more than chance: see the tasks."
    return "\n\n".join([f"{note} {mean} {highest}".replace("  ", " "), _github(header, body, 1)])


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


def _beside_published(df: pd.DataFrame, published: Mapping[str, Sequence[Published]]) -> list[str]:
    """Tasks by models on the metric nearest to the published one; published figures have columns of their own."""
    figures = {task: headline(published.get(task, ())) for task in sorted(set(df["task"]))}
    labels = list(dict.fromkeys(f.label for found in figures.values() for f in found if f.source != "OctoAI"))
    if not labels:
        return []
    models = list(leaderboard(df).index)
    body = []
    for task, found in figures.items():
        part = df[df["task"] == task]
        by_label = {f.label: f for f in found}
        if not set(labels) & set(by_label):
            continue
        metric = _closest(part, found)
        scores = part[part["metric"] == metric].set_index("model")["score"]
        ours = [number(scores.get(model)) for model in models]
        body.append([task, metric, *ours, *(_figure_cell(by_label.get(label), metric) for label in labels)])
    header = ["task", "our metric", *models, *labels]
    return ["### Beside published figures", _PUBLISHED_INTRODUCTION, _github(header, body, 2), *_one(labels_only(df))]


def _closest(part: pd.DataFrame, figures: Sequence[Published]) -> str:
    """Our metric to read beside these figures: that of the first that has one, else the leaderboard's."""
    metrics = metrics_of(part)
    matches = (counterpart(figure, metrics) for figure in figures)
    return next((name for name in matches if name), metrics[0])


def _figure_cell(figure: Published | None, metric: str) -> str:
    if figure is None:
        return ABSENT
    same = counterpart(figure, [metric])
    return f"{number(figure.score)} {figure.metric}" + ("" if same else " ≠")


def _task_markdown(part: pd.DataFrame, published: Sequence[Published], verdict: str | None) -> list[str]:
    first = part.iloc[0]
    metrics = metrics_of(part)
    told = f"{first['category']}; {provenance(part)}; leaderboard metric: {metrics[0]}."
    picture = f"![{first['task']}](plots/{plot_name(str(first['task']), str(first['kind']))}.svg)"
    parts = [f"### {first['task']}: {first['title']}", told, *([verdict] if verdict else []), picture]
    return [*parts, _task_table(part), *_one(labels_only(part)), *_published_list(published, metrics)]


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
            with_interval(r),
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
