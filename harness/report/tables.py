"""Scores as text: the terminal table of a bench run, leaderboard.csv, and what other tables are made with.

All functions take the long form, one row per (task, model, metric, kind). Benchmark and sample rows are never in one
table. Numbers have three decimals, an en dash stands for what is not there, and the same scores give the same text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from tabulate import tabulate

from harness.compare.intervals import Estimate, Sample, estimate_all
from harness.report.published import Published, counterpart, headline
from harness.report.words import ABSENT, absent, count, counted, incomplete, number, small, version, with_interval
from harness.rows.origin import KINDS
from harness.score.metrics.base import Metric
from harness.score.scoring import STATUSES, RowScores
from harness.store.results import LABELS_ONLY

INCOMPLETE = "†"
"""What stands behind a score of an incomplete run, of which a line says why."""
PROBLEMS = ("unparsed", "truncated", "refused", "failed")


Row = dict[Hashable, Any]


Verdicts = Mapping[str, str]
"""One sentence per task: which model is best, and whether that is more than chance."""


def bench_table(df: pd.DataFrame, verdicts: Verdicts | None = None, width: int | None = None) -> str:
    """What a bench run prints: for each task and kind its name and source, a table of models, and its verdict.

    Of a table wider than `width` characters, columns are left out: latency and tokens, then the last metrics.
    """
    blocks = []
    for task, _, part in tasks_of(df):
        notes = [labels_only(part), *incomplete_runs(part)]
        lines = [heading(part), _text_table(part, width), *notes, (verdicts or {}).get(task)]
        blocks.append("\n".join(line for line in lines if line))
    return "\n\n".join(blocks) + "\n"


def leaderboard(df: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """Main-metric scores, model rows in the order of `models` by task columns.

    Raises:
        ValueError: benchmark and sample rows together.
    """
    if df["kind"].nunique() > 1:
        raise ValueError("benchmark and sample scores must not share a table")
    wide = df[df["is_main"]].pivot(index="model", columns="task", values="score").sort_index(axis="columns")
    return wide.loc[list(models)]


def highest(df: pd.DataFrame, wide: pd.DataFrame) -> pd.DataFrame:
    """Which scores of `leaderboard` no other model passes, on tasks that several models were asked."""
    signs = [1 if higher_is_better(df[df["task"] == task]) else -1 for task in wide.columns]
    complete = leaderboard(df.assign(score=df["score"].where(df["incomplete"] == "")), list(wide.index))
    ranks = (complete * signs).round(12).rank(ascending=False, method="min")
    return (ranks == 1) & (wide.notna().sum() > 1)


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
    return sorted(
        rows, key=lambda r: (r["incomplete"] != "", math.inf if absent(r["score"]) else sign * r["score"], r["model"])
    )


def higher_is_better(part: pd.DataFrame) -> bool:
    """Whether the leaderboard metric of one task is better when larger, which it is unless the rows say otherwise."""
    return bool(part.loc[part["is_main"], "higher_is_better"].all()) if "higher_is_better" in part else True


def highest_value(part: pd.DataFrame) -> float:
    """The highest value of the leaderboard metric of one task, NaN where it has none."""
    return float(part.loc[part["is_main"], "highest"].iloc[0])


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
    """The line above a table: task, title, source, versions."""
    return f"{part['task'].iloc[0]}: {part['title'].iloc[0]}, {sources(part)}, {version_of(part)}"


def version_of(part: pd.DataFrame) -> str:
    """The versions of one task by which its answers were asked and scored."""
    return version(part["asking_version"], part["scoring_version"])


def incomplete_runs(df: pd.DataFrame) -> list[str]:
    """A line for each incomplete run, which no table may show without."""
    found = df[df["is_main"] & (df["incomplete"] != "")]
    one = df["task"].nunique() == 1
    return [
        incomplete(row["model"] if one else f"{row['model']} on {row['task']}", row["incomplete"])
        for row in found.to_dict("records")
    ]


def marked(row: Mapping[Hashable, Any], text: str) -> str:
    """A score's text, marked where its run is incomplete."""
    return f"{text} {INCOMPLETE}" if row["incomplete"] else text


def marked_models(df: pd.DataFrame, task: str) -> dict[str, str]:
    """The mark behind each score of the models whose run of a task is incomplete, by model."""
    broken = df[(df["task"] == task) & (df["incomplete"] != "")]
    return dict.fromkeys(broken["model"], f" {INCOMPLETE}")


def labels_only(df: pd.DataFrame) -> str:
    """Which models were allowed no answer but a label, and on which tasks where `df` holds several; "" for none."""
    found = df[df["labels_only"]].groupby("model")["task"].unique()
    if df["task"].nunique() == 1:
        who = ", ".join(found.index)
    else:
        who = "; ".join(f"{model} on {', '.join(sorted(tasks))}" for model, tasks in found.items())
    return f"{who}: {LABELS_ONLY}." if who else ""


def metrics_of(part: pd.DataFrame) -> list[str]:
    """Metric names of one task, the leaderboard's first, then in the order given."""
    main = part.loc[part["is_main"], "metric"]
    return list(dict.fromkeys([*main, *part["metric"]]))


@dataclass(frozen=True, slots=True)
class Beside:
    """A task's published figures by label, and our scores by model on the metric nearest to them, with their marks."""

    task: str
    metric: str
    scores: Mapping[str, float]
    figures: Mapping[str, Published]
    marks: Mapping[str, str]

    def same(self, label: str) -> bool:
        """Whether a figure was measured with a metric like ours."""
        return counterpart(self.figures[label], [self.metric]) is not None


def beside_published(df: pd.DataFrame, published: Mapping[str, Sequence[Published]]) -> list[Beside]:
    """The tasks that have published figures for a table, by name; `df` holds one kind of runs."""
    found = []
    for task, part in df.groupby("task", sort=True):
        figures = headline(published.get(str(task), ()))
        if figures:
            metrics = metrics_of(part)
            # Ours of the first figure that has one, else the leaderboard's.
            metric = next((name for f in figures if (name := counterpart(f, metrics))), metrics[0])
            ours = part[part["metric"] == metric]
            scores = dict(zip(ours["model"], ours["score"], strict=True))
            marks = marked_models(df, str(task))
            found.append(Beside(str(task), metric, scores, {f.label: f for f in figures}, marks))
    return found


def unanswered(row: Mapping[Hashable, Any]) -> int:
    """How many rows have no valid answer."""
    return sum(int(row[status]) for status in PROBLEMS)


def differs(rows: Iterable[Mapping[Hashable, Any]]) -> bool:
    """Whether some score is another one over the rows with a valid answer."""
    return any(number(r["score"]) != number(r["score_answered"]) for r in rows)


def _problems(rows: Sequence[Mapping[Hashable, Any]]) -> list[str]:
    return [status for status in PROBLEMS if any(row[status] for row in rows)]


def spent(row: Mapping[Hashable, Any]) -> list[str]:
    """The cells under `SPENT`."""
    tokens = [count(row["input_tokens"]), count(row["output_tokens"])]
    return [small(row["p50_s"]), small(row["p95_s"]), *tokens, small(row["usd"])]


SPENT = ["p50 s", "p95 s", "tokens in", "tokens out", "USD"]


def _text_table(part: pd.DataFrame, width: int | None = None) -> str:
    """One line per model, best first: every metric, n, problems where there are any, latency, tokens, USD."""
    metrics, rows = metrics_of(part), main_rows(part)
    cells = {
        (r["model"], r["metric"]): marked(r, with_interval(r) + counted(r["rests_on"])) for r in part.to_dict("records")
    }
    problems, answered = _problems(rows), differs(rows)
    header = ["model", *metrics, *(["answered"] if answered else []), "n", *problems, *SPENT]
    body = [
        [
            r["model"],
            *(cells.get((r["model"], metric), ABSENT) for metric in metrics),
            *([number(r["score_answered"])] if answered else []),
            count(r["n"]),
            *(count(r[status]) for status in problems),
            *spent(r),
        ]
        for r in rows
    ]
    table = [header, *body]
    for name in [*SPENT[:-1], *reversed(metrics[1:])]:
        if width is None or _width(table) <= width:
            break
        place = table[0].index(name)
        table = [[*line[:place], *line[place + 1 :]] for line in table]
    align = ["left" if name in ("model", *metrics) else "right" for name in table[0]]
    # The header is a row like the others: as a header tabulate would make every column two characters wider.
    return tabulate(table, tablefmt="plain", disable_numparse=True, colalign=align)


def _width(table: Sequence[Sequence[str]]) -> int:
    return sum(max(len(line[place]) for line in table) + 2 for place in range(len(table[0]))) - 2


def score_points(metrics: Iterable[Metric], rows: RowScores) -> dict[str, Estimate]:
    """Return each metric's score with its interval."""
    samples = [Sample(metric, rows.stats[metric.name], rows.clusters) for metric in metrics]
    return {one.metric.name: score for one, score in zip(samples, estimate_all(samples), strict=True)}


def bench_json(frame: pd.DataFrame) -> str:
    """Return the document of `harness bench --json`: one entry for each task, model and metric."""
    plain = ["task", "model", "metric", "score", "low", "high", "n"]
    rest = ["source", "asking_version", "scoring_version", "p50_s", "p95_s", "input_tokens", "output_tokens", "usd"]
    results = []
    for row in frame.to_dict("records"):
        entry = {key: row[key] for key in plain} | {"statuses": {status: row[status] for status in STATUSES}}
        entry |= {key: row[key] for key in rest}
        entry |= {key: row[key] or None for key in ("rests_on", "reason", "incomplete")}
        results.append({key: None if absent(value) else value for key, value in entry.items()})
    return json.dumps({"results": results}, ensure_ascii=False)
