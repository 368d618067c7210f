"""Metrics of IFEval: how many instructions, and prompts with all of their instructions, an answer follows."""

from __future__ import annotations

import numpy as np

from harness.score.answers.ifeval_checks import CHECKS
from harness.score.metrics.base import Example, Metric, ratio, recipes
from harness.tasks.task import InstructionsAnswer


def ifeval_prompt_strict(answer: InstructionsAnswer) -> Metric:
    """Share of rows whose answer follows all of the row's instructions. Range [0, 1].

    Source: J. Zhou et al., Instruction-Following Evaluation for Large Language Models, 2023, whose checks are those of
    `harness.score.answers.ifeval_checks`. A row without an answer follows none.
    """
    return _prompt("ifeval_prompt_strict", loose=False)


def ifeval_prompt_loose(answer: InstructionsAnswer) -> Metric:
    """Share of rows whose answer follows all instructions, in one of its loose variants each. Range [0, 1].

    The variants are the answer with and without its first line, its last line, and all asterisks: a model may introduce
    its answer, close it or print it in bold.
    """
    return _prompt("ifeval_prompt_loose", loose=True)


def ifeval_instruction_strict(answer: InstructionsAnswer) -> Metric:
    """Share of the instructions of all rows that are followed. Range [0, 1].

    A row with three instructions counts three times. The interval resamples rows, as the instructions of a row share
    its answer.
    """
    return _instruction("ifeval_instruction_strict", loose=False)


def ifeval_instruction_loose(answer: InstructionsAnswer) -> Metric:
    """Share of the instructions of all rows that are followed in a loose variant of the answer. Range [0, 1].

    Variants as for `ifeval_prompt_loose`, rows as for `ifeval_instruction_strict`.
    """
    return _instruction("ifeval_instruction_loose", loose=True)


def _prompt(name: str, *, loose: bool) -> Metric:
    return Metric(name, lambda example: (float(all(followed(example, loose))),), kind="binary")


def _instruction(name: str, *, loose: bool) -> Metric:
    """Its statistics are the instructions followed and those given."""

    def stats(example: Example) -> tuple[float, float]:
        found = followed(example, loose)
        return float(np.sum(found)), float(len(found))

    return Metric(name, stats, lambda means: ratio(means[..., 0], means[..., 1]), kind="corpus")


def followed(example: Example, loose: bool) -> list[bool]:
    """Whether each instruction of a row is followed by its answer, or by a loose variant of it.

    Raises:
        UserError: an instruction is about language, and langdetect is not installed.
    """
    texts = [] if example.answer is None else variants(example.answer) if loose else [example.answer]
    return [any(CHECKS[one.id](text, **one.arguments) for text in texts) for one in example.gold[0]]


def variants(text: str) -> list[str]:
    """Return a text as it stands, and without first line, last line, both, and asterisks; those without text left out.

    The eight variants of the paper's loose accuracy, each once, the text itself first.
    """
    lines = text.split("\n")
    cut = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [one for one in dict.fromkeys([*cut, *(part.replace("*", "") for part in cut)]) if one.strip()]


RECIPES = recipes(
    {"instructions"}, ifeval_instruction_loose, ifeval_instruction_strict, ifeval_prompt_loose, ifeval_prompt_strict
)
