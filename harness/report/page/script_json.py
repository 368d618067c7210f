"""JSON inside an HTML page, escaped so that no text of a stranger ends the script it stands in."""

from __future__ import annotations

import json
import math
from typing import Any

# The two separators end a line of JavaScript in old engines, though JSON allows them raw.
_ESCAPES = {character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def script_json(value: Any) -> str:
    """Return JSON that is safe inside `<script>`, as JavaScript and as JSON; NaN and infinities become null."""
    try:
        text = _encode(value)
    except ValueError:  # rare, and looking for it first would double the time
        text = _encode(_finite(value))
    for character, escape in _ESCAPES.items():  # `translate` takes ten times as long
        text = text.replace(character, escape)
    return text


def _encode(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_finite(inner) for inner in value]
        case _:
            return value
