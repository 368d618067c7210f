"""Ask again what has no answer in the last run of each pair, on the same rows; no new pair is begun."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence

from harness.backends.opening import Opening
from harness.bench import Options, Say, ask_pairs
from harness.data.origin import Origin
from harness.data.subset import Subset, digest
from harness.errors import DataError, UserError, nearest
from harness.preparing import Prepared, open_backend, settings_of
from harness.prompts import Prompts
from harness.recorded import chosen_runs
from harness.records import Records
from harness.spec.catalog import ModelEntry, TaskFile, load_models, load_task
from harness.store import Manifest, read_rows, response_key


def retry(options: Options, say: Say) -> list[Manifest]:
    """Ask what failed, of the options' tasks and models or of all, and return the manifests of the pairs asked.

    The rows are those of each pair's last run, as they are stored, so the data need not be there. A pair whose model or
    prompt has changed since is left to `bench`, and so are baselines, whose training rows are not stored.

    Raises:
        UserError: a name or a file is wrong, or there is no run; nothing was asked.
        HarnessError: as `harness.bench.bench`.
    """
    records = Records(options.results)
    entries = {entry.name: entry for entry in load_models(options.models_file, (), os.environ)}
    pairs = []
    whole = True
    for run in _last_runs(chosen_runs(options.results, options.tasks, options.models)):
        if missing := _missing(run, records, options):
            whole = False
            say(f"{run.source}: {run.task}, {run.model}: {missing} of {run.n} rows have no answer")
            try:
                pairs.append(_pair(run, entries, options))
            except UserError as error:
                say(f"left out {run.model} on {run.task}: {error}")
    if whole:
        say("every row of these runs has an answer")
    return ask_pairs(pairs, options, say) if pairs else []


def _last_runs(runs: Sequence[Manifest]) -> list[Manifest]:
    """The last run of each pair, of either kind of rows."""
    last = {(run.task, run.model): run for run in sorted(runs, key=lambda run: run.finished)}
    return [last[pair] for pair in sorted(last)]


def _missing(run: Manifest, records: Records, options: Options) -> int:
    answered = records.of(run.task, run.model).keys
    rows = read_rows(options.results, run.task, run.rows)
    return sum(response_key(run.settings, row.prompt) not in answered for row in rows)


def _pair(run: Manifest, entries: Mapping[str, ModelEntry], options: Options) -> tuple[Prepared, ModelEntry]:
    """The pair of a run as it can be asked again.

    Raises:
        UserError: it cannot, and why.
    """
    entry = entries.get(run.model)
    if entry is None:
        raise UserError(f"no such model in {options.models_file}{nearest(run.model, entries)}")
    if entry.unset:
        raise UserError(f"it needs {' and '.join(entry.unset)} in the environment")
    if entry.model.backend == "baseline":
        raise UserError("a baseline has to be fitted for it; run `harness bench`")
    file = load_task(options.tasks_folder, run.task)
    prepared = _prepared(run, file)
    if digest(file.task.prompt) != run.prompt_hash or asyncio.run(_settings(prepared, entry)) != run.settings:
        raise UserError("the model's settings or the task have changed since; run `harness bench`")
    return prepared, entry


def _prepared(run: Manifest, file: TaskFile) -> Prepared:
    """A run's task with the rows that were asked, from the manifest alone."""
    seen = run.dataset
    subset = Subset(
        rows=(),
        total=seen["rows"],
        repeated=seen["repeated"],
        in_training=seen["in_training"],
        fingerprint=seen["fingerprint"],
        training=seen["training_fingerprint"],
        borrowed=str(seen.get("baselines_fitted_on")).startswith("evaluation"),
    )
    origin = Origin(run.place, {}, run.note)
    return Prepared(file, Prompts(file), origin, subset, run.rows, run.n, seed=run.seed)


async def _settings(prepared: Prepared, entry: ModelEntry) -> str:
    async with Opening() as opening:
        try:
            return settings_of(open_backend(opening, prepared, entry), prepared.file)
        except DataError as error:
            raise UserError(str(error)) from None
