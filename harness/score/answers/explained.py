"""A label and its explanation out of a text."""

from __future__ import annotations

import re

from harness.score.answers.labels import read_label
from harness.tasks.task import LabelAndExplanationAnswer, LabelAnswer

_LEAD_IN = re.compile(r"^[\s*#_]*(?:answer|label|topic|category|class)[*_]*\s*:[\s*_]*", re.IGNORECASE)
_MARKUP = " \t\r\n*_#`\"'"


def read_explained(text: str, spec: LabelAndExplanationAnswer) -> tuple[str, str] | None:
    """Return label and explanation, parted at the first separator (in any case), else after the first line.

    The explanation may be "". None when there is no label, or one outside the set.
    """
    parts = re.split(re.escape(spec.separator.strip()), text.strip(), maxsplit=1, flags=re.IGNORECASE)
    if len(parts) == 1:
        parts = text.strip().split("\n", maxsplit=1)
    head, explanation = parts[0], parts[1] if len(parts) > 1 else ""
    label = _label(head, spec)
    return None if label is None else (label, explanation.strip().removeprefix("**").strip())


def _label(head: str, spec: LabelAndExplanationAnswer) -> str | None:
    if spec.labels is None:
        return _LEAD_IN.sub("", head).strip(_MARKUP) or None
    if len(spec.labels) == 1:
        return spec.labels[0] if spec.labels[0].casefold() in head.casefold() else None
    found = read_label(head, LabelAnswer(type="label", labels=spec.labels))
    return found if isinstance(found, str) else None
