"""Answers that stand in a column of the data, beside the rows themselves: those of a published study, say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.errors import Rejected
from harness.hashing import digest_all
from harness.models.backend import Reply, Request

Values = Callable[[str], Mapping[str, str]]
"""Gives the texts of a column by the ids of its rows."""


@dataclass(frozen=True)
class ColumnBackend:
    """The answers of one column for one task; `values` reads them, once, when they are first needed."""

    column: str
    values: Values

    @property
    def identity(self) -> Mapping[str, Any]:
        """The column and a hash of what it says.

        Raises:
            DataError: the rows have no such column.
        """
        said = (f"{row}\x1f{text}" for row, text in sorted(self._texts.items()))
        return {"backend": "column", "column": self.column, "said": digest_all(said)}

    def body(self, request: Request) -> Mapping[str, Any]:
        """What the answer is looked up by."""
        return {"row": request.row, "prompt": request.prompt}

    async def ask(self, request: Request) -> Reply:
        """Look the answer up.

        Raises:
            Rejected: the column is empty in this row.
        """
        text = self._texts.get(request.row)
        if text is None:
            raise Rejected(f"the column '{self.column}' is empty in row {request.row}")
        return Reply(text)

    async def aclose(self) -> None:
        """Nothing to release."""

    @cached_property
    def _texts(self) -> Mapping[str, str]:
        return self.values(self.column)
