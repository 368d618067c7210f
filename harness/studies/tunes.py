"""Tuned models with what they were tuned from, on one scale: from the paper's tables, or from recorded runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.compare.intervals import two_sided
from harness.errors import DataError, UserError, warn
from harness.models.local import CARD
from harness.report.findings import long_frame
from harness.report.published import Published, counterpart, read
from harness.score.rules import current_rules
from harness.score.scoring import score_all
from harness.shipped import TaskFolders
from harness.store.results import read_manifests, read_rows
from harness.studies.claims import Tables, lines_of, read_tables
from harness.studies.complexity import measure
from harness.sweep.cell import DONE, RESULTS
from harness.sweep.places import CELLS, SWEEP
from harness.train.card import read as read_card

GPT = "gpt-4"
LENGTH_P95, TRAINING_ROWS = "Example length p95", "# training examples"
SHOWN = ("gpt-4", "mistral-7b-lora")
"""The published models that stand beside learning curves."""
IN_PROCESS = ("llamacpp", "local")
"""Backends whose `model` is the weights."""


@dataclass(frozen=True, slots=True)
class Tune:
    """One tuned model on one task. Scores are shares of the metric's scale, more being better.

    `error` is the standard error of `tuned` over the rows asked, None where it is not known; `options` what else
    determines the training, by name; `rows` what it learned from, `seed` and `rows` None where they are not known.
    """

    task: str
    category: str
    base: str
    tuned: float
    before: float
    n: int | None = None
    error: float | None = None
    rows: int | None = None
    seed: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lift(self) -> float:
        """What tuning added."""
        return self.tuned - self.before


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a study is made from.

    `variables` are the properties of each task by name, known without tuning; `references` other models' scores by
    task, as lines beside learning curves. `left_out` are sentences on what could not be used.
    """

    tunes: Sequence[Tune]
    variables: Mapping[str, Mapping[str, float]]
    references: Mapping[str, Mapping[str, float]]
    published: bool = False
    left_out: Sequence[str] = ()

    @property
    def tasks(self) -> list[str]:
        """The tasks, in order."""
        return list(dict.fromkeys(tune.task for tune in self.tunes))

    @property
    def bases(self) -> list[str]:
        """The bases, in order."""
        return sorted({tune.base for tune in self.tunes})


def from_published(folder: Path) -> Evidence:
    """The 310 tuned models of the LoRA Land paper, from the folder of published figures.

    Raises:
        DataError: a file is missing or broken.
    """
    tables = read_tables(folder)
    about = {row["task"]: row for row in lines_of(folder / "lora_land_tasks.csv")}
    tunes = [
        Tune(task, about[task]["category"], base, score, tables.base[task][base])
        for task, scores in tables.tuned.items()
        for base, score in scores.items()
    ]
    variables = {
        task: {LENGTH_P95: float(about[task]["tokens_p95"]), TRAINING_ROWS: float(about[task]["train"])}
        for task in tables.tuned
    }
    return Evidence(tunes, variables, _gpt(tables), published=True)


def _gpt(tables: Tables) -> dict[str, dict[str, float]]:
    return {task: {GPT: scores[GPT]} for task, scores in tables.gpt.items()}


def from_results(folders: Sequence[Path], figures: Path, tasks_folder: TaskFolders = None) -> Evidence:
    """The tuned models of results of `harness sweep` or `harness bench`.

    A tuned model is one that names its base, which was asked the same task in the same folder. A base that runs in this
    process is known by its weights, others by the name of their entry. Incomplete runs are left out, and so are tasks
    whose metric has no highest value. `figures` is the folder of published figures, some of which are references.

    Raises:
        UserError: a folder is not there, or nothing is tuned in any.
    """
    tunes: list[Tune] = []
    variables: dict[str, dict[str, float]] = {}
    references: dict[str, dict[str, float]] = {}
    left_out: dict[str, None] = {}
    before: dict[tuple[Path, str, str], float] = {}
    waiting: list[tuple[dict[str, Any], tuple[Path, str, str], dict[str, Any]]] = []
    published = read(figures)
    for folder, results, about in _results(folders):
        for row in _scores(results, tasks_folder):
            if reason := _unusable(row):
                left_out[f"{row['task']}, {row['model']}: {reason}"] = None
                continue
            task = str(row["task"])
            if task not in variables:
                rows = read_rows(results, task, row["rows"])
                variables[task] = measure((one.prompt, one.references[0]) for one in rows)
                references[task] = _published(published.get(task, []), row)
            asked = folder, task, str(about.get("base") or row["base"] or row["model"])
            if row["base"]:
                waiting.append((row, asked, about))
            else:
                before[asked] = _share(row, row["score"])
    for row, asked, about in waiting:
        if asked in before:
            tunes.append(_tune(row, before[asked], about))
        else:
            left_out[f"{row['task']}, {row['model']}: its base {asked[2]} was not asked"] = None
    if not tunes:
        raise UserError(
            f"{', '.join(map(str, folders))}: no tuned model with its base is recorded here; run `harness sweep`, or "
            "`harness bench` with an adapter whose entry names its `base`, and the base itself"
        )
    bases = {asked for _, asked, _ in waiting}
    for (folder, task, model), score in before.items():
        if (folder, task, model) not in bases:
            references.setdefault(task, {})[model] = score
    for task in variables:
        if learned := [tune.rows for tune in tunes if tune.task == task and tune.rows]:
            variables[task][TRAINING_ROWS] = float(max(learned))
    return Evidence(tunes, variables, references, left_out=tuple(left_out))


class _Cell(BaseModel):
    """What is read of the `done.json` of a sweep's cell."""

    base: str
    rows: int | None
    seed: int | None
    train: dict[str, Any]


def _published(found: Sequence[Published], row: Mapping[str, Any]) -> dict[str, float]:
    """The published figures of a task that may stand beside scores on this metric."""
    if row["kind"] != "benchmark":
        return {}
    shown = [one for one in found if one.model in SHOWN and one.source == "blog"]
    return {one.label: one.score for one in shown if counterpart(one, [str(row["metric"])])}


def _results(folders: Sequence[Path]) -> Iterator[tuple[Path, Path, dict[str, Any]]]:
    """The folders of recorded runs, each with the folder that was named and what a sweep says of it."""
    named: set[Path] = set()
    for folder in folders:
        if folder.resolve() in named:
            raise UserError(f"{folder}: this folder is named twice, so each of its models would count as two")
        named.add(folder.resolve())
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; expected results of `harness sweep` or `harness bench`")
        if not (folder / SWEEP).is_file():
            yield folder, folder, {}
            continue
        for done in sorted(folder.glob(f"{CELLS}/*/{DONE}")):
            try:
                yield folder, done.parent / RESULTS, _Cell.model_validate_json(done.read_bytes()).model_dump()
            except ValidationError as error:
                detail = error.errors(include_url=False)[0]
                warn(f"{done}: left out: {'.'.join(map(str, detail['loc']))} {detail['msg']}")
            except OSError as error:
                warn(f"{done}: left out: {error.strerror}")


def _scores(results: Path, tasks_folder: TaskFolders) -> Iterator[dict[str, Any]]:
    """The main score of each run on benchmark rows, or on sample rows where there are no others."""
    manifests = list(read_manifests(results))
    kind = "benchmark" if any(run.kind == "benchmark" for run in manifests) else "sample"
    runs = score_all(results, [run for run in manifests if run.kind == kind], warn, current_rules(tasks_folder))
    frame = long_frame(runs)
    if frame.empty:
        return
    for run, row in zip(runs, frame[frame["is_main"]].to_dict("records"), strict=True):
        adapter = str(run.manifest.model_settings.get("adapter") or "").replace("{task}", run.manifest.task)
        settings = run.manifest.model_settings
        weights = settings.get("model") if settings.get("backend") in IN_PROCESS else None
        shown = {str(key): value for key, value in row.items()}
        # The frame has NaN for no base where other models have one.
        more = {"base": settings.get("base"), "weights": weights, "rows": run.manifest.rows, "adapter": adapter}
        yield {**shown, **more}


def _unusable(row: Mapping[str, Any]) -> str:
    if row["incomplete"]:
        return str(row["incomplete"])
    return "" if math.isfinite(row["highest"]) else f"{row['metric']} has no highest value"


def _share(row: Mapping[str, Any], value: float) -> float:
    share = float(value / row["highest"])
    return share if row["higher_is_better"] else 1 - share


def _tune(row: Mapping[str, Any], before: float, about: Mapping[str, Any]) -> Tune:
    learned, seed, options = about.get("rows"), about.get("seed"), dict(about.get("train") or {})
    card = Path(row["adapter"]) / CARD
    if not about and card.is_file():
        try:
            made = read_card(card.parent)
            learned, seed = made.rows, made.recipe.get("seed")
        except DataError as error:
            warn(str(error))
    return Tune(
        task=str(row["task"]),
        category=str(row["category"]),
        base=str(about.get("base") or row["weights"] or row["base"]),
        tuned=_share(row, row["score"]),
        before=before,
        n=int(row["n"]),
        error=(row["high"] - row["low"]) / (2 * two_sided(0.95) * row["highest"]),
        rows=learned,
        seed=seed,
        options=options,
    )


def mean_by(tunes: Iterable[Tune], key: Any, value: Any) -> dict[Any, float]:
    """The mean of a value of tunes by a key of theirs, in the order of the keys."""
    found: dict[Any, list[float]] = {}
    for tune in tunes:
        found.setdefault(key(tune), []).append(value(tune))
    return {name: math.fsum(values) / len(values) for name, values in sorted(found.items())}
