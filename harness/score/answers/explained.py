"""A label and its explanation out of a text."""

from __future__ import annotations

import re

from harness.folding import fold
from harness.score.answers.labels import gold_label, read_label
from harness.tasks.task import LabelAndExplanationAnswer, LabelAnswer

_LEAD_IN = re.compile(r"^[\s*#_]*(?:answer|label|topic|category|class)[*_]*\s*:[\s*_]*", re.IGNORECASE)
_MARKUP = " \t\r\n*_#`\"'"


def read_explained(text: str, spec: LabelAndExplanationAnswer) -> tuple[str, str] | None:
    """Return label and explanation, parted at the first separator (in any case), else after the first line.

    The explanation may be "". None when there is no label, or one outside the set.
    """
    head, explanation = _parts(text, spec)
    label = _label(head, spec)
    return None if label is None else (label, explanation)


def gold_explained(reference: str, spec: LabelAndExplanationAnswer) -> tuple[str, str]:
    """Return the label and the explanation of a right answer.

    Raises:
        ValueError: what stands before the explanation is no label.
    """
    head, explanation = _parts(reference, spec)
    if spec.labels is None or len(spec.labels) == 1:
        label = _label(head, spec)
    else:
        label = str(gold_label(_LEAD_IN.sub("", head), LabelAnswer(type="label", labels=spec.labels)))
    if label is None:
        raise ValueError("it has no label before the explanation")
    return label, explanation


def _parts(text: str, spec: LabelAndExplanationAnswer) -> tuple[str, str]:
    """What stands before the first separator and behind it, both folded; without one, the first line and the rest."""
    text = fold(text).strip()
    parts = re.split(re.escape(fold(spec.separator).strip()), text, maxsplit=1, flags=re.IGNORECASE)
    if len(parts) == 1:
        parts = text.split("\n", maxsplit=1)
    return parts[0], (parts[1] if len(parts) > 1 else "").strip().removeprefix("**").strip()


def _label(head: str, spec: LabelAndExplanationAnswer) -> str | None:
    if spec.labels is None:
        return _LEAD_IN.sub("", head).strip(_MARKUP) or None
    if len(spec.labels) == 1:
        return spec.labels[0] if spec.labels[0].casefold() in head.casefold() else None
    found = read_label(head, LabelAnswer(type="label", labels=spec.labels))
    return found if isinstance(found, str) else None
