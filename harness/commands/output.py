"""What several commands print: the plan of a run, and the table of what was asked."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from harness.ask.run import BenchOptions
    from harness.judge.analysis import JudgeFindings
    from harness.plan.plan import Plan
    from harness.score.scoring import ScoredRun
    from harness.store.results import Manifest

UNANSWERED = 3
"""Exit code when some rows have no answer."""


def invocation() -> str:
    """Return what starts this program in the user's shell: `harness`, or its path where PATH does not lead to it."""
    started, found = Path(sys.argv[0]), shutil.which("harness")
    if started.name != "harness" or (found and Path(found).resolve() == started.resolve()):
        return "harness"
    return shlex.quote(str(started))


def next_step() -> str:
    """Return the line that ends `harness bench`."""
    program = invocation()
    return f"Next: `{program} report` builds the page, `{program} compare A B` names the rows that separate two models."


def ask(
    asking: Callable[[BenchOptions, Callable[[str], None]], list[Manifest]],
    chosen: BenchOptions,
    *,
    as_json: bool,
    quiet: bool = False,
) -> int:
    """Ask, print what was asked as a table or as JSON, and return the exit code.

    With `quiet` only what keeps a model from being asked is said on the way, on stderr, and of several tasks only the
    standings and the verdict are printed.
    """
    from harness.ask.budget import CapReached
    from harness.ask.progress import Interrupted
    from harness.ask.run import GAVE_UP, SKIPPED

    def say(line: str) -> None:
        if not quiet or line.startswith((GAVE_UP, SKIPPED)):
            print(line, file=sys.stderr if as_json or quiet else sys.stdout, flush=True)

    capped = False
    try:
        manifests = asking(chosen, say)
    except CapReached as stop:
        manifests, capped = list(stop.manifests), True
        print(stop, file=sys.stderr if as_json or quiet else sys.stdout, flush=True)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    # Imported only here: the packages for scoring take as long to load as the first answers take to arrive.
    from harness.report.findings import long_frame
    from harness.report.trend import looks, record
    from harness.report.words import doubts, looked_at
    from harness.score.rules import current_rules
    from harness.score.scoring import score_all

    rules = current_rules(chosen.tasks_folder)
    runs = score_all(chosen.results, manifests, say, rules)
    frame = long_frame(runs)
    record(chosen.results, runs, frame)
    if as_json:
        from harness.report.tables import bench_json

        print(bench_json(frame))
    elif runs:
        before = score_all(chosen.results, recorded_beside(chosen.results, manifests), say, rules)
        print(shown(runs, before, frame, quiet=quiet))
    for line in [*doubts(runs), *(looked_at(*look) for look in looks(chosen.results, runs).items())]:
        say(line)
    unasked = len(runs) < len(manifests)
    return UNANSWERED if capped or unasked or any(run.rows.counts()["failed"] for run in runs) else 0


def recorded_beside(results: Path, asked: Sequence[Manifest]) -> list[Manifest]:
    """The complete runs of other models on the very rows that one model alone was asked, with the same prompts."""
    from harness.store.results import read_manifests

    if len({run.model for run in asked}) != 1:
        return []
    same = {(run.task, run.kind, run.rows, run.prompt_hash): run.model for run in asked}
    return [
        run
        for run in read_manifests(results)
        if not run.incomplete and same.get((run.task, run.kind, run.rows, run.prompt_hash), run.model) != run.model
    ]


def shown(asked: Sequence[ScoredRun], before: Sequence[ScoredRun], frame: pd.DataFrame, *, quiet: bool) -> str:
    """What `bench` prints at the end: each task's table and verdict, and over several tasks standings and headline.

    A table on a terminal is as wide as that is. `before` are runs of models that were asked earlier, `frame` is the
    long form of the others.
    """
    import pandas as pd

    from harness.report.findings import long_frame
    from harness.report.markdown import standings_text
    from harness.report.scoreboard import Scoreboard
    from harness.report.tables import bench_table
    from harness.report.words import compared_with, headline, lead, recorded_earlier, verdicts
    from harness.rows.origin import KINDS

    parts = []
    runs = [*asked, *before]
    several = {kind for kind in KINDS if len({run.manifest.task for run in runs if run.manifest.kind == kind}) > 1}
    if not (quiet and several):
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        whole = pd.concat([frame, long_frame(before)], ignore_index=True) if before else frame
        parts.append(bench_table(whole, verdicts(runs), width))
    if before:
        parts.append(recorded_earlier(sorted({run.manifest.model for run in before})) + "\n")
    for kind in sorted(several):
        board = Scoreboard([run for run in runs if run.manifest.kind == kind])
        lines = [
            f"{len(board.tasks)} tasks ({kind} rows):",
            standings_text(board.standings),
            compared_with(board.standings),
        ]
        parts.append("\n".join([*lines, " ".join(filter(None, [headline(board), lead(board)]))]) + "\n")
    if several or not quiet:
        parts.append(next_step())
    return "\n".join(parts)


def print_votes(found: JudgeFindings, plot: Path | None, *, as_json: bool) -> int:
    """Print what votes show, and draw the win rates of all that is pooled where a path is given."""
    from harness.judge.summary import as_json as whole
    from harness.judge.summary import text

    print(json.dumps(whole(found), ensure_ascii=False) if as_json else text(found))
    if plot is not None:
        from harness.report.plots.win_rates import win_rate_plot
        from harness.report.words import plural

        ranking = found.pooled
        note = f"{plural(ranking.votes, 'vote')} on {plural(ranking.rows, 'row')}"
        win_rate_plot(*ranking.matrix, plot.with_suffix(""), note, found.sample)
    return 0


def adapter_entry(name: str, base: str, adapter: Path) -> str:
    """Return an entry of a models file that runs an adapter in this process."""
    from harness.models.engines.known_bases import is_gguf

    backend = "llamacpp" if is_gguf(base) else "local"
    return f"  {name}:\n    backend: {backend}\n    model: {base}\n    adapter: {adapter}"


def how_to_ask(task: str, base: str, adapter: Path, *given: str) -> str:
    """Return how an adapter that was just trained is scored: with the entry that covers it, else with one to add.

    `given` are options that the command to score it needs, too.
    """
    from harness.errors import UserError
    from harness.models.entry import InProcess, load_models
    from harness.shipped import models_file

    def covers(model: object) -> bool:
        if not isinstance(model, InProcess) or model.model != base or model.adapter is None:
            return False
        return Path(model.adapter.replace("{task}", task)).expanduser().resolve() == adapter.resolve()

    try:
        entries = load_models(models_file(), (), os.environ)
    except UserError:  # the command that asks the model says what is wrong with the file
        entries = []
    covering = next((entry.name for entry in entries if covers(entry.model)), None)
    names = {entry.name for entry in entries}
    name = covering or next(name for name in _names("tuned") if name not in names)
    command = f"{invocation()} {shlex.join(['bench', '--task', task, '--model', name, *given])}"
    if covering:
        return f"To score it ({models_file()} has it as '{name}'), run: {command}"
    # The adapters of other tasks are beside it.
    place = adapter.with_name("{task}") if adapter.name == task else adapter
    return f"To score it, add to models.yaml:\n{adapter_entry(name, base, place)}\nand run: {command}"


def _names(first: str) -> Iterator[str]:
    yield first
    yield from (f"{first}-{number}" for number in itertools.count(2))


def print_plan(chosen: BenchOptions, *, as_json: bool) -> int:
    """Print the plan of a run."""
    from harness.plan.plan import plan

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    made = plan(chosen, say)
    print(plan_json(made) if as_json else plan_table(made))
    return 0


def plan_json(plan: Plan) -> str:
    """Return the plan as one JSON document."""
    from dataclasses import asdict

    tasks = [{"task": name, **asdict(task)} for name, task in plan.tasks.items()]
    pairs = [asdict(pair) for pair in plan.pairs]
    whole = {"totals": plan.totals(), "unpriced": plan.unpriced, "pairs": pairs, "tasks": tasks, "notes": plan.notes}
    return json.dumps(whole, ensure_ascii=False)


def plan_table(plan: Plan) -> str:
    """Return the plan as tables, followed by the basis of each estimate."""
    from tabulate import tabulate

    from harness.report.words import DETECTABLE, number, plan_sources

    rows = [
        {"task": pair.task, "model": pair.model, **_significant({name: getattr(pair, name) for name in plan.totals()})}
        for pair in plan.pairs
    ]
    total = {"task": "total", "model": "", **_significant(plan.totals())}
    shown = [
        {
            "task": name,
            "rows": task.rows,
            "metric": task.metric,
            "difference": number(task.paired),
            "assuming": task.assuming,
        }
        for name, task in plan.tasks.items()
    ]
    parts = [
        tabulate([*rows, total], headers="keys", disable_numparse=True, colalign=("left", "left", *["right"] * 8)),
        DETECTABLE,
        tabulate(shown, headers="keys", disable_numparse=True, colalign=("left", "right", "left", "right", "left")),
        "\n".join(plan_sources(plan)),
    ]
    return "\n\n".join(part for part in parts if part)


def _significant(values: Mapping[str, float | None]) -> dict[str, str]:
    """One line of the table from the fields of a plan's totals."""
    from harness.report.words import small

    return {
        "rows": f"{values['rows']:,}",
        "answered": f"{values['answered']:,}",
        "to ask": f"{values['ask']:,}",
        "tokens in": f"{values['input_tokens']:,}",
        "tokens out": f"{values['output_tokens']:,}",
        "USD": small(values["usd"], "?"),
        "at most": small(values["usd_most"], "?"),
        "minutes": f"{values['minutes']:,.1f}",
    }
