"""How small a difference between two models so many rows can show, before anything is asked.

All functions are for a two-sided test at 5 % with 80 % power; the quantiles are the normal distribution's.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.metrics.base import FloatArray

ALPHA, POWER = 0.05, 0.80
DISCORDANCE = 0.2
"""Share of rows that one model gets right and the other wrong, where no two recorded runs say otherwise."""

_LEVEL = NormalDist().inv_cdf(1 - ALPHA / 2)
_POWER = NormalDist().inv_cdf(POWER)


def paired(n: int, discordance: float = DISCORDANCE) -> float | None:
    """Smallest difference of two shares of right answers that the exact McNemar test shows on the same n rows.

    Connor's formula (R. J. Connor, Biometrics 43, 1987) solved for the difference, plus the continuity correction 1 / n
    that the exact test costs. With fewer than some forty discordant rows the true power is above 80 %.

    Args:
        n: Rows that both models are asked.
        discordance: Share of rows, in (0, 1], that one of the two gets right and the other wrong.

    Returns:
        The difference in (0, discordance]; None when even that is too small to be seen with so few rows.
    """
    left = n - _LEVEL**2 + _POWER**2
    if left < 0:
        return None
    found = math.sqrt(discordance) * (math.sqrt(n) * _LEVEL + _POWER * math.sqrt(left)) / (n + _POWER**2) + 1 / n
    return found if found <= discordance else None


def unpaired(n: int, score: float = 0.5) -> float | None:
    """Smallest difference of two shares of right answers that a two-sample test shows, each on n rows of its own.

    The normal test of two proportions with Cohen's arcsine effect size (J. Cohen, Statistical Power Analysis, 1988,
    chapter 6), as statsmodels' `NormalIndPower` with `proportion_effectsize`.

    Args:
        n: Rows of each model.
        score: The score of one model, in [0, 1]; the other's is on the side of 0.5, where more must differ.

    Returns:
        The difference, None when no difference from this score can be seen with so few rows.
    """
    half = (_LEVEL + _POWER) * math.sqrt(2 / n) / 2 if n > 0 else math.inf
    lower = min(score, 1 - score)
    angle = math.asin(math.sqrt(lower)) + half
    return math.sin(angle) ** 2 - lower if angle <= math.pi / 2 else None


def shown(standard_error: float) -> float:
    """Smallest difference that a normal test shows when the difference has this standard error, in the same unit."""
    return (_LEVEL + _POWER) * standard_error


def jackknife(left_out: FloatArray) -> float:
    """The jackknife's standard error (B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982).

    Args:
        left_out: The figure computed without one row, for each of n rows, shape [n].
    """
    n = len(left_out)
    return math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()))
