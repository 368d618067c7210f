"""Entity tags of a sentence's tokens, and the entities that they mark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

Scheme = Literal["conlleval", "iob2"]
"""How tags that break the form are read: `conlleval` begins an entity at an I- that continues none, as the CoNLL scorer
does; `iob2` knows only entities that begin with B- and drops the others."""

_TAG = re.compile(r"O|[BIESLU]-\S+")
_LAST = {"E": "E", "L": "E", "S": "S", "U": "S"}


def is_tags(values: Sequence[object]) -> bool:
    """Return whether these are the tags of a sentence, such as `["B-PER", "I-PER", "O"]`; an empty list is not."""
    return bool(values) and all(isinstance(value, str) and _TAG.fullmatch(value) for value in values)


def spans(tags: Sequence[str], scheme: Scheme = "conlleval") -> list[tuple[str, int, int]]:
    """Return the entities that tags mark, in order: type, index of the first token, index behind the last.

    Tags are `O`, `B-<type>` (first), `I-<type>` (inside), and optionally `E-` or `L-` (last) and `S-` or `U-` (single).
    By `conlleval` an entity begins at B- and S-, and at any tag that is not O and continues no entity of its type; by
    `iob2` at B- and S- alone. Source: the scoring script of the CoNLL-2000 and 2003 shared tasks (E. F. Tjong Kim Sang
    and F. De Meulder, 2003); L. A. Ramshaw and M. P. Marcus, 1995.
    """
    if scheme not in get_args(Scheme):
        raise ValueError(f"unknown scheme of tags '{scheme}' (one of {', '.join(get_args(Scheme))})")
    found: list[tuple[str, int, int]] = []
    start: int | None = None
    kind = ""
    for place, tag in enumerate([*tags, "O"]):
        head, _, name = tag.partition("-")
        part = _LAST.get(head, head)
        continues = start is not None and part in ("I", "E") and name == kind
        if start is not None and not continues:
            found.append((kind, start, place))
            start = None
        if start is None and (part in ("B", "S") or (part in ("I", "E") and scheme == "conlleval")):
            start, kind = place, name
        if start is not None and part in ("E", "S"):
            found.append((kind, start, place + 1))
            start = None
    return found
