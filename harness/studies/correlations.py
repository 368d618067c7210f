"""What goes together over tasks: rank correlations with their intervals, and whether a score can be predicted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.compare.intervals import Estimate
from harness.compare.paired import holm
from harness.score.metrics.base import FloatArray

RESAMPLES = 2_000
ALPHAS = np.logspace(-2, 4, 25)


@dataclass(frozen=True, slots=True)
class Correlations:
    """Spearman's rank correlations of variables over tasks, all of shape [k, k].

    `low` and `high` are the 95 % interval by resampling tasks, `p_values` corrected by Holm over the pairs of
    variables; NaN where a variable does not vary.
    """

    names: tuple[str, ...]
    tasks: int
    values: FloatArray
    low: FloatArray
    high: FloatArray
    p_values: FloatArray

    @property
    def least(self) -> tuple[float, float]:
        """The smallest correlation that so many tasks can show: one pair by itself, and all pairs (Bonferroni)."""
        from scipy.special import stdtrit

        pairs = len(self.names) * (len(self.names) - 1) // 2
        degrees = max(self.tasks - 2, 1)
        quantiles = (float(-stdtrit(degrees, 0.025 / family)) for family in (1, max(pairs, 1)))
        one, every = (quantile / (degrees + quantile**2) ** 0.5 for quantile in quantiles)
        return one, every

    @property
    def beyond_chance(self) -> int:
        """How many pairs are correlated beyond chance."""
        return int((self.p_values[np.triu_indices(len(self.names), 1)] < 0.05).sum())


def correlate(columns: Mapping[str, Sequence[float]], seed: int = 0) -> Correlations:
    """Correlate variables of the same tasks (C. Spearman, American Journal of Psychology 15, 1904).

    Args:
        columns: Each variable's value for each task; the same tasks in the same order.
        seed: Of the resamples.
    """
    from scipy.special import stdtr
    from scipy.stats import rankdata

    table = np.array([columns[name] for name in columns], dtype=np.float64).T
    n, k = table.shape
    values = _spearman(rankdata(table, axis=0)[None])[0]
    drawn = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    resampled = _spearman(rankdata(table[drawn], axis=1))
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        low, high = np.nanquantile(resampled, [0.025, 0.975], axis=0)  # NaN where a variable does not vary
        statistic = np.abs(values) * np.sqrt((n - 2) / np.maximum(1 - values**2, 1e-300))
        plain = 2 * stdtr(max(n - 2, 1), -statistic)
    p_values = np.zeros((k, k))
    upper = np.triu_indices(k, 1)
    p_values[upper] = holm([float(p) for p in plain[upper]])
    p_values += p_values.T
    np.fill_diagonal(low, 1.0)
    np.fill_diagonal(high, 1.0)
    return Correlations(tuple(columns), n, values, low, high, p_values)


def _spearman(ranks: FloatArray) -> FloatArray:
    """Correlations of ranks, shape [b, n, k], as [b, k, k]; NaN for a variable without variation."""
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    products = np.einsum("bni,bnj->bij", centred, centred, optimize=True)
    spread = np.sqrt(np.einsum("bii->bi", products))
    with np.errstate(all="ignore"):
        found: FloatArray = products / (spread[:, :, None] * spread[:, None, :])
    return np.clip(found, -1, 1)


@dataclass(frozen=True, slots=True)
class Prediction:
    """How well a ridge regression predicts a left-out task, and how well the mean of the others does.

    Errors are mean absolute ones. `gain` is how much smaller the regression's is, with its interval by resampling
    tasks.
    """

    target: str
    features: tuple[str, ...]
    tasks: int
    error: float
    error_of_mean: float
    gain: Estimate

    @property
    def better(self) -> bool:
        """Whether the regression is better than the mean beyond chance."""
        return self.gain.low > 0


def predict(target: str, wanted: Sequence[float], features: Mapping[str, Sequence[float]], seed: int = 0) -> Prediction:
    """Predict each task from all others (leave one out) by ridge regression, whose strength is chosen on those.

    Features go through asinh, because lengths and numbers of rows span orders of magnitude, and are standardised.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import LeaveOneOut, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    right = np.asarray(wanted, dtype=np.float64)
    table = np.arcsinh(np.array([features[name] for name in features], dtype=np.float64).T)
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=ALPHAS))
    predicted = cross_val_predict(model, table, right, cv=LeaveOneOut())
    n = len(right)
    of_mean = (right.sum() - right) / (n - 1)
    error, plain = np.abs(predicted - right), np.abs(of_mean - right)
    gains = plain - error
    drawn = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    low, high = np.quantile(gains[drawn].mean(axis=1), [0.025, 0.975])
    gain = Estimate(float(gains.mean()), float(low), float(high), n)
    return Prediction(target, tuple(features), n, float(error.mean()), float(plain.mean()), gain)
