"""Metrics by the name and options that a task file gives."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from harness.errors import UserError, nearest
from harness.plugins import hint, plugins
from harness.score.metrics import (
    captions,
    code,
    entities,
    explanations,
    external,
    ifeval,
    labels,
    numbers,
    published,
    qa,
    sql,
    sql_match,
    structured,
    text,
)
from harness.score.metrics.base import Metric, MetricFactory
from harness.tasks.task import AnswerFormat, MetricSpec

_RECIPES: Mapping[str, MetricFactory] = {
    name: recipe
    for family in (
        labels,
        numbers,
        text,
        captions,
        qa,
        entities,
        structured,
        explanations,
        sql,
        sql_match,
        code,
        ifeval,
        published,
        external,
    )
    for name, recipe in family.RECIPES.items()
}


def recipes() -> Mapping[str, MetricFactory]:
    """Return how each metric of this package and of plugins is made, by name."""
    added = plugins().of("metric", _RECIPES)
    return {**_RECIPES, **{name: MetricFactory(*addition.made) for name, addition in added.items()}}


def fitting(answer_type: str) -> list[str]:
    """Return the names of the metrics that can score answers of this type, sorted."""
    return sorted(name for name, recipe in recipes().items() if answer_type in recipe.fits)


def build(spec: MetricSpec, answer: AnswerFormat) -> Metric:
    """Return the metric that a task file asks for.

    Raises:
        UserError: the metric or one of its options is unknown, an option has a wrong type, or the metric does not
            score answers of this type.
    """
    recipe = recipes().get(spec.name)
    if recipe is None:
        near = nearest(spec.name, recipes())
        fits = ", ".join(fitting(answer.type))
        choices = near if "did you mean" in near else f" (answers of type {answer.type} are scored by: {fits})"
        raise UserError(f"unknown metric '{spec.name}'{choices}{hint(choices)}")
    if answer.type not in recipe.fits:
        raise UserError(
            f"metric '{spec.name}' does not fit answers of type {answer.type}{nearest(spec.name, fitting(answer.type))}"
        )
    metric: Metric = recipe.make(answer, **_options(spec, recipe))
    return metric


def build_all(specs: Iterable[MetricSpec], answer: AnswerFormat) -> tuple[Metric, ...]:
    """Return the metrics of a task; one named twice carries its options in the later name: `rouge_l(stemmer=True)`.

    Raises:
        UserError: as `build`; also when two are the same.
    """
    built: dict[str, Metric] = {}
    for spec in specs:
        metric = build(spec, answer)
        if metric.name in built and spec.options:
            options = ", ".join(f"{name}={value}" for name, value in sorted(spec.options.items()))
            metric = replace(metric, name=f"{metric.name}({options})")
        if metric.name in built:
            raise UserError(f"metric '{spec.name}' stands twice in the list with the same options")
        built[metric.name] = metric
    return tuple(built.values())


def _options(spec: MetricSpec, recipe: MetricFactory) -> dict[str, Any]:
    """The options with their types checked against the keyword parameters of the recipe."""
    hints = get_type_hints(recipe.make)
    parameters = inspect.signature(recipe.make).parameters.values()
    known = {one.name: one for one in parameters if one.kind is one.KEYWORD_ONLY}
    checked = {}
    for name, value in spec.options.items():
        if name not in known:
            choices = nearest(name, known) or " (it has none)"
            raise UserError(f"metric '{spec.name}' has no option '{name}'{choices}")
        try:
            checked[name] = TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise UserError(f"metric '{spec.name}', option '{name}': {reason}, found {value!r}") from None
    missing = [one.name for one in known.values() if one.default is one.empty and one.name not in checked]
    if missing:
        raise UserError(f"metric '{spec.name}' needs the option '{missing[0]}'")
    return checked
