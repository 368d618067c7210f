"""Scores as text: the terminal table of a bench run, and leaderboard.md and .csv.

All functions take the long form, one row per (task, model, metric, kind). Benchmark and sample rows are never in one
table. Numbers have three decimals, an en dash stands for what is not there, and the same scores give the same text.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from harness.report.published import Published, counterpart, headline

ABSENT = "\N{EN DASH}"
PROBLEMS = ("unparsed", "truncated", "refused", "failed")
KINDS = ("benchmark", "sample")

Row = dict[Hashable, Any]
Verdicts = Mapping[str, str]
"""One sentence per task: which model is best, and whether that is more than chance."""

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


def number(value: Any, digits: int = 3) -> str:
    """A number with that many decimals; an en dash for None and NaN."""
    return ABSENT if _absent(value) else f"{value:.{digits}f}"


def plural(count: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def with_interval(row: Mapping[Hashable, Any]) -> str:
    """A score as `0.912 [0.893, 0.928]`."""
    return ABSENT if _absent(row["score"]) else f"{row['score']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def bench_table(df: pd.DataFrame, verdicts: Verdicts | None = None) -> str:
    """What a bench run prints: for each task and kind its name and source, a table of models, and its verdict."""
    blocks = []
    for task, _, part in tasks_of(df):
        lines = [heading(part), _text_table(part)]
        if verdict := (verdicts or {}).get(task):
            lines.append(verdict)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def leaderboard(df: pd.DataFrame) -> pd.DataFrame:
    """Main-metric scores, model rows by task columns; models best first by mean rank over the tasks all of them have.

    Raises:
        ValueError: benchmark and sample rows together.
    """
    if df["kind"].nunique() > 1:
        raise ValueError("benchmark and sample scores must not share a table")
    wide = df[df["is_main"]].pivot(index="model", columns="task", values="score").sort_index(axis="columns")
    ranks = _oriented(df, wide).rank(ascending=False).loc[:, wide.notna().all()]
    order = sorted(wide.index, key=lambda model: (ranks.loc[model].mean() if ranks.shape[1] else 0.0, model))
    return wide.loc[order]


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
        parts += [_wide_markdown(rows), *_one((standings or {}).get(kind))]
        parts += [f"![{name}](plots/{name}.svg)" for name in (plots or {}).get(kind, [plot_name("overview", kind)])]
        figures = published if kind == "benchmark" else {}
        parts += _beside_published(rows, figures)
        for task, _, part in tasks_of(rows):
            parts += _task_markdown(part, figures.get(task, ()), (verdicts or {}).get(kind, {}).get(task))
            parts += _one((slices or {}).get(kind, {}).get(task))
    if df.empty:
        parts.append("No runs are recorded.")
    return "\n\n".join(parts) + "\n"


def csv(df: pd.DataFrame) -> str:
    """The long form as CSV, sorted, with nothing rounded away before the sixth digit.

    Raises:
        ValueError: benchmark and sample rows together.
    """
    if df["kind"].nunique() > 1:
        raise ValueError("benchmark and sample scores must not share a table")
    ordered = df.sort_values(["task", "is_main", "metric", "model"], ascending=[True, False, True, True])
    whole = {name: ordered[name].astype("Int64") for name in ("input_tokens", "output_tokens")}
    return ordered.assign(**whole).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def tasks_of(df: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """The rows of each task and kind, benchmark runs first, then by task."""
    for kind in KINDS:
        for task, part in df[df["kind"] == kind].groupby("task", sort=True):
            yield str(task), kind, part


def plot_name(stem: str, kind: str) -> str:
    """File name, without its ending, of a plot of that kind of runs."""
    return f"{stem}-sample" if kind == "sample" else stem


def main_rows(part: pd.DataFrame) -> list[Row]:
    """The leaderboard-metric rows of one task, best first, names deciding ties."""
    rows = part[part["is_main"]].to_dict("records")
    sign = -1 if higher_is_better(part) else 1
    return sorted(rows, key=lambda r: (math.inf if _absent(r["score"]) else sign * r["score"], r["model"]))


def higher_is_better(part: pd.DataFrame) -> bool:
    """Whether the leaderboard metric of one task is better when larger, which it is unless the rows say otherwise."""
    return bool(part.loc[part["is_main"], "higher_is_better"].all()) if "higher_is_better" in part else True


def rows_asked(part: pd.DataFrame) -> str:
    """How many rows the models were asked: `n = 1,000`, or `n = 164 to 1,000` where that differs."""
    least, most = int(part["n"].min()), int(part["n"].max())
    return f"n = {most:,}" if least == most else f"n = {least:,} to {most:,}"


def sources(part: pd.DataFrame) -> str:
    """Where the rows came from, all of it."""
    return ", ".join(sorted(set(part["source"])))


def provenance(part: pd.DataFrame) -> str:
    """Where the rows came from and how many were asked; the source of sample rows says both."""
    return sources(part) if set(part["kind"]) == {"sample"} else f"{sources(part)}; {rows_asked(part)}"


def heading(part: pd.DataFrame) -> str:
    """The line above a table: task, title, source."""
    return f"{part['task'].iloc[0]}: {part['title'].iloc[0]}, {sources(part)}"


def _one(text: str | None) -> list[str]:
    return [text] if text else []


def _absent(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _small(value: Any) -> str:
    """Seconds or USD, where 0.000 would hide that something was spent."""
    if not _absent(value) and 0 < value < 0.0005:
        return "<0.001"
    return number(value)


def _count(value: Any) -> str:
    return ABSENT if _absent(value) else f"{int(value):,}"


def _oriented(df: pd.DataFrame, wide: pd.DataFrame) -> pd.DataFrame:
    """Scores turned so that more is better in every column."""
    return wide * [1 if higher_is_better(df[df["task"] == task]) else -1 for task in wide.columns]


def _metrics(part: pd.DataFrame) -> list[str]:
    """Metric names of one task, the leaderboard's first, then in the order given."""
    main = part.loc[part["is_main"], "metric"]
    return list(dict.fromkeys([*main, *part["metric"]]))


def _differs(rows: Iterable[Mapping[Hashable, Any]]) -> bool:
    return any(number(r["score"]) != number(r["score_answered"]) for r in rows)


def _problems(rows: Sequence[Mapping[Hashable, Any]]) -> list[str]:
    return [status for status in PROBLEMS if any(row[status] for row in rows)]


def _spent(row: Mapping[Hashable, Any]) -> list[str]:
    tokens = [_count(row["input_tokens"]), _count(row["output_tokens"])]
    return [_small(row["p50_s"]), _small(row["p95_s"]), *tokens, _small(row["usd"])]


_SPENT = ["p50 s", "p95 s", "tokens in", "tokens out", "USD"]


def _text_table(part: pd.DataFrame) -> str:
    """One line per model, best first: every metric, n, problems where there are any, latency, tokens, USD."""
    metrics, rows = _metrics(part), main_rows(part)
    cells = {(r["model"], r["metric"]): with_interval(r) for r in part.to_dict("records")}
    problems, answered = _problems(rows), _differs(rows)
    header = ["model", *metrics, *(["answered"] if answered else []), "n", *problems, *_SPENT]
    body = [
        [
            r["model"],
            *(cells.get((r["model"], metric), ABSENT) for metric in metrics),
            *([number(r["score_answered"])] if answered else []),
            _count(r["n"]),
            *(_count(r[status]) for status in problems),
            *_spent(r),
        ]
        for r in rows
    ]
    align = ["left"] * (1 + len(metrics)) + ["right"] * (len(header) - 1 - len(metrics))
    # The header is a row like the others: as a header tabulate would make every column two characters wider.
    return tabulate([header, *body], tablefmt="plain", disable_numparse=True, colalign=align)


def _github(header: Sequence[str], body: Sequence[Sequence[str]], words: int) -> str:
    """A GitHub table whose first `words` columns are text; a bar inside a cell would end it."""
    safe = [[cell.replace("|", "\\|") for cell in row] for row in body]
    align = ["left"] * words + ["right"] * (len(header) - words)
    names = [name.replace("|", "\\|") for name in header]
    return tabulate(safe, names, tablefmt="pipe", disable_numparse=True, colalign=align)


def _wide_markdown(df: pd.DataFrame) -> str:
    """Models by tasks on the main metrics, the best of each task bold, and the mean over the tasks all models have."""
    wide = leaderboard(df)
    best = _oriented(df, wide).rank(ascending=False, method="min") == 1
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
    return ["### Beside published figures", _PUBLISHED_INTRODUCTION, _github(header, body, 2)]


def _closest(part: pd.DataFrame, figures: Sequence[Published]) -> str:
    """Our metric to read beside these figures: that of the first that has one, else the leaderboard's."""
    metrics = _metrics(part)
    matches = (counterpart(figure, metrics) for figure in figures)
    return next((name for name in matches if name), metrics[0])


def _figure_cell(figure: Published | None, metric: str) -> str:
    if figure is None:
        return ABSENT
    same = counterpart(figure, [metric])
    return f"{number(figure.score)} {figure.metric}" + ("" if same else " ≠")


def _task_markdown(part: pd.DataFrame, published: Sequence[Published], verdict: str | None) -> list[str]:
    first = part.iloc[0]
    metrics = _metrics(part)
    told = f"{first['category']}; {provenance(part)}; leaderboard metric: {metrics[0]}."
    picture = f"![{first['task']}](plots/{plot_name(str(first['task']), str(first['kind']))}.svg)"
    parts = [f"### {first['task']}: {first['title']}", told, *([verdict] if verdict else []), picture]
    return [*parts, _task_table(part), *_published_list(published, metrics)]


def _task_table(part: pd.DataFrame) -> str:
    """The long form of one task: a line per model and metric, models best first."""
    order = {r["model"]: i for i, r in enumerate(main_rows(part))}
    metrics = _metrics(part)
    rows = sorted(
        part.to_dict("records"),
        key=lambda r: (metrics.index(r["metric"]), order.get(r["model"], len(order)), r["model"]),
    )
    answered = _differs(rows)
    header = ["metric", "model", "tuned from", "score", *(["answered"] if answered else []), "n", "ok", *PROBLEMS]
    body = [
        [
            r["metric"],
            r["model"],
            ABSENT if _absent(r["base"]) else r["base"],
            with_interval(r),
            *([f"{number(r['score_answered'])} (n = {_count(r['n_answered'])})"] if answered else []),
            *(_count(r[name]) for name in ("n", "ok", *PROBLEMS)),
            *_spent(r),
        ]
        for r in rows
    ]
    return _github([*header, *_SPENT], body, 3)


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
