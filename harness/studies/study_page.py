"""A study as sections of sentences, tables and plots, and these as Markdown, HTML, CSV and on a terminal."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import combinations
from pathlib import Path

import numpy as np
from tabulate import tabulate

from harness.compare.intervals import Estimate
from harness.printable import printable
from harness.report.words import ABSENT, number, plural, signed, signed_interval
from harness.studies.correlations import Correlations, Prediction
from harness.studies.study import FEWEST_TASKS, Study
from harness.studies.study_plots import draw

TITLE = "What many tuned models say together"
INTRODUCTION = """Made by `harness study`: of the results of `harness sweep`, of any `harness bench` with adapters and
their bases, or with `--published` of the tables of the LoRA Land paper (arXiv 2405.00732)."""
CLOSE = 0.005
"""A printed correlation has two decimals, so one that agrees lies within half a unit of the last."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with the name of its CSV file."""

    name: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class StudySection:
    """A part of the study: its title, what is said of it, its tables, and the names of its plots."""

    title: str
    sentences: Sequence[str]
    tables: Sequence[Table] = ()
    plots: Sequence[str] = ()


def write(study: Study, out: Path) -> list[Path]:
    """Write `study.md`, `study.html`, a CSV file for each table and the plots into `out`; return the files written."""
    found = sections(study)
    out.mkdir(parents=True, exist_ok=True)
    plots = draw(study, out / "plots")
    written = []
    for section in found:
        for table in section.tables:
            path = out / f"{table.name}.csv"
            with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([table.head, *table.rows])
            written.append(path)
    drawn = {path.stem for path in plots}
    for name, text in (("study.md", markdown(found, drawn)), ("study.html", html(found, drawn, out / "plots"))):
        (out / name).write_text(printable(text), encoding="utf-8", newline="\n")
        written.append(out / name)
    return [*written, *plots]


def sections(study: Study) -> list[StudySection]:
    """The parts that the evidence has something for."""
    return [
        StudySection("In short", list(_summary(study))),
        _lifts(study),
        *([_best(study)] if study.best else []),
        *([_effects(study)] if study.effects else []),
        *([_curves(study)] if study.curves else []),
        *([_spreads(study)] if study.spreads else []),
        _complexity(study),
        *([_correlations(study, study.correlations)] if study.correlations else []),
        *([_predictions(study)] if study.predictions else []),
        *([StudySection("Left out", list(study.evidence.left_out))] if study.evidence.left_out else []),
    ]


def _summary(study: Study) -> Iterator[str]:
    evidence, whole = study.evidence, study.groups[-1]
    for one in sorted(study.predictions, key=lambda one: one.better):
        told = "is" if one.better else "is not"
        yield (
            f"{one.target} of a task that was left out {told} predicted better than by the mean of the others: "
            f"{_gain(one)}."
        )
    yield (
        f"{plural(whole.tunes, 'tuned model')} of {plural(len(evidence.bases), 'base')} on "
        f"{plural(len(evidence.tasks), 'task')}: mean lift {_points(whole.lift)}; {whole.losses} below the base."
    )
    if study.paper:
        paper = study.paper
        yield (
            f"In the paper {paper.tunes} tuned models on {paper.tasks} tasks have a mean lift of "
            f"{_points(paper.lift)}, and {paper.losses} are below the base."
        )
    for spread in study.spreads:
        yield (
            f"By the {spread.what} alone a score changes by {100 * spread.changes:.1f} points (standard deviation), by "
            f"the choice of rows by {100 * spread.rows:.1f}: two single runs differ for another reason only when they "
            f"are more than {100 * spread.difference:.1f} points apart."
        )
    if study.correlations:
        found = study.correlations
        pairs = len(found.names) * (len(found.names) - 1) // 2
        yield (
            f"Of {pairs} pairs of variables {found.beyond_chance} are correlated beyond chance over {found.tasks} "
            f"tasks (Holm's correction); a single correlation is known to about ±{_reach(found):.2f}. So many tasks "
            f"show no correlation below {found.least[0]:.2f}, and of all pairs together none below "
            f"{found.least[1]:.2f}."
        )
        if not study.evidence.published:
            yield from _holding(study, found)
    else:
        yield f"Correlations and predictions need {FEWEST_TASKS} tasks or more."


HOLDS, FAILS, UNTOLD = "holds", "does not hold", "cannot be told"


def held(printed: float, value: float, low: float, high: float, p_value: float) -> str:
    """Whether a correlation that the paper prints is found here, too.

    It holds where ours has its sign beyond chance, and does not where the interval of ours leaves it out.
    """
    if p_value < 0.05 and value * printed > 0:
        return HOLDS
    return UNTOLD if math.isnan(value) or low <= printed <= high else FAILS


def _holding(study: Study, found: Correlations) -> Iterator[str]:
    """How many of the paper's correlations, of those that its own tasks can show, hold here."""
    least = CRITICAL
    told = [
        held(printed, found.values[i, j], found.low[i, j], found.high[i, j], found.p_values[i, j])
        for i, j in combinations(range(len(found.names)), 2)
        if abs(printed := study.published.get(found.names[i], {}).get(found.names[j], 0.0)) >= least
    ]
    if told:
        yield (
            f"Of the {len(told)} correlations that the paper prints between the same variables and that its 31 tasks "
            f"can show (±{least:.2f} and more), {told.count(HOLDS)} hold here, {told.count(FAILS)} do not, and of "
            f"{told.count(UNTOLD)} it cannot be told."
        )


CRITICAL = 0.36
"""The smallest rank correlation that differs from 0 over the paper's 31 tasks at 5 %."""


def _reach(found: Correlations) -> float:
    """Half of the median width of the intervals."""
    upper = np.triu_indices(len(found.names), 1)
    return float(np.nanmedian((found.high - found.low)[upper])) / 2


def _points(found: Estimate) -> str:
    value = f"{signed(100 * found.value, 1)} points"
    if math.isnan(found.low):
        return f"{value} (one task)"
    return f"{value} [{signed_interval(100 * found.low, 100 * found.high, 1)}]"


def _lifts(study: Study) -> StudySection:
    rows = [
        [kind, group.name, f"{group.tunes}", f"{group.tasks}", number(group.before), number(group.tuned),
         _points(group.lift), f"{group.losses}"]
        for kind, groups in (("base", study.groups), ("category", study.categories))
        for group in groups
    ]  # fmt: skip
    head = ["by", "", "tuned models", "tasks", "before", "tuned", "lift", "below the base"]
    said = [
        "Lift is the tuned model's score less its base's, as shares of the metric's scale. Intervals are 95 %, by "
        "resampling tasks."
    ]
    return StudySection("Lift by base and by category", said, [Table("lift", head, rows)], ["lift"])


def _best(study: Study) -> StudySection:
    rows = [
        [one.task, one.base, number(one.score), one.second, signed(one.margin), _within(one.margin, one.error)]
        for one in study.best
    ]
    wins = {base: sum(one.base == base for one in study.best) for base in study.evidence.bases}
    leader = max(wins, key=lambda base: (wins[base], base))
    small = sum(one.margin < 0.01 for one in study.best)
    said = [
        f"{leader} is the best on {wins[leader]} of {plural(len(study.best), 'task')}; on {small} the margin over the "
        "second is below one point."
    ]
    if all(one.error is None for one in study.best):
        said.append(
            "The rows behind these scores are not known, or several runs were averaged: no margin has an interval."
        )
    head = ["task", "best base", "tuned score", "second", "margin", "95 % interval"]
    return StudySection("Best base of each task", said, [Table("best", head, rows)])


def _within(margin: float, error: float | None) -> str:
    return ABSENT if error is None else signed_interval(margin - 1.96 * error, margin + 1.96 * error)


def _effects(study: Study) -> StudySection:
    rows = [
        [one.name, one.stage, f"{one.difference.n}", _points(one.difference), f"{one.p_value:.2g}"]
        for one in study.effects
    ]
    tables = [Table("effects", ["effect", "stage", "tasks", "mean difference", "p (Wilcoxon)"], rows)]
    if study.figure7:
        compared = [[stage, group, number(printed), number(ours)] for stage, group, printed, ours in study.figure7]
        tables.append(Table("figure7", ["stage", "group", "published", "recomputed"], compared))
    said = [
        "Bases of one family that differ in size alone, or in instruction tuning alone, paired over tasks; intervals "
        "by resampling tasks."
    ]
    return StudySection("Size and instruction tuning", said, tables)


def _curves(study: Study) -> StudySection:
    rows = [
        [one.task, one.base, one.options, f"{one.rows:,}", f"{one.seeds}", number(one.mean), number(one.spread),
         number(one.error)]
        for one in study.curves
    ]  # fmt: skip
    head = [
        "task",
        "base",
        "options",
        "training rows",
        "seeds",
        "mean score",
        "deviation over seeds",
        "error over rows",
    ]
    return StudySection("Learning curves", [], [Table("curves", head, rows)], ["curves"])


def _spreads(study: Study) -> StudySection:
    rows = [
        [one.what, f"{one.groups}", number(one.changes), number(one.rows), number(one.difference)]
        for one in study.spreads
    ]
    head = ["what changes", "groups", "standard deviation", "standard error over rows", "smallest telling difference"]
    said = [
        "Tuned models alike but for one thing. The last column is how far two single runs must lie apart before the "
        "difference is more than this and the sampling of rows make (95 %)."
    ]
    return StudySection("What a difference between two tuned models can mean", said, [Table("spreads", head, rows)])


def _complexity(study: Study) -> StudySection:
    measures = study.evidence.variables
    names = list(dict.fromkeys(name for task in study.evidence.tasks for name in measures[task]))
    rows = [
        [task, *(f"{measures[task][name]:.4g}" if name in measures[task] else ABSENT for name in names)]
        for task in study.evidence.tasks
    ]
    return StudySection("Complexity of the tasks", [], [Table("complexity", ["task", *names], rows)])


def _correlations(study: Study, found: Correlations) -> StudySection:
    ours = not study.evidence.published
    rows = []
    agree = 0
    for i, j in combinations(range(len(found.names)), 2):
        value, low, high, p = (float(of[i, j]) for of in (found.values, found.low, found.high, found.p_values))
        printed = study.published.get(found.names[i], {}).get(found.names[j])
        beside = [signed(printed, 2)]
        if ours:
            beside.append(ABSENT if printed is None else held(printed, value, low, high, p))
        agree += printed is not None and abs(value - printed) <= CLOSE + 1e-9
        rows.append([found.names[i], found.names[j], signed(value), signed_interval(low, high, 2), number(p), *beside])
    said = [
        f"Spearman's rank correlations over {found.tasks} tasks; intervals are 95 %, by resampling tasks; p-values are "
        f"corrected for all {len(rows)} pairs (Holm)."
    ]
    if ours:
        said.append("Published: what the paper prints for its own tasks and models under the same name.")
    else:
        said.append(f"Of the {len(rows)} pairs that the paper prints among these, {agree} agree to {CLOSE:g}.")
    head = [
        "variable",
        "other",
        "correlation",
        "95 % interval",
        "p",
        "published",
        *(["the published one"] if ours else []),
    ]
    return StudySection("Correlations over tasks", said, [Table("correlations", head, rows)], ["correlations"])


def _gain(one: Prediction) -> str:
    return (
        f"mean absolute error {number(one.error)} against {number(one.error_of_mean)}, a gain of "
        f"{signed(one.gain.value)} [{signed_interval(one.gain.low, one.gain.high)}]"
    )


def _predictions(study: Study) -> StudySection:
    rows = [
        [one.target, f"{one.tasks}", number(one.error), number(one.error_of_mean), signed(one.gain.value),
         signed_interval(one.gain.low, one.gain.high)]
        for one in study.predictions
    ]  # fmt: skip
    features = ", ".join(study.predictions[0].features)
    said = [
        f"Each task is predicted from all others, by ridge regression on what is known before tuning: {features}. A "
        "gain whose interval holds 0 is no better than the mean of the other tasks."
    ]
    head = ["target", "tasks", "mean absolute error", "of the mean", "gain", "95 % interval"]
    return StudySection("Predicting a task that was left out", said, [Table("predictions", head, rows)])


def write_page(study: Study, path: Path) -> list[Path]:
    """Write the study as one Markdown page, its plots in `images/` beside it; return the files written."""
    name = f"{path.stem}-"
    plots = draw(study, path.parent / "images", name)
    for one in plots:
        if one.suffix == ".png":
            one.unlink()  # a page shows the SVG
    plots = [one for one in plots if one.suffix == ".svg"]
    drawn = {one.stem.removeprefix(name) for one in plots}
    text = markdown(sections(study), drawn, f"images/{name}")
    path.write_text(printable(text), encoding="utf-8", newline="\n")
    return [path, *plots]


def markdown(found: Sequence[StudySection], drawn: set[str], images: str = "plots/") -> str:
    """The sections as Markdown; `drawn` are the plots that there are, `images` what their addresses begin with."""
    parts = [f"# {TITLE}", INTRODUCTION]
    for section in found:
        parts += [f"## {section.title}", *section.sentences]
        parts += [f"![{name}]({images}{name}.svg)" for name in section.plots if name in drawn]
        parts += [
            tabulate(table.rows, table.head, tablefmt="github", disable_numparse=True) for table in section.tables
        ]
    return "\n\n".join(parts) + "\n"


def html(found: Sequence[StudySection], drawn: set[str], plots: Path) -> str:
    """The sections as one page that needs nothing else."""
    from importlib.resources import files

    style = (files("harness.report.page") / "assets" / "page.css").read_text(encoding="utf-8")
    parts = []
    for section in found:
        parts.append(f"<h2>{escape(section.title)}</h2>")
        parts += [f"<p>{escape(sentence)}</p>" for sentence in section.sentences]
        for name in section.plots:
            if name in drawn:
                svg = (plots / f"{name}.svg").read_text(encoding="utf-8")
                parts.append(f"<figure>{_inline(svg, name)}</figure>")
        parts += [
            f'<div class="scroll">{tabulate(table.rows, table.head, tablefmt="html", disable_numparse=True)}</div>'
            for table in section.tables
        ]
    head = f'<meta charset="utf-8"><title>{TITLE}</title><style>{style}</style>'
    body = f"<main><h1>{TITLE}</h1>{''.join(parts)}</main>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _inline(svg: str, name: str) -> str:
    """A plot as part of a page: without its XML head, and its ids apart from those of other plots."""
    svg = svg[svg.index("<svg ") :].replace("#ffffff", "var(--bg)")
    return re.sub(r'(id="|url\(#|href="#)([\w.-]+)', rf"\1{name}-\2", svg)


def text(found: Sequence[StudySection]) -> str:
    """The sections for a terminal, without the tables that are one line for each pair of variables."""
    blocks = []
    for section in found:
        blocks += [section.title, *section.sentences]
        blocks += [
            tabulate(table.rows, table.head, disable_numparse=True)
            for table in section.tables
            if table.name not in ("correlations", "complexity")
        ]
    return "\n\n".join(blocks)
