"""Several models asked one row side by side: each answer as it comes, what it took, and what the metrics say of it.

The models are asked at the address of `harness serve`, scored and priced by the code that scores and prices a bench.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby

from harness.ask.attempts import answer, failure
from harness.ask.prepare import prune_of, request_for
from harness.errors import AskError, UserError
from harness.models.entry import LoraxModel, Model, ModelEntry, OpenAIModel, Thinking, in_batches
from harness.models.events import Body, Event
from harness.models.http import Transport, events_of, post
from harness.models.openai import FORM, OpenAIBackend
from harness.models.prices import price_of, usd_of
from harness.models.remote import ended
from harness.report.page.evidence import judge
from harness.report.words import count, number, small, usd
from harness.rows.evaluation import EvaluationRow
from harness.score.metrics.registry import build_all
from harness.score.scoring import available, score_rows
from harness.secrets import SHORTEST_IN_ANSWERS, masked
from harness.serve.choice import Chosen, served_name
from harness.store.results import Response
from harness.tasks.catalog import TaskFile
from harness.tasks.task import Task

REFRESH_S = 0.1
"""Between two states of the answers, while parts of them arrive."""
LONGEST_S = 180.0
"""That an answer may take, where its entry allows more."""


@dataclass(frozen=True, slots=True)
class ShownModel:
    """A model for one task: its entry, and how the front is asked for it."""

    entry: ModelEntry
    asked: OpenAIModel


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """A model's answer as far as it has come; `response` is None until it is whole.

    `usd` is None where the price is not known, `verdict` what the task's metrics say of it.
    """

    text: str = ""
    response: Response | None = None
    usd: float | None = None
    verdict: str = ""

    @property
    def figures(self) -> str:
        """What it took: seconds, tokens read and written, and USD."""
        found = self.response
        if found is None or found.status == "failed":
            return ""
        first = "" if found.ttft_s is None else f", first token after {small(found.ttft_s)} s"
        tokens = f"{count(found.input_tokens)} tokens in, {count(found.output_tokens)} out"
        return f"{small(found.latency_s)} s{first}\n{tokens}, {usd(self.usd)}"


def candidates(entries: Iterable[ModelEntry], task: str, chosen: Chosen, url: str) -> list[ShownModel]:
    """Return the models that the front at `url` serves for a task."""
    named = ((entry, served_name(entry, task, chosen)) for entry in entries)
    return [ShownModel(entry, _behind(entry.model, name, url)) for entry, name in named if name is not None]


def _behind(model: Model, name: str, url: str) -> OpenAIModel:
    """How the front is asked for a model; it adds the entry's key, headers and `extra` by itself."""
    settings = {"max_tokens": getattr(model, "max_tokens", None), "api": getattr(model, "api", "chat")}
    if isinstance(model, OpenAIModel | LoraxModel):
        settings |= {"temperature": model.temperature, "omit": model.omit, "system": model.system}
    if isinstance(model, LoraxModel) and model.api != "chat":
        # There LoRAX rejects a temperature of 0, and is greedy unless `n` is given.
        greedy = {"omit": [*model.omit, "temperature"]}
        settings |= {"api": "completions", **({"extra": {"n": 1}} if model.temperature else greedy)}
    return OpenAIModel.model_validate({"backend": "openai", "base_url": url, "model": name, **settings})


def written_row(example: EvaluationRow, prompt: str, gold: str) -> EvaluationRow:
    """Return the row that a user has made of an example by changing its prompt, its right answer or both.

    The right answer of an example is none to another prompt: it counts only where the prompt is unchanged, or where the
    user has written another one.
    """
    same = _lines(prompt) == _lines(example.prompt)
    if _lines(gold) == _lines(right_answer(example)):
        if same:
            return example
        gold = ""
    references = (gold,) if gold.strip() else ()
    made = replace(example, id="written", references=references)
    return made if same else replace(made, prompt=prompt, messages=())


def right_answer(row: EvaluationRow) -> str:
    """The right answers of a row, as one text."""
    return " | ".join(row.references)


def _lines(text: str) -> str:
    """A text with the line ends that a browser gives it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


async def side_by_side(
    asked: Sequence[ShownModel], file: TaskFile, row: EvaluationRow, transport: Transport
) -> AsyncGenerator[list[ShownAnswer], None]:
    """Ask models a row of a task; yield the state of all their answers, in their order, until they are whole.

    Models of one endpoint are asked one after another, so that none waits for another within its latency.
    """
    began: dict[str, Body] = {}
    whole: dict[str, ShownAnswer] = {}

    async def in_turn(group: Sequence[ShownModel]) -> None:
        for one in group:
            whole[one.entry.name] = await _ask(one, file, row, transport, began)

    by_endpoint = groupby(sorted(asked, key=lambda one: one.entry.endpoint), key=lambda one: one.entry.endpoint)
    tasks = [asyncio.create_task(in_turn(list(group))) for _, group in by_endpoint]
    try:
        waiting = set(tasks)
        while waiting:
            _, waiting = await asyncio.wait(waiting, timeout=REFRESH_S)
            yield [whole.get(one.entry.name) or ShownAnswer(_text_of(one, began)) for one in asked]
        for task in tasks:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ask(
    one: ShownModel, file: TaskFile, row: EvaluationRow, transport: Transport, began: dict[str, Body]
) -> ShownAnswer:
    entry, model = one.entry, one.asked
    secrets = entry.model.secrets
    request = request_for(file, row)
    started = time.monotonic()
    try:
        request = request_for(file, row, prune=prune_of(entry, file.name))
        front = OpenAIBackend(model, transport)
        sent = {**front.sent(request), **FORM.streamed}
        read = FORM.readers(secrets)._replace(begun=lambda body: began.update({entry.name: body}))
        async with asyncio.timeout(limit := min(entry.model.timeout, LONGEST_S)):
            reply = await post(transport, front.url, sent, read, None, secrets, streamed=True)
    except TimeoutError:
        return ShownAnswer(
            verdict=f"no answer within {limit:g} s", response=failure("", request, TimeoutError(), attempts=1)
        )
    except (AskError, UserError) as error:
        return ShownAnswer(verdict=f"no answer: {error}", response=failure("", request, error, attempts=1))
    seconds = round(time.monotonic() - started, 6)
    found = answer("", request, ended(reply, request, model), latency_s=seconds, attempts=1)
    found = replace(found, completion=masked(found.completion, secrets, SHORTEST_IN_ANSWERS))
    said = await asyncio.to_thread(verdict, file.task, row, found, entry.model.thinking)
    return ShownAnswer(found.completion, found, _usd(entry.model, file.name, found), said)


def _usd(model: Model, task: str, response: Response) -> float | None:
    direct = model.model_copy(update={"batch": False}) if in_batches(model) else model
    return usd_of(price_of(direct, task), [response])


def _text_of(one: ShownModel, began: dict[str, Body]) -> str:
    """What has arrived of an answer so far."""
    with suppress(AskError):  # which the whole answer will meet, too
        if body := began.get(one.entry.name):
            said = FORM.readers().parts([*events_of(body), Event(0.0, {}, done=True)]).completion
            return masked(said, one.entry.model.secrets, SHORTEST_IN_ANSWERS)
    return ""


def verdict(task: Task, row: EvaluationRow, response: Response, thinking: Thinking | None = None) -> str:
    """Return in words what a task's metrics say of one answer, those left out that say nothing of a row alone."""
    if not row.references:
        return "not scored: there is no right answer to compare it with"
    try:
        metrics = build_all(task.metrics, task.answer)
        scores = score_rows(task, metrics, [(row, (response,))], thinking)
        metrics = available(metrics, scores)
    except UserError as error:
        return f"not scored: {error}"
    chosen, _, binary = judge(task, metrics, scores)
    shown = {metric.name: metric for metric in metrics if metric.name == chosen or metric.kind != "corpus"}
    said = [] if (status := scores.statuses[0]) == "ok" else [str(status)]
    for name, metric in {chosen: shown[chosen], **shown}.items():
        (own,) = scores.of_each(metric)
        if own is not None and binary and name == chosen:
            said.append(f"{'right' if own else 'wrong'} by {name}")
        elif own is not None:
            said.append(f"{name} {number(own)}{'' if metric.higher_is_better else ' (lower is better)'}")
    return ", ".join(said) or f"{chosen} says nothing of a row alone"
