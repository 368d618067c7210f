"""What the LoRA Land blog post and paper claim, recomputed from the tables they print, and from our own runs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from harness.compare.paired import ModelPair, compare_models, scale
from harness.errors import DataError
from harness.score.scoring import ScoredRun

Wide = dict[str, dict[str, float]]
"""Scores by task, then model."""

SMALL = ("phi-2", "gemma-2b", "gemma-2b-instruct")
SLACK = 0.02
TIES = 1e-9
"""Scores are printed with three decimals; their differences carry the noise of binary fractions."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim: who makes it, what it says, its figure, what the printed tables give, and why the two differ.

    `ours` is what our own runs give, "" where there are none that bear on it.
    """

    source: str
    claim: str
    published: str
    recomputed: str
    why: str
    ours: str = ""


@dataclass(frozen=True, slots=True)
class Tables:
    """The published tables: the paper's scores after tuning, before it and of GPT, its averages, and the blog's."""

    tuned: Wide
    base: Wide
    gpt: Wide
    averages: dict[str, dict[str, str]]
    blog: Wide

    def pairs(self, reference: Wide | None = None) -> list[tuple[float, float]]:
        """All tuned scores, each with its base's, or with GPT-4's on the same task."""
        return [
            (score, self.base[task][model] if reference is None else reference[task]["gpt-4"])
            for task, models in self.tuned.items()
            for model, score in models.items()
        ]


def read_tables(folder: Path) -> Tables:
    """Read the tables from the folder of published figures.

    Raises:
        DataError: a file is missing, lacks a column or has a score that is not a number.
    """
    paper = _wide(folder / "lora_land_paper.csv", "base_model", ("fine_tuned", "base"))
    averages = {row["model"]: row for row in lines_of(folder / "lora_land_paper_averages.csv")}
    gpt = _wide(folder / "lora_land_paper_gpt.csv", "model", ("score",))["score"]
    blog = _wide(folder / "lora_land_blog.csv", "model", ("score",))["score"]
    return Tables(paper["fine_tuned"], paper["base"], gpt, averages, blog)


def claims(tables: Tables, runs: Sequence[ScoredRun] = ()) -> list[Claim]:
    """Recompute all claims; `runs` are our own on benchmark rows."""
    own = ours(runs)
    return [
        Claim(*_lift(tables), own.get("lift", "")),
        Claim(*_best_over_gpt(tables), own.get("over", "")),
        Claim(*_above_base(tables), own.get("above base", "")),
        Claim(*_above_gpt(tables), own.get("at or above", "")),
        Claim(*_averages_after(tables)),
        Claim(*_gpt_ahead(tables), own.get("ahead", "")),
        Claim(*_large_over_small(tables)),
        Claim(*_phi_and_llama(tables)),
        Claim(*_gpt_averages(tables)),
        Claim(*_best_over_best(tables)),
        Claim(*_blog_at_or_above(tables), own.get("at or above", "")),
        Claim(*_blog_over_gpt(tables), own.get("over", "")),
        Claim(*_blog_over_base(tables), own.get("lift", "")),
        Claim(
            "toxicity study", "cost of GPT-4 over that of the adapter", "60, 100 or 125 times", "",
            "Three texts on one study give three ratios, and its prices were printed as a picture, so nothing can be "
            "recomputed.", own.get("cost", ""),
        ),
    ]  # fmt: skip


_Parts = tuple[str, str, str, str, str]


def _lift(tables: Tables) -> _Parts:
    gains = [after - before for after, before in tables.pairs()]
    clipped = fmean(max(gain, 0) for gain in gains)
    return (
        "paper, abstract", "points over the base model, mean", "34", _points(fmean(gains)),
        f"The mean of all {len(gains)} gains in Table 12 is larger than claimed, {_points(clipped)} when losses count "
        "as no change; no mean of that table comes to 34.",
    )  # fmt: skip


def _best_over_gpt(tables: Tables) -> _Parts:
    best = fmean(max(models.values()) - tables.gpt[task]["gpt-4"] for task, models in tables.tuned.items())
    every = fmean(after - gpt for after, gpt in tables.pairs(tables.gpt))
    return (
        "paper, abstract", "points over GPT-4, mean", "10", _points(best),
        "It comes out, rounded up, only for the best of ten tuned models on each task, chosen by the same scores; over "
        f"all tuned models the lead is {_points(every)}.",
    )  # fmt: skip


def _above_base(tables: Tables) -> _Parts:
    found = tables.pairs()
    above = sum(after > before + TIES for after, before in found)
    return "paper, Table 4", "tuned models above their base", "301/310", f"{above}/{len(found)}", "They agree."


def _above_gpt(tables: Tables) -> _Parts:
    found = tables.pairs(tables.gpt)
    above, level, near = (sum(after > gpt + edge for after, gpt in found) for edge in (TIES, -TIES, TIES - SLACK))
    return (
        "paper, Table 4", "tuned models above GPT-4", "224/310", f"{above}/{len(found)}",
        f"With ties it is {level}; {near} comes out when a model less than {SLACK:g} behind GPT-4 counts as above it.",
    )  # fmt: skip


def _averages_after(tables: Tables) -> _Parts:
    models = sorted(next(iter(tables.tuned.values())))
    printed = {model: float(tables.averages[model]["pub_with_ft"]) for model in models}
    plain = {model: fmean(scores[model] for scores in tables.tuned.values()) for model in models}
    clipped = {
        model: fmean(max(scores[model], tables.base[task][model]) for task, scores in tables.tuned.items())
        for model in models
    }
    agree, agree_clipped = (
        sum(abs(found[model] - printed[model]) <= 0.0005 + TIES for model in models) for found in (plain, clipped)
    )
    return (
        "paper, Table 4", "averages after tuning", f"{len(models)} averages", f"{agree} of {len(models)} agree",
        f"{agree_clipped} agree when a score that tuning made worse is replaced by that of the base.",
    )  # fmt: skip


def _gpt_ahead(tables: Tables) -> _Parts:
    best = {task: max(models.values()) - tables.gpt[task]["gpt-4"] for task, models in tables.tuned.items()}
    behind = [task for task, gap in best.items() if gap < -TIES]
    level = [task for task, gap in best.items() if abs(gap) <= TIES]
    return (
        "paper, text", "tasks on which GPT-4 stays ahead of every tuned model", "6/31", f"{len(behind)}/{len(best)}",
        f"They agree: {', '.join(behind)}; {', '.join(level)} is a tie.",
    )  # fmt: skip


def _large_over_small(tables: Tables) -> _Parts:
    gaps = {
        task: max(s for m, s in models.items() if m not in SMALL) - max(s for m, s in models.items() if m in SMALL)
        for task, models in tables.tuned.items()
    }
    above = sum(gap > TIES for gap in gaps.values())
    level = [task for task, gap in gaps.items() if abs(gap) <= TIES]
    return (
        "paper, text", "tasks on which the best tuned 7B model beats the best 2B model", "29/31",
        f"{above}/{len(gaps)}", f"With the ties ({', '.join(level)}) it is {above + len(level)}.",
    )  # fmt: skip


def _phi_and_llama(tables: Tables) -> _Parts:
    means = [fmean(models[name] for models in tables.tuned.values()) for name in ("phi-2", "llama-2-7b")]
    return (
        "paper, text", "average of tuned phi-2 and of tuned llama-2-7b", "0.677 and 0.696",
        f"{means[0]:.3f} and {means[1]:.3f}",
        "One of llama-2-7b's scores fell below its base; 0.696 comes out when the base stands in for it.",
    )  # fmt: skip


def _gpt_averages(tables: Tables) -> _Parts:
    means = [fmean(models[name] for models in tables.gpt.values()) for name in ("gpt-3.5-turbo", "gpt-4")]
    found = f"{means[0]:.3f} and {means[1]:.3f}"
    return "paper, Table 4", "averages of gpt-3.5-turbo and gpt-4", "0.599 and 0.661", found, "They agree."


def _best_over_best(tables: Tables) -> _Parts:
    gain = fmean(max(models.values()) - max(tables.base[task].values()) for task, models in tables.tuned.items())
    return (
        "paper, Figure 5", "best tuned over best base model, mean points", "", _points(gain),
        "The figure shows bars without numbers; against the best base model the gain is much smaller than against "
        "each model's own.",
    )  # fmt: skip


def _blog_at_or_above(tables: Tables) -> _Parts:
    gaps = _blog_gaps(tables, "gpt-4")
    level = sum(abs(gap) <= TIES for gap in gaps.values())
    below = [task for task, gap in gaps.items() if gap < -TIES]
    return (
        "blog", "adapters at or above GPT-4", "25/27", f"{len(gaps) - len(below)}/{len(gaps)}",
        f"They agree: {len(gaps) - len(below) - level} above, {level} level, and {' and '.join(below)} below; two "
        "decimals and no interval decide what is level.",
    )  # fmt: skip


def _blog_over_gpt(tables: Tables) -> _Parts:
    gaps = _blog_gaps(tables, "gpt-4")
    ahead = fmean(gap for gap in gaps.values() if gap > -TIES)
    return (
        "blog", "points over GPT-4", "4 to 15", _points(fmean(gaps.values())),
        f"The mean lies in that range, {_points(ahead)} without the two lost tasks does not, and single tasks go from "
        f"{_points(min(gaps.values()), 0)} to {_points(max(gaps.values()), 0)}.",
    )  # fmt: skip


def _blog_over_base(tables: Tables) -> _Parts:
    gaps = _blog_gaps(tables, "mistral-7b")
    zeros = sum(models["mistral-7b"] == 0 for models in tables.blog.values())
    instruct = fmean(_blog_gaps(tables, "mistral-7b-instruct").values())
    return (
        "blog", "over the base model", "70 %", f"{_points(fmean(gaps.values()))} points",
        f"A share of what is not said; a ratio cannot be meant, for the base has 0 on {zeros} of {len(gaps)} tasks. "
        f"Over mistral-7b-instruct, which answers in the right format more often, it is {_points(instruct)} points.",
    )  # fmt: skip


def _blog_gaps(tables: Tables, other: str) -> dict[str, float]:
    return {task: models["mistral-7b-lora"] - models[other] for task, models in tables.blog.items()}


def ours(runs: Sequence[ScoredRun]) -> dict[str, str]:
    """What our own runs say to the claims on base models and on GPT-4; empty where no adapter was run.

    An adapter is a model that names its base; GPT-4 is the model of that name.
    """
    bases = {
        run.manifest.model: str(run.manifest.model_settings["base"])
        for run in runs
        if run.manifest.model_settings.get("base")
    }
    lifts = [compare_models(runs, adapter, base) for adapter, base in bases.items()]
    over = [compare_models(runs, adapter, "gpt-4") for adapter in bases]
    found: dict[str, str] = {}
    scales = {run.manifest.task: scale(run.metrics[0]) for run in runs}
    if gains := _gains(lifts, scales):
        found["lift"] = f"{_points(fmean(gains))} points (n = {len(gains)})"
        found["above base"] = f"{sum(gain > TIES for gain in gains)}/{len(gains)}, {_shown(lifts)}"
    if gains := _gains(over, scales):
        tasks = {task for one in over for task in one.tasks}
        ahead = [task for task in tasks if all(one.tasks[task].verdict == "worse" for one in over if task in one.tasks)]
        found["over"] = f"{_points(fmean(gains))} points (n = {len(gains)})"
        found["at or above"] = f"{sum(gain > -TIES for gain in gains)}/{len(gains)}, {_shown(over)}"
        found["ahead"] = f"{len(ahead)}/{len(tasks)} beyond chance"
    return found | _cost(runs, bases)


def _gains(pairs: Iterable[ModelPair], scales: dict[str, float]) -> list[float]:
    """Each task's difference as a share of its scale, more being better."""
    return [
        (1 if compared.higher_is_better else -1) * compared.difference / scales[task]
        for one in pairs
        for task, compared in one.tasks.items()
    ]


def _shown(pairs: Sequence[ModelPair]) -> str:
    return f"{sum(one.won for one in pairs)} better and {sum(one.lost for one in pairs)} worse beyond chance"


def _cost(runs: Sequence[ScoredRun], bases: Iterable[str]) -> dict[str, str]:
    usd = {(run.manifest.model, run.manifest.task): run.usd for run in runs if run.usd}
    ratios = [
        usd["gpt-4", task] / spent for (model, task), spent in usd.items() if model in bases and ("gpt-4", task) in usd
    ]
    if not ratios:
        return {}
    low, high = min(ratios), max(ratios)
    return {"cost": f"{low:,.0f} to {high:,.0f} times" if high - low >= 1 else f"{low:,.0f} times"}


def _points(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}"


def _wide(path: Path, model: str, columns: Sequence[str]) -> dict[str, Wide]:
    """The scores in these columns; `model` is the name of the column that names the model."""
    found: dict[str, Wide] = {column: {} for column in columns}
    for number, row in enumerate(lines_of(path), 2):
        try:
            for column in columns:
                found[column].setdefault(row["task"], {})[row[model]] = float(row[column])
        except KeyError as error:
            raise DataError(f"{path}: no column {error}") from None
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
    return found


def lines_of(path: Path) -> list[dict[str, str]]:
    """Read a table of published figures, by column.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
