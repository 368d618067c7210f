"""`harness loadtest`: what a server with adapters gives under load, and what that costs.

What is sent are the prompts of a task's evaluation rows, each with its right answer's length as the limit of the
answer. A level is a number of clients or a rate, with a number of adapters; before it each adapter is asked once.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from io import StringIO
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, Literal

from harness.ask.prepare import prepare_rows, request_for
from harness.ask.run import PROVEN_FOR_S
from harness.errors import AskError, DataError, UserError, nearest
from harness.models.backend import Request
from harness.models.entry import LoraxModel, ModelEntry, OpenAIModel, Price, load_models
from harness.models.http import Transport
from harness.models.lorax import LoraxBackend
from harness.models.openai import OpenAIBackend
from harness.models.ping import listed
from harness.models.prices import price_of
from harness.models.proof import CHANGED, Proof, prove
from harness.models.tokens import approximate
from harness.report.plots.load import load_plots
from harness.report.words import plural
from harness.serve.arrivals import NOT_SENT, Assign, Heard, Load, assigned, poisson
from harness.serve.load_figures import LATE_MS, costs, figures
from harness.shipped import TaskFolders
from harness.store.atomic import replace_file
from harness.store.provenance import git_state, versions
from harness.tasks.catalog import TaskFile, load_task, task_names

TASK = "{task}"
Served = OpenAIModel | LoraxModel


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What a user asks of `harness loadtest`.

    With `url`, `models` are names that the server has, else entries of the models file; none are all adapters of it.
    Each of `concurrency`, `rate` (arrivals a second) and `adapters` is a level of its own. `task` None is the one that
    the first model is named after; `output_tokens` is the length of every answer, instead of that of the row's right
    answer; `against` names a model whose price that of the machine is compared with.
    """

    models: Sequence[str]
    models_file: Path
    out: Path
    url: str | None = None
    api: Literal["chat", "completions"] = "completions"
    token: str | None = None
    concurrency: Sequence[int] = ()
    rate: Sequence[float] = ()
    adapters: Sequence[int] = ()
    assign: Assign = "round-robin"
    task: str | None = None
    tasks_folder: TaskFolders = None
    data: str | None = None
    duration: float = 30.0
    timeout: float = 60.0
    output_tokens: int | None = None
    gpu_per_hour: float | None = None
    against: str | None = None
    seed: int = 0
    proof: bool = True


@dataclass(frozen=True, slots=True)
class Target:
    """A model that is asked: its name, the way to reach it, and the task that stands for `{task}` in its entry."""

    name: str
    backend: OpenAIBackend | LoraxBackend
    task: str


@dataclass(frozen=True, slots=True)
class Level:
    """A load: `adapters` models asked by `concurrency` clients, or at `rate` requests a second."""

    adapters: int
    concurrency: int | None = None
    rate: float | None = None


async def loadtest(options: LoadOptions, say: Callable[[str], None]) -> dict[str, Any]:
    """Put a server under each load in turn; write and return what it showed. `say` is told of each level.

    Files are written after each level: `loadtest.json`, `loadtest.csv` and the curves.

    Raises:
        UserError: a model, a task or a number is wrong, an adapter is not applied, or nothing is answered.
    """
    if bool(options.concurrency) == bool(options.rate):
        raise UserError("choose a load: --concurrency for clients that wait for their answers, or --rate for arrivals")
    priced = _api_price(options)
    options.out.mkdir(parents=True, exist_ok=True)  # before a server is put under load for nothing
    async with Transport() as transport:
        targets = await _targets(options, transport)
        file = _task(options, targets)
        counts = [_checked(number, targets) for number in options.adapters] or [len(targets)]
        requests, source = _requests(file, options)
        say(f"{file.name}: {source}; {plural(len(targets), 'model')}")
        proofs = await _prove(targets[: max(counts)], transport, say) if options.proof else {}
        tests = {
            "task": file.name, "source": source, "models": [target.name for target in targets[: max(counts)]],
            "assign": options.assign, "output_tokens": options.output_tokens, "duration_s": options.duration,
            "seed": options.seed, "proof": proofs, "versions": versions(), "git": git_state(Path.cwd()),
        }  # fmt: skip
        levels: list[dict[str, Any]] = []
        began = time.monotonic()
        for level in _levels(options, counts):
            found = await _run(level, targets[: level.adapters], requests, options, first=not levels)
            if options.gpu_per_hour is not None:
                found |= costs(found, options.gpu_per_hour, priced)
            levels.append(found)
            say(line_of(found))
            _write(options.out, {**tests, "levels": levels})
        if options.proof and time.monotonic() - began > PROVEN_FOR_S:
            tests["proof_after"] = await _prove(targets[: max(counts)], transport, say, after=True)
            _write(options.out, {**tests, "levels": levels})
    return {**tests, "levels": levels}


def late(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The levels at which the generator itself was late, or at its limit, so that they say little of the server."""
    return [
        level for level in found["levels"] if NOT_SENT in level["errors"] or (level["p99_late_ms"] or 0.0) > LATE_MS
    ]


def line_of(level: Mapping[str, Any]) -> str:
    """A level in one line."""
    load = plural(level["concurrency"], "client") if level["concurrency"] else f"{level['rate']:g} requests/s due"
    parts = [f"{load}, {plural(level['adapters'], 'model')}: {level['completed']} answered, {level['failed']} failed"]
    if level["errors"]:
        parts[0] += f" ({', '.join(f'{count} {kind}' for kind, count in level['errors'].items())})"
    parts.append(f"{level['request_throughput']:.2f} requests/s, {level['output_throughput']:.1f} tokens/s")
    for name in ("ttft", "tpot", "e2el"):
        if (median := level[f"median_{name}_ms"]) is not None:
            parts.append(f"{name} {median:.1f} ms, p99 {level[f'p99_{name}_ms']:.1f}")
    if (usd := level.get("usd_per_million_tokens")) is not None:
        parts.append(f"{usd:.3g} USD per million tokens")
    if "break_even_requests_per_day" in level:
        needed = level["break_even_requests_per_day"]
        parts.append("never cheaper than the API" if needed is None else f"cheaper from {needed:,.0f} requests a day")
    return "; ".join(parts)


def _levels(options: LoadOptions, counts: Sequence[int]) -> Iterator[Level]:
    for number in counts:
        yield from (Level(number, concurrency=clients) for clients in options.concurrency)
        yield from (Level(number, rate=rate) for rate in options.rate)


async def _run(
    level: Level, targets: Sequence[Target], requests: Sequence[Request], options: LoadOptions, *, first: bool
) -> dict[str, Any]:
    random, rows = Random(options.seed), cycle(requests)
    by_name = {target.name: target for target in targets}

    async def ask(name: str) -> Heard:
        target, heard = by_name[name], list[float]()
        reply = await target.backend.listen(replace(next(rows), task=target.task), heard)
        return reply, heard

    warm = Load(ask, cycle(by_name), options.timeout)
    await warm.closed(level.concurrency or 1, most=max(len(by_name), level.concurrency or 1))
    if first and all(one.error for one in warm.timed):
        raise UserError(f"no request was answered: {warm.timed[0].model}: {warm.timed[0].reason}")
    load = Load(ask, assigned(list(by_name), options.assign, random), options.timeout)
    cpu = time.process_time()
    if level.rate is None:
        await load.closed(level.concurrency or 1, seconds=options.duration)
    else:
        await load.open(poisson(level.rate, random), options.duration)
    found = figures(load.timed, load.lags, time.process_time() - cpu)
    of_warm = figures(warm.timed, (), 0.0)
    kept = ("completed", "failed", "errors", "median_ttft_ms", "median_e2el_ms")
    return {
        "adapters": level.adapters, "concurrency": level.concurrency, "rate": level.rate, **found,
        "warm_up": {name: of_warm[name] for name in kept},
    }  # fmt: skip


def _requests(file: TaskFile, options: LoadOptions) -> tuple[list[Request], str]:
    """The rows of a task as requests, in an order by the seed, and what rows they are."""
    prepared, rows = prepare_rows(file, options.data, options.seed, strict=options.data is not None)
    found = []
    for row in rows:
        tokens = options.output_tokens or max(1, round(approximate(row.references[0]) if row.references else 1))
        request = request_for(file, row)
        stop = () if options.output_tokens else request.stop
        found.append(replace(request, max_tokens=tokens, stop=stop))
    Random(options.seed).shuffle(found)
    return found, prepared.origin.label(len(found))


async def _targets(options: LoadOptions, transport: Transport) -> list[Target]:
    """The models that can be asked, those of an entry with `{task}` by what its server has.

    Raises:
        UserError: one is not there, or is not one that a server has.
    """
    if options.url is not None:
        return await _at_url(options, options.url, transport)
    if not options.models:
        raise UserError("name models of the models file, or a server with --url")
    found: list[Target] = []
    for entry in load_models(options.models_file, options.models, os.environ):
        if not isinstance(entry.model, OpenAIModel | LoraxModel):
            raise UserError(
                f"'{entry.name}' has `backend: {entry.model.backend}`, which has no server to be put under load: "
                "serve it with `harness serve`, and name its address with --url"
            )
        found += await _of_entry(entry, entry.model, options, transport)
    return found


async def _at_url(options: LoadOptions, url: str, transport: Transport) -> list[Target]:
    model = OpenAIModel(backend="openai", base_url=url, model="?", api=options.api, api_key=options.token)
    there = await _listed(transport, model)
    names = list(options.models) or [name for name, parent in there.items() if parent]
    if len(names) == 1 and options.adapters and not there.get(names[0]):  # of a base, its adapters are meant
        names = [name for name, parent in there.items() if parent == names[0]] or names
    if not names:
        raise UserError(f"{url} lists no adapters: name the models that are to be asked{nearest('', there)}")
    for name in names:
        if there and name not in there:
            raise UserError(f"{url} has no model '{name}'{nearest(name, there)}")
    return [
        Target(name, _backend(model.model_copy(update={"model": name}), options, transport), name) for name in names
    ]


async def _of_entry(entry: ModelEntry, model: Served, options: LoadOptions, transport: Transport) -> list[Target]:
    backend, pattern = _backend(model, options, transport), entry.served(TASK)
    if TASK not in pattern:
        return [Target(entry.name, backend, "")]
    known = task_names(options.tasks_folder)
    if not options.adapters:
        known = [options.task or known[0]]
    elif isinstance(model, OpenAIModel):
        there = await _listed(transport, model)
        known = [task for task in known if entry.served(task) in there] if there else known
    return [Target(f"{entry.name}/{task}", backend, task) for task in known]


def _backend(model: Served, options: LoadOptions, transport: Transport) -> OpenAIBackend | LoraxBackend:
    extra = {**model.extra, "ignore_eos": True} if options.output_tokens else model.extra
    update = {"stream": True, "extra": extra, "max_tokens": None, "timeout": options.timeout}
    changed = model.model_copy(update=update)
    if isinstance(changed, OpenAIModel):
        return OpenAIBackend(changed, transport)
    return LoraxBackend(changed, transport)


async def _listed(transport: Transport, model: OpenAIModel) -> dict[str, str]:
    """The models that a server lists, each with its base, "" for a base; none where it has no list."""
    with suppress(AskError):
        return {name: str(one.get("parent") or "") for name, one in (await listed(transport, model)).items()}
    return {}


def _checked(number: int, targets: Sequence[Target]) -> int:
    if number > len(targets):
        names = [target.name for target in targets]
        shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        raise UserError(f"--adapters {number}: there are {len(targets)} ({shown})")
    return number


def _task(options: LoadOptions, targets: Sequence[Target]) -> TaskFile:
    if options.task is not None:
        return load_task(options.tasks_folder, options.task)
    known = set(task_names(options.tasks_folder))
    for target in targets:
        if target.task in known:
            return load_task(options.tasks_folder, target.task)
    raise UserError("no model is named after a task: name the one whose prompts are sent with --task")


def _api_price(options: LoadOptions) -> Price | None:
    """The price per token that the machine's is compared with.

    Raises:
        UserError: it is not known, or there is no price of the machine to compare.
    """
    if options.against is None:
        return None
    if options.gpu_per_hour is None:
        raise UserError("--against compares with the price of a machine: give it as --gpu-per-hour")
    (entry,) = load_models(options.models_file, [options.against], os.environ, ready=False)
    priced = price_of(entry.model, options.task or "")
    if priced is None or priced.price is None:
        raise UserError(f"'{options.against}' has no price per token: give its entry `price: {{input: …, output: …}}`")
    return priced.price


async def _prove(
    targets: Sequence[Target], transport: Transport, say: Callable[[str], None], *, after: bool = False
) -> dict[str, Any]:
    """See to it that each adapter with a fingerprint is applied.

    Raises:
        UserError: one is not, or its fingerprint is not there.
    """
    found: dict[str, Any] = {}
    for target in targets:
        try:
            proof: Proof | None = await prove(transport, target.backend.model, target.task)
        except DataError as error:
            raise UserError(f"{error}; test without a proof with --no-proof") from None
        if proof is None:
            continue
        say(f"{target.name}: {proof}")
        found[target.name] = proof.verdict
        if proof.trouble:
            changed = f"{CHANGED}: " if after else ""
            raise UserError(f"{target.name}: {changed}{proof.trouble}; test all the same with --no-proof")
    return found


def _write(out: Path, found: Mapping[str, Any]) -> None:
    replace_file(out / "loadtest.json", json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    text = StringIO()
    flat = [{name: value for name, value in level.items() if not isinstance(value, dict)} for level in found["levels"]]
    writer = csv.DictWriter(text, list(dict.fromkeys(name for level in flat for name in level)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    replace_file(out / "loadtest.csv", text.getvalue())
    load_plots(found["levels"], out)
