"""Any metric of the `evaluate` library, by name: `{evaluate: sacrebleu}`.

Such a metric gives one score for the whole set, which is no function of row means. Its value is computed once on all
rows; how far it varies is estimated with a delete-a-group jackknife (20 groups of rows, each left out in turn; J. Shao
and C. F. J. Wu, Annals of Statistics 17, 1989), and the rows carry that variation around the value. So the score is the
library's own, to the last digit, and the interval is an estimate. A metric that returns one number a row (BERTScore)
is a plain mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from harness.errors import UserError, nearest
from harness.plugins import scripts_allowed
from harness.score.metrics.base import Example, FloatArray, Metric, needs_table, recipes
from harness.score.metrics.numbers import as_float
from harness.score.metrics.text import candidate, targets
from harness.tasks.task import ANSWER_TYPES, AnswerFormat, LabelAnswer

GROUPS = 20
KNOWN = frozenset({
    "accuracy", "bertscore", "bleu", "bleurt", "brier_score", "cer", "character", "charcut_mt", "chrf", "comet",
    "coval", "cuad", "exact_match", "f1", "frugalscore", "glue", "google_bleu", "indic_glue", "mae", "mahalanobis",
    "mape", "mase", "matthews_correlation", "mauve", "mcnemar", "mean_iou", "meteor", "mse", "nist_mt", "pearsonr",
    "perplexity", "poseval", "precision", "r_squared", "recall", "roc_auc", "rouge", "sacrebleu", "sari", "seqeval",
    "smape", "spearmanr", "squad", "squad_v2", "super_glue", "ter", "trec_eval", "wer", "wiki_split", "wilcoxon",
    "xnli", "xtreme_s",
})  # fmt: skip
"""Metrics of the library's own collection that compute on texts and numbers. `code_eval`, which runs the answers, is
none of them: `pass_at_1` runs them in a sandbox."""
Compute = Callable[[Sequence[Any], Sequence[Any]], float | list[float]]


def evaluate(
    answer: AnswerFormat,
    *,
    metric: str,
    key: str | None = None,
    arguments: dict[str, Any] | None = None,
    higher_is_better: bool = True,
) -> Metric:
    """A metric of Hugging Face's `evaluate` library, in that metric's own range.

    `metric` is its name on the hub or the path of a local script; `key` the entry of its result (default: the entry
    called `score` or like the metric, or the only number); `arguments` go to its `compute`. Where it takes integers,
    labels are given as their places in the task's list (-1 without an answer); rows without an answer are an empty
    text, or 0 where it takes floats. It is loaded when the first score is computed, which takes some seconds.

    Raises:
        UserError: it is not one of the library's own collection (`KNOWN`), and the user has not allowed others.
    """
    _check_allowed(metric)

    def together(examples: Sequence[Example]) -> FloatArray:
        _check_allowed(metric)  # again: a script of its name may have appeared in the current folder
        module = _load(metric)
        predictions, references = _inputs(module, examples, answer)

        def compute(chosen_predictions: Sequence[Any], chosen_references: Sequence[Any]) -> float | list[float]:
            try:
                result = module.compute(
                    predictions=list(chosen_predictions), references=list(chosen_references), **(arguments or {})
                )
            except (ValueError, TypeError, KeyError, RuntimeError, ImportError) as error:
                raise UserError(f"metric '{metric}' of the evaluate library failed: {error}") from error
            return _pick(result, metric, key, len(chosen_predictions))

        return _with_variation(compute, predictions, references)

    name = PurePath(metric).stem
    return Metric(
        f"{name}.{key}" if key else name,
        needs_table,
        kind="corpus",
        low=-math.inf,
        high=math.inf,
        higher_is_better=higher_is_better,
        stats_of_all=together,
    )


def _check_allowed(metric: str) -> None:
    """Refuse what the library would load from anywhere but its own collection, unless the user allows it.

    A known name, too, means a script where there is one of that name in the current folder.
    """
    if (metric in KNOWN and not Path(metric).exists()) or scripts_allowed():
        return
    raise UserError(
        f"metric '{metric}' of the evaluate library is a local script, or not one of the library's own metrics that "
        f"are known to be safe{nearest(metric, KNOWN)}; its code runs with all your rights. Read it, then allow it "
        "with --allow-code"
    )


@lru_cache(maxsize=8)
def _load(metric: str) -> Any:
    try:
        import evaluate as library
    except ImportError as error:
        raise UserError(f"metric '{metric}' needs the package evaluate, which cannot be imported: {error}") from error
    try:
        return library.load(metric)
    except ImportError as error:
        raise UserError(f"metric '{metric}' of the evaluate library needs another package: {error}") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"metric '{metric}' of the evaluate library cannot be fetched: it is loaded from the Hugging Face hub, so "
            f"check the name and the connection, or give the path of a local copy ({type(error).__name__}: {error})"
        ) from error


def _inputs(module: Any, examples: Sequence[Example], answer: AnswerFormat) -> tuple[list[Any], list[Any]]:
    """Predictions and references in the types that the metric declares."""
    declared = module.features if isinstance(module.features, list) else [module.features]
    several = any(len(targets(example)) > 1 for example in examples)
    for features in declared:
        dtype = str(getattr(features["predictions"], "dtype", "string"))
        single = hasattr(features["references"], "dtype") and isinstance(features["references"].dtype, str)
        if dtype.startswith("int") and isinstance(answer, LabelAnswer):
            places = {label: place for place, label in enumerate(answer.labels)}
            return [places.get(one.answer, -1) for one in examples], [places.get(one.gold[0], -1) for one in examples]
        if dtype.startswith("float") and answer.type == "number":
            return [as_float(one.answer or Fraction(0)) for one in examples], [
                as_float(one.gold[0]) for one in examples
            ]
        if not single:
            most = max(len(targets(example)) for example in examples)
            # Some metrics want the same number of references for every row; the last one repeated changes no score.
            padded = [[*targets(one), *[targets(one)[-1]] * (most - len(targets(one)))] for one in examples]
            return [candidate(one) for one in examples], padded
        if not several:
            break
    return [candidate(one) for one in examples], [targets(one)[0] for one in examples]


def _pick(result: Any, metric: str, key: str | None, rows: int) -> float | list[float]:
    """The number, or the numbers of the rows, that the result holds under the key."""
    if not isinstance(result, dict):
        raise UserError(f"metric '{metric}' of the evaluate library returned no named scores")
    usable = {name: value for name, value in result.items() if _is_score(value, rows)}
    wanted = (key,) if key else ("score", PurePath(metric).stem, "f1")
    found = next((name for name in wanted if name in usable), None)
    if found is None and key is None and len(usable) == 1:
        (found,) = usable
    if found is None:
        known = f"; give one of its scores as the option 'key'{nearest(key or '', usable)}"
        raise UserError(f"metric '{metric}' of the evaluate library has no score '{key or 'score'}'{known}")
    value = usable[found]
    return [float(one) for one in value] if isinstance(value, list) else float(value)


def _is_score(value: Any, rows: int) -> bool:
    if isinstance(value, list):
        return len(value) == rows and all(isinstance(one, int | float) for one in value)
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _with_variation(compute: Compute, predictions: Sequence[Any], references: Sequence[Any]) -> FloatArray:
    """Statistics of shape [n, 1] with the score as their mean and its jackknife variance as the variance of that."""
    n = len(predictions)
    whole = compute(predictions, references)
    if isinstance(whole, list):
        return np.array(whole, dtype=np.float64)[:, None]
    groups = min(GROUPS, n)
    if groups < 2:
        return np.full((n, 1), whole)
    member = np.arange(n) % groups
    without = np.empty(groups)
    for group in range(groups):
        kept = np.flatnonzero(member != group).tolist()
        part = compute([predictions[i] for i in kept], [references[i] for i in kept])
        without[group] = part if not isinstance(part, list) else float(np.mean(part))
    influence = math.sqrt(n / groups) * (groups - 1) * (without.mean() - without)
    spread = influence[member]
    return np.asarray((whole + spread - spread.mean())[:, None], dtype=np.float64)


RECIPES = recipes(set(ANSWER_TYPES) - {"instructions"}, evaluate)
