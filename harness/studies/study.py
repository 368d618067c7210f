"""What many tuned models say together: lifts, the best base, size, learning curves, what a difference can mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.compare.intervals import Estimate, two_sided
from harness.errors import DataError
from harness.studies.claims import lines_of
from harness.studies.correlations import Correlations, Prediction, correlate, predict
from harness.studies.tunes import GPT, Evidence, Tune, from_published, mean_by

RESAMPLES = 2_000
FEWEST_TASKS = 4
"""Tasks from which correlations and predictions are made at all."""
SCORES = (
    "GPT-4 score", "Max GPT-4 lift", "Average base model lift", "Best base model score", "Average base model score",
    "Best fine-tuned score", "Average fine-tuned score",
)  # fmt: skip
SMALL_AND_LARGE = (("gemma-2b", "gemma-7b"), ("gemma-2b-instruct", "gemma-7b-instruct"))
PLAIN_AND_INSTRUCTED = (
    ("gemma-2b", "gemma-2b-instruct"), ("gemma-7b", "gemma-7b-instruct"), ("llama-2-7b", "llama-2-7b-chat"),
    ("mistral-7b", "mistral-7b-instruct"),
)  # fmt: skip
AUTOCOMPLETE = ("gemma-2b", "gemma-7b", "llama-2-7b", "mistral-7b")
"""The paper's Figure 7 counts phi-2 among the instruction-tuned models: its averages come out only so."""


@dataclass(frozen=True, slots=True)
class Group:
    """The mean lift over a group of tuned models, its interval by resampling tasks; and how many are below the base."""

    name: str
    tunes: int
    tasks: int
    before: float
    tuned: float
    lift: Estimate
    losses: int


@dataclass(frozen=True, slots=True)
class Best:
    """The best base of a task once tuned, and by how much it leads the second; `error` is that of the lead."""

    task: str
    base: str
    score: float
    second: str
    margin: float
    error: float | None


@dataclass(frozen=True, slots=True)
class Effect:
    """A difference between two kinds of models, paired over tasks: the mean and its interval by resampling tasks."""

    name: str
    stage: str
    difference: Estimate
    p_value: float


@dataclass(frozen=True, slots=True)
class Point:
    """The score of a base on a task after so many training rows: mean, spread over seeds, and the error of one run."""

    task: str
    base: str
    options: str
    rows: int
    seeds: int
    mean: float
    spread: float | None
    error: float | None


@dataclass(frozen=True, slots=True)
class Variation:
    """What one thing alone moves in a score, beside what other rows would: root mean squares over groups of tunes.

    `groups` are sets of tunes alike but for `what`; `changes` is the standard deviation within them, `rows` the
    standard error of one run over its rows.
    """

    what: str
    groups: int
    changes: float
    rows: float

    @property
    def difference(self) -> float:
        """The difference that two single runs must have to be more than this and row sampling make."""
        return two_sided(0.95) * math.sqrt(2) * math.hypot(self.changes, self.rows)


@dataclass(frozen=True, slots=True)
class Study:
    """Everything a study shows.

    `published` are the correlations that the paper prints, of the same names, and `paper` are its tuned models, None
    where these are what is studied.
    """

    evidence: Evidence
    groups: Sequence[Group]
    categories: Sequence[Group]
    best: Sequence[Best]
    effects: Sequence[Effect]
    figure7: Sequence[tuple[str, str, float, float]]
    curves: Sequence[Point]
    spreads: Sequence[Variation]
    correlations: Correlations | None
    published: Mapping[str, Mapping[str, float]]
    paper: Group | None
    predictions: Sequence[Prediction]


def study(evidence: Evidence, figures: Path) -> Study:
    """Compute everything from the evidence; `figures` is the folder of published figures.

    Raises:
        DataError: a file of published figures is broken.
    """
    final = _fullest(evidence.tunes)
    columns = variables(evidence, final)
    enough = len(evidence.tasks) >= FEWEST_TASKS
    tunes_of: Callable[[Callable[[Tune], str]], list[Group]] = lambda key: [  # noqa: E731
        _group(name, [tune for tune in final if key(tune) == name]) for name in sorted({key(tune) for tune in final})
    ]
    return Study(
        evidence=evidence,
        groups=[*tunes_of(lambda tune: tune.base), _group("all", final)],
        categories=tunes_of(lambda tune: tune.category),
        best=_best(final) if len(evidence.bases) > 1 else [],
        effects=_effects(final),
        figure7=_figure7(final, figures) if evidence.published else [],
        curves=_curves(evidence.tunes),
        spreads=_spreads(evidence.tunes),
        correlations=correlate(columns) if enough else None,
        published=read_correlations(figures) if enough else {},
        paper=None if evidence.published else _group("all", from_published(figures).tunes),
        predictions=_predictions(columns) if enough else [],
    )


def _fullest(tunes: Sequence[Tune]) -> list[Tune]:
    """The tunes with the most training rows of each task and base: lifts are of these."""
    most: dict[tuple[str, str], int] = {}
    for tune in tunes:
        key = tune.task, tune.base
        most[key] = max(most.get(key, 0), tune.rows or 0)
    return [tune for tune in tunes if (tune.rows or 0) == most[tune.task, tune.base]]


def _group(name: str, tunes: Sequence[Tune]) -> Group:
    lifts = mean_by(tunes, lambda tune: tune.task, lambda tune: tune.lift)
    return Group(
        name=name,
        tunes=len(tunes),
        tasks=len(lifts),
        before=float(np.mean([tune.before for tune in tunes])),
        tuned=float(np.mean([tune.tuned for tune in tunes])),
        lift=_over_tasks(list(lifts.values())),
        losses=sum(tune.lift < -1e-9 for tune in tunes),
    )


def _over_tasks(values: Sequence[float], seed: int = 0) -> Estimate:
    """The mean of a value of each task, with the percentile interval of resampled tasks; NaN ends for one task."""
    table = np.asarray(values, dtype=np.float64)
    if len(table) < 2:
        return Estimate(float(table.mean()), math.nan, math.nan, len(table))
    drawn = np.random.default_rng(seed).integers(0, len(table), (RESAMPLES, len(table)))
    low, high = np.quantile(table[drawn].mean(axis=1), [0.025, 0.975])
    return Estimate(float(table.mean()), float(low), float(high), len(table))


def _best(tunes: Sequence[Tune]) -> list[Best]:
    found = []
    for task in dict.fromkeys(tune.task for tune in tunes):
        own = [tune for tune in tunes if tune.task == task]
        means = mean_by(own, lambda tune: tune.base, lambda tune: tune.tuned)
        if len(means) < 2:
            continue
        first, second = sorted(means, key=lambda base: (-round(means[base], 12), base))[:2]
        errors = [[tune.error for tune in own if tune.base == base] for base in (first, second)]
        known = [error for of in errors for error in of if error is not None]
        error = math.hypot(*known) if known and all(len(of) == 1 for of in errors) else None
        found.append(Best(task, first, means[first], second, means[first] - means[second], error))
    return found


def _effects(tunes: Sequence[Tune]) -> list[Effect]:
    """Size and instruction tuning, over the pairs of bases of one family that differ in nothing else."""
    bases = {tune.base for tune in tunes}
    found = []
    for name, pairs in (("7B less 2B", SMALL_AND_LARGE), ("instruction-tuned less plain", PLAIN_AND_INSTRUCTED)):
        both = [pair for pair in pairs if set(pair) <= bases]
        for stage in ("before", "tuned") if both else ():
            score = {(tune.task, tune.base): getattr(tune, stage) for tune in tunes}
            tasks = dict.fromkeys(tune.task for tune in tunes)
            gaps = [
                float(np.mean([score[task, two] - score[task, one] for one, two in both]))
                for task in tasks
                if all((task, base) in score for pair in both for base in pair)
            ]
            found.append(Effect(name, stage, _over_tasks(gaps), _sign_flips(gaps)))
    return found


def _sign_flips(gaps: Sequence[float]) -> float:
    from scipy.stats import wilcoxon

    return float(wilcoxon(gaps).pvalue) if len(gaps) > 1 and any(gaps) else 1.0


def _figure7(tunes: Sequence[Tune], figures: Path) -> list[tuple[str, str, float, float]]:
    """The paper's averages by kind of base, before and after tuning: stage, group, published, recomputed.

    After tuning the paper takes the base's score where tuning made it worse.
    """
    score = {
        "before": {(tune.task, tune.base): tune.before for tune in tunes},
        "after": {(tune.task, tune.base): max(tune.tuned, tune.before) for tune in tunes},
    }
    kinds = {"autocomplete": set(AUTOCOMPLETE), "instruction-tuned": {t.base for t in tunes} - set(AUTOCOMPLETE)}
    found = []
    for row in lines_of(figures / "lora_land_fig7.csv"):
        how, _, kind = row["group"].partition(" ")
        tasks = dict.fromkeys(tune.task for tune in tunes)
        scores = [[score[row["stage"]][task, base] for base in sorted(kinds[kind])] for task in tasks]
        each = [max(own) if how == "best" else float(np.mean(own)) for own in scores]
        found.append((row["stage"], row["group"], float(row["score"]), float(np.mean(each))))
    return found


def _curves(tunes: Sequence[Tune]) -> list[Point]:
    """Scores by training rows, of what was trained with more than one number of rows."""
    found = []
    groups = _alike(tunes, lambda tune: (tune.task, tune.base, _options(tune)))
    for (task, base, options), own in groups.items():
        sizes = sorted({tune.rows for tune in own if tune.rows is not None})
        for rows in sizes if len(sizes) > 1 else ():
            scores = [tune.tuned for tune in own if tune.rows == rows]
            errors = [tune.error for tune in own if tune.rows == rows and tune.error is not None]
            spread = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
            error = _root_mean_square(errors) if errors else None
            found.append(Point(task, base, options, rows, len(scores), float(np.mean(scores)), spread, error))
    return found


def _alike(tunes: Sequence[Tune], key: Callable[[Tune], Any]) -> dict[Any, list[Tune]]:
    found: dict[Any, list[Tune]] = {}
    for tune in tunes:
        found.setdefault(key(tune), []).append(tune)
    return found


def _options(tune: Tune, without: str = "") -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(tune.options.items()) if name != without)


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(float(np.mean(np.square(values))))


def _spreads(tunes: Sequence[Tune]) -> list[Variation]:
    """What the seed moves, and each option that has several values, beside the error of sampling rows."""
    found = []
    names = sorted({name for tune in tunes for name in tune.options})
    kinds: list[tuple[str, Callable[[Tune], Any], Callable[[Tune], Any]]] = [
        ("seed", lambda tune: (tune.task, tune.base, tune.rows, _options(tune)), lambda tune: tune.seed)
    ]
    kinds += [
        (
            name,
            lambda tune, name=name: (tune.task, tune.base, tune.rows, tune.seed, _options(tune, name)),  # type: ignore[misc]
            lambda tune, name=name: str(tune.options.get(name)),  # type: ignore[misc]
        )
        for name in names
    ]
    for what, key, value in kinds:
        groups = [own for own in _alike(tunes, key).values() if len({value(tune) for tune in own}) > 1]
        errors = [tune.error for own in groups for tune in own if tune.error is not None]
        if groups and errors:
            changes = [float(np.var([tune.tuned for tune in own], ddof=1)) for own in groups]
            found.append(Variation(what, len(groups), math.sqrt(float(np.mean(changes))), _root_mean_square(errors)))
    return found


def variables(evidence: Evidence, tunes: Sequence[Tune]) -> dict[str, list[float]]:
    """What is correlated over tasks: scores and lifts under the paper's names, then the properties of the tasks."""
    tasks = list(dict.fromkeys(tune.task for tune in tunes))
    own: dict[str, list[Tune]] = {task: [tune for tune in tunes if tune.task == task] for task in tasks}
    gpt = [evidence.references.get(task, {}).get(GPT) for task in tasks]
    best = [max(tune.tuned for tune in own[task]) for task in tasks]
    found: dict[str, list[float]] = {}
    if all(score is not None for score in gpt):
        known = [float(score) for score in gpt if score is not None]
        found["GPT-4 score"] = known
        found["Max GPT-4 lift"] = [ours - theirs for ours, theirs in zip(best, known, strict=True)]
    found["Average base model lift"] = [float(np.mean([tune.lift for tune in own[task]])) for task in tasks]
    several = len(evidence.bases) > 1
    if several:
        found["Best base model score"] = [max(tune.before for tune in own[task]) for task in tasks]
    found["Average base model score"] = [float(np.mean([tune.before for tune in own[task]])) for task in tasks]
    if several:
        found["Best fine-tuned score"] = best
    found["Average fine-tuned score"] = [float(np.mean([tune.tuned for tune in own[task]])) for task in tasks]
    names = [name for name in evidence.variables[tasks[0]] if all(name in evidence.variables[task] for task in tasks)]
    return found | {name: [evidence.variables[task][name] for task in tasks] for name in names}


def read_correlations(figures: Path) -> dict[str, dict[str, float]]:
    """The correlations that the paper's Figure 8 prints, by both variables.

    Raises:
        DataError: the file is missing, or a value is not a number.
    """
    path = figures / "lora_land_correlations.csv"
    found = {}
    for number, row in enumerate(lines_of(path), 2):
        try:
            found[row["variable"]] = {name: float(value) for name, value in row.items() if name != "variable"}
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"{path}, line {number}: {error}") from None
    return found


def _predictions(columns: Mapping[str, Sequence[float]]) -> list[Prediction]:
    """Score and lift of a task left out, from what is known of it before anything is tuned."""
    features = {name: values for name, values in columns.items() if name not in SCORES and np.ptp(values) > 0}
    features["Average base model score"] = columns["Average base model score"]
    return [
        predict(target, columns[target], features) for target in ("Average fine-tuned score", "Average base model lift")
    ]
