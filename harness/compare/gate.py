"""The gate of a pipeline: may model A take the place of model B?

A task fails when A is shown to be worse: a loss beyond chance (after Holm's correction over the tasks) that is also
larger than the margin. A strict gate asks for proof of the opposite and fails every task on which the interval of the
difference does not rule out a loss beyond the margin, which with few rows it cannot.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from harness.compare.paired import MARGIN, Comparison, compare_models, scale
from harness.errors import UserError
from harness.score.scoring import ScoredRun

Outcome = Literal["passed", "failed", "error"]
_MARGIN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(pp|%|)\s*")
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Check:
    """One task of a gate; `error` means that nothing could be decided. `reason` is one sentence."""

    task: str
    category: str
    outcome: Outcome
    reason: str


def margin(text: str) -> float:
    """Read a margin as a share of the scale: `1pp`, `1 %` and `0.01` are the same.

    Raises:
        ValueError: it is none of these, or not between 0 and 1.
    """
    match = _MARGIN.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not a margin: write 1pp, 1% or 0.01")
    value = float(match[1]) / (100 if match[2] else 1)
    if value >= 1:
        raise ValueError(f"a margin of '{text}' lets everything pass: did you mean {text.strip()}pp?")
    return value


def gate(
    runs: Sequence[ScoredRun],
    a: str,
    b: str,
    allowed: float = MARGIN,
    strict: bool = False,
    tasks: Collection[str] = (),
) -> list[Check]:
    """Check model `a` against `b` on these tasks, by default all that `a` has run; `runs` are of one kind of rows.

    A task on which one of them has not run, has run on other rows, or is marked as incomplete is an error: rows that
    a server failed to answer say nothing about a model.

    Raises:
        UserError: there is no task to decide on.
    """
    wanted = set(tasks) or {run.manifest.task for run in runs if run.manifest.model == a}
    by_task: dict[str, dict[str, ScoredRun]] = {}
    for run in runs:
        if run.manifest.model in (a, b) and run.manifest.task in wanted:
            by_task.setdefault(run.manifest.task, {})[run.manifest.model] = run
    if not by_task:
        raise UserError(f"{a} has not run a task of this kind of rows")
    troubled = {task: _trouble(found, a, b) for task, found in by_task.items()}
    sound = [run for run in runs if run.manifest.task in by_task and not troubled[run.manifest.task]]
    compared = compare_models(sound, a, b, allowed)
    checks = []
    for task, found in sorted(by_task.items()):
        first = next(iter(found.values()))
        category, metric = first.manifest.spec.category, first.metrics[0]
        if troubled[task]:
            checks.append(Check(task, category, "error", troubled[task]))
        elif task in compared.apart:
            reason = f"{a} and {b} were asked different rows; run bench again for both"
            checks.append(Check(task, category, "error", reason))
        else:
            worse = _fails(compared.tasks[task], allowed * scale(metric), strict)
            reason = _reason(compared.tasks[task], metric.name, strict)
            checks.append(Check(task, category, "failed" if worse else "passed", reason))
    return checks


def _trouble(found: dict[str, ScoredRun], a: str, b: str) -> str:
    """Why a task cannot be decided, "" when it can."""
    for model in (a, b):
        if model not in found:
            return f"{model} has not run it"
        if found[model].manifest.incomplete:
            failed = found[model].rows.counts()["failed"]
            return f"the run of {model} is incomplete ({failed} rows without an answer); run bench again"
    return ""


def _fails(found: Comparison, allowed: float, strict: bool) -> bool:
    if strict:
        return not found.not_inferior
    loss = -found.difference if found.higher_is_better else found.difference
    return found.verdict == "worse" and loss > allowed


def _reason(found: Comparison, metric: str, strict: bool) -> str:
    numbers = (
        f"{found.difference:+.3f} {metric}, 95 % interval {found.low:+.3f} to {found.high:+.3f}, "
        f"{found.p} after Holm, n = {found.n:,}"
    )
    verdict: str = found.verdict
    if not strict and verdict == "not separable" and not found.not_inferior:
        verdict += f", and a loss beyond {found.margin:g} is not ruled out"
    elif strict:
        verdict += f", a loss beyond {found.margin:g} is {'' if found.not_inferior else 'not '}ruled out"
    return f"{verdict} ({numbers})"


def junit(checks: Sequence[Check], name: str) -> str:
    """The checks as a JUnit file: one test case for each task, failures and errors with their reason."""
    counts = {outcome: str(sum(c.outcome == outcome for c in checks)) for outcome in ("failed", "error")}
    totals = {"tests": str(len(checks)), "failures": counts["failed"], "errors": counts["error"]}
    root = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(root, "testsuite", {"name": _clean(name), **totals, "skipped": "0"})
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", {"classname": check.category, "name": check.task})
        if check.outcome == "passed":
            ElementTree.SubElement(case, "system-out").text = _clean(check.reason)
        else:
            kind = "failure" if check.outcome == "failed" else "error"
            ElementTree.SubElement(case, kind, {"message": _clean(check.reason)})
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    """XML has no place for control characters."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
