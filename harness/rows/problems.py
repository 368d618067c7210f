"""What is wrong with the rows of a split: each reason once, with how many rows it holds for."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from harness.errors import SpecError

MOST_REASONS = 20


class RowProblems:
    """Takes the errors of rows one by one, so that they can be raised together."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    @contextlib.contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Take the error that a row raises."""
        try:
            yield
        except SpecError as error:
            self._counts[str(error)] += 1
            self._first.setdefault(str(error), name)

    def raise_all(self) -> None:
        """Raise what was taken.

        Raises:
            SpecError: anything was.
        """
        lines = [
            f"{reason} ({count} {self._what}{'s' if count > 1 else ''}, first {self._first[reason]})"
            for reason, count in self._counts.most_common(MOST_REASONS)
        ]
        if lines:
            more = len(self._counts) - len(lines)
            raise SpecError("\n".join([*lines, *([f"… and {more} further reasons"] if more else [])]))
