"""Numbers out of a text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from harness.score.answers.text import compiled
from harness.tasks.task import NumberAnswer

_RUN = re.compile(r"\.?[0-9][0-9.,/\u00a0\u202f\u2009]*")
_THOUSANDS_SPACE = re.compile(r"(?<=[0-9])[\u00a0\u202f\u2009](?=[0-9]{3}(?![0-9]))")
_VALUE = re.compile(r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+")
_EXPONENT = re.compile(r"[eE][+-]?[0-9]{1,3}(?![0-9A-Za-z])")
_SIGN = re.compile(r"(?:^|[^\w)\]%.])[-−–](?:(?:US)?[$€£¥₹]\s?)?$|[$€£¥₹][-−–]$")
# Digits of a word (GPT4), a power (10^2), and the lower half of a fraction are no numbers of their own.
_INSIDE = re.compile(r"[^\W\d_]_?$|\^\{?$|[0-9]\s*/\s*$")
_FRACTION = re.compile(r"\s*/\s*[0-9]")
_LATEX_COMMA = re.compile(r"(?<=[0-9])(?:\{,\}|\\,|,\\!)(?=[0-9]{3})")
_MARKED = re.compile(r"####\s*[-−–]?\s*[$€£¥₹]?\s*[-−–]?[0-9.]")


def read_number(text: str, spec: NumberAnswer) -> float | None:
    """Return the number in a text: the first one behind the last match of `after`, else the last or first of all.

    Currency signs, thousands commas, units, percent signs, markup and a full stop behind are no part of it:
    "$1,234.50." is 1234.5 and "45%" is 45. Fractions ("1/2"), dates and versions ("1.2.3") are not numbers. `#### 42`,
    as in GSM8K, marks the answer also where the task declares no marker. A number outside `minimum` and `maximum` is
    None.
    """
    text = _LATEX_COMMA.sub(",", text)
    value = _marked(text, spec)
    if value is None:
        values = list(_numbers(text))
        if not values:
            return None
        value = values[-1] if spec.pick == "last" else values[0]
    if spec.minimum is not None and value < spec.minimum:
        return None
    if spec.maximum is not None and value > spec.maximum:
        return None
    return value


def _marked(text: str, spec: NumberAnswer) -> float | None:
    """The first number behind the last marker, None without a marker or a number."""
    if spec.after is not None:
        ends = [match.end() for match in compiled(spec.after).finditer(text)]
    else:
        ends = [match.start() + 4 for match in _MARKED.finditer(text)]
    return next(_numbers(text[ends[-1] :]), None) if ends else None


def _numbers(text: str) -> Iterator[float]:
    text = _THOUSANDS_SPACE.sub(",", text)
    for run in _RUN.finditer(text):
        digits = run[0].rstrip(".,/\u00a0\u202f\u2009")
        before, end = text[max(0, run.start() - 12) : run.start()], run.start() + len(digits)
        if digits.startswith(".") and before[-1:].isalnum():
            digits, before = digits[1:], before + "."  # a full stop without a space behind it
        if "/" in digits or _INSIDE.search(before) or _FRACTION.match(text, end):
            continue
        yield from _values(digits, before, _EXPONENT.match(text, end))


def _values(digits: str, before: str, exponent: re.Match[str] | None) -> Iterator[float]:
    """The numbers of one run of digits, dots and commas; several when commas separate a list."""
    for piece in re.split(r",(?![0-9]{3}(?![0-9]))|\.{2,}|[\u00a0\u202f\u2009]", digits):
        if piece.count(".") > 1:
            continue
        found = [match[0] for match in _VALUE.finditer(piece)]
        for value in found:
            alone = value == digits
            number = float(value.replace(",", "") + (exponent[0] if alone and exponent else ""))
            if math.isfinite(number):
                yield -number if digits.startswith(value) and _SIGN.search(before) else number
