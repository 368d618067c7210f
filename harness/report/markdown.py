"""leaderboard.md: all scores as Markdown, published figures beside them, and each task's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from tabulate import tabulate

from harness.compare.intervals import Estimate
from harness.compare.slices import FEW, Slice
from harness.compare.standings import Standing, Standings
from harness.report.published import Published, counterpart, headline
from harness.report.tables import (
    PROBLEMS,
    SPENT,
    Verdicts,
    differs,
    labels_only,
    leaderboard,
    main_rows,
    metrics_of,
    oriented,
    plot_name,
    provenance,
    spent,
    tasks_of,
)
from harness.report.words import ABSENT, absent, count, number, plural, with_interval
from harness.rows.origin import KINDS

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
