"""Fixed text taken out of prompts: what a student learned without, and must be asked without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from harness.hashing import digest
from harness.tasks.prompts import frame_of


@dataclass(frozen=True, slots=True)
class Prune:
    """What is taken out of every prompt: its start, its end, and texts inside."""

    start: str = ""
    end: str = ""
    texts: tuple[str, ...] = ()

    def __call__(self, prompt: str) -> str:
        """Return a prompt without the fixed text.

        Raises:
            ValueError: it does not hold all of that text, so it is another prompt than those that were learned.
        """
        if len(prompt) < len(self.start) + len(self.end) or not (
            prompt.startswith(self.start) and prompt.endswith(self.end)
        ):
            raise ValueError("it does not begin and end with the text that is taken out")
        rest = prompt[len(self.start) : len(prompt) - len(self.end)]
        for text in self.texts:
            if text not in rest:
                raise ValueError(f"it does not hold the text that is taken out: {text[:60]!r}")
            rest = rest.replace(text, "", 1)
        return rest

    @property
    def digest(self) -> str:
        """A hash that stands for what is taken out."""
        return digest(self.start, self.end, *self.texts)

    def as_json(self) -> dict[str, Any]:
        """As an adapter's card and a folder of a distilled student hold it."""
        return asdict(self)


_PRUNE = TypeAdapter(Prune)


def prune_from(written: Any) -> Prune | None:
    """Return what `Prune.as_json` wrote, None for None.

    Raises:
        ValueError: it is something else.
    """
    return None if written is None else _PRUNE.validate_python(written)


def frame(prompts: Sequence[str]) -> Prune:
    """Return what all prompts begin and end with, in whole words and lines: a task's instructions, its examples."""
    start, end = frame_of(prompts) if len(set(prompts)) > 1 else ("", "")
    while start and not start[-1].isspace():  # part of a word that the rows happen to begin with
        start = start[:-1]
    return Prune(start, end[_first_space(end) :])


def _first_space(text: str) -> int:
    return next((place for place, character in enumerate(text) if character.isspace()), len(text))
