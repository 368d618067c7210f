"""Models asked one row side by side, through a real front, as `harness bench` asks and scores them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import api
from harness.ask.prepare import open_backend, prepare_rows, request_for
from harness.models.connect import Connections
from harness.models.entry import ModelEntry, load_models
from harness.models.http import Transport
from harness.models.openai import FORM
from harness.rows.evaluation import EvaluationRow
from harness.serve.choice import choose
from harness.serve.side_by_side import ShownAnswer, ShownModel, candidates, side_by_side, verdict, written_row
from harness.store.results import Response, read_manifests, read_responses
from harness.tasks.catalog import TaskFile, load_task
from tests.loopback import Fault, Loopback, always, error, healthy
from tests.loopback_vendors import KEY as ANTHROPIC_KEY
from tests.loopback_vendors import AnthropicServer
from tests.serve import contest
from tests.serve.front import Running, wait_for

TASKS = ("colours", "stories")
CHAT = {"backend": "openai", "model": "m", "api_key": contest.KEY}
LORAX = {"backend": "lorax", "adapter": "{task}-lora"}
OTHERS: dict[str, dict[str, Any]] = {
    "brief": {**CHAT, "system": "Be brief.", "max_tokens": 9, "max_tokens_key": "max_completion_tokens"},
    "picky": {**CHAT, "omit": ["temperature", "stop"], "extra": {"top_p": 0.5}, "model": "{task}-tuned"},
    "plain": {**CHAT, "api": "completions", "temperature": 0.7, "headers": {"X-Team": "us"}},
    "told": {**LORAX, "api": "chat", "system": "Be brief."},
    "warm": {**LORAX, "api": "completions", "temperature": 0.7},
    "cold": {**LORAX, "api": "completions"},
}


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


@pytest.fixture(scope="module")
def folder(server: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("contest")
    others = {"other": LORAX, **OTHERS}
    place = {"openai": server.openai_url, "lorax": server.url}
    contest.write(
        made, server, **{name: {**entry, "base_url": place[entry["backend"]]} for name, entry in others.items()}
    )
    return made


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[Running]:
    with Running(folder / "models.yaml", models=("tiny", "tuned", "served", "other", *OTHERS), tasks=TASKS) as running:
        yield running


@pytest.fixture
def loopback(server: Loopback) -> Loopback:
    """The server behind the entries `served` and `other`, which answers yes."""
    server.plan, server.answer, server.latency, server.pause, server.peak = healthy, lambda prompt: "yes", 0.0, 0.0, 0
    return server


def task_and_rows(folder: Path, name: str = "colours") -> tuple[TaskFile, tuple[EvaluationRow, ...]]:
    file = load_task(folder / "tasks", name)
    return file, prepare_rows(file, "sample", 0)[1]


def asked_of(folder: Path, front: Running, names: Sequence[str], task: str = "colours") -> list[ShownModel]:
    entries = load_models(folder / "models.yaml", names, os.environ)
    return candidates(entries, task, choose(folder / "models.yaml", names, None, TASKS), front.url)


def states(asked: Sequence[ShownModel], file: TaskFile, row: EvaluationRow) -> list[list[ShownAnswer]]:
    async def collect() -> list[list[ShownAnswer]]:
        async with Transport(direct=True) as transport:
            return [state async for state in side_by_side(asked, file, row, transport)]

    return asyncio.run(collect())


def ask_directly(entry: ModelEntry, file: TaskFile, row: EvaluationRow) -> None:
    """Ask a model as `harness bench` does."""

    async def ask() -> None:
        async with Connections() as connections:
            prepared = prepare_rows(file, "sample", 0)[0]
            await open_backend(connections, prepared, entry).ask(request_for(file, row))

    asyncio.run(ask())


def test_an_answer_its_tokens_and_its_score_are_those_of_bench(
    folder: Path, front: Running, loopback: Loopback
) -> None:
    loopback.answer = lambda prompt: "green, I think" if "thing 4" in prompt else "red"
    names = ("tiny", "tuned", "served", "other")
    results = folder / "results"
    api.bench(
        ("colours",), names, data="sample", tasks_folder=folder / "tasks", models_file=folder / "models.yaml",
        results=results, say=lambda line: None,
    )  # fmt: skip
    recorded = {
        run.model: {line.row: line for line in read_responses(results / "colours" / run.model)}
        for run in read_manifests(results)
    }
    file, rows = task_and_rows(folder)
    asked = asked_of(folder, front, names)
    for row in rows:
        for one, found in zip(asked, states(asked, file, row)[-1], strict=True):
            line = recorded[one.entry.name][row.id]
            assert found.response is not None
            assert (found.text, found.response.status) == (line.completion, line.status)
            assert found.response.output_tokens == line.output_tokens
            assert found.verdict == verdict(file.task, row, line)
    assert {found.verdict for found in states(asked[2:3], file, rows[0])[-1]} <= {
        "right by accuracy",
        "wrong by accuracy",
    }


@pytest.mark.parametrize("name", OTHERS)
def test_a_server_is_sent_what_bench_sends_it(folder: Path, front: Running, loopback: Loopback, name: str) -> None:
    file, rows = task_and_rows(folder)
    (found,) = states(asked_of(folder, front, (name,)), file, rows[0])[-1]
    assert found.text == "yes"
    through_the_front = loopback.received[-1]

    ask_directly(load_models(folder / "models.yaml", (name,), os.environ)[0], file, rows[0])
    by_bench = loopback.received[-1]
    assert through_the_front.path == by_bench.path
    assert through_the_front.body == by_bench.body | FORM.streamed
    kept = [
        {name.lower(): value for name, value in one.headers.items() if name.lower() in ("authorization", "x-team")}
        for one in (through_the_front, by_bench)
    ]
    assert kept[0] == kept[1]


def test_a_vendor_without_the_interface_of_openai_is_asked_as_bench_asks_it(folder: Path) -> None:
    with AnthropicServer() as vendor:
        claude = {"backend": "anthropic", "base_url": vendor.url, "model": "c", "api_key": ANTHROPIC_KEY}
        given = {**claude, "system": "Be brief.", "omit": ["temperature"], "price": {"input": 1000, "output": 1000}}
        models_file = folder / "vendors.yaml"
        models_file.write_text(json.dumps({"claude": given}))
        file, rows = task_and_rows(folder)
        entries = load_models(models_file, (), os.environ)
        with Running(models_file, models=("claude",), tasks=TASKS) as running:
            chosen = choose(models_file, ("claude",), None, TASKS)
            (found,) = states(candidates(entries, "colours", chosen, running.url), file, rows[0])[-1]
        ask_directly(entries[0], file, rows[0])
    (_, through_the_front), (_, directly) = vendor.received
    assert through_the_front == directly
    assert (found.text, found.usd) == ("yes", pytest.approx(0.009))


def test_time_tokens_and_cost_are_told(folder: Path, front: Running, loopback: Loopback) -> None:
    file, rows = task_and_rows(folder)
    (tiny, served) = states(asked_of(folder, front, ("tiny", "served")), file, rows[0])[-1]
    assert served.response is not None
    prompt = len(rows[0].prompt.split())
    assert served.usd == pytest.approx((prompt * 1 + 1 * 2) / 1e6)
    assert f"{prompt} tokens in, 1 out, <0.001 USD" in served.figures
    assert "first token after" in tiny.figures
    assert tiny.figures.endswith("cost not known")


def test_an_answer_is_seen_as_it_comes(folder: Path, front: Running, loopback: Loopback) -> None:
    loopback.answer, loopback.pause = lambda prompt: "there was once a thing", 0.25
    file, rows = task_and_rows(folder, "stories")
    texts = [state[0].text for state in states(asked_of(folder, front, ("served",), "stories"), file, rows[0])]
    assert {"there was", "there was once"} < set(texts)
    assert texts == sorted(texts, key=len)
    assert texts[-1] == "there was once a thing"


def test_models_of_one_server_do_not_wait_for_each_other_within_their_time(
    folder: Path, front: Running, loopback: Loopback
) -> None:
    loopback.latency = 0.05
    file, rows = task_and_rows(folder)
    served = asked_of(folder, front, ("served",))[0]
    twice = [served, ShownModel(replace(served.entry, name="again"), served.asked)]
    assert [found.text for found in states(twice, file, rows[0])[-1]] == ["yes", "yes"]
    assert loopback.peak == 1


def test_a_failure_is_told_beside_the_answers_of_others_and_holds_no_key(
    folder: Path, front: Running, loopback: Loopback
) -> None:
    loopback.plan = lambda prompt, attempt: error(400, f"the key {contest.KEY} has no access to m")
    file, rows = task_and_rows(folder)
    tiny, served = states(asked_of(folder, front, ("tiny", "served")), file, rows[0])[-1]
    assert tiny.text
    assert served.verdict == "no answer: HTTP 400: the key *** has no access to m"
    assert (served.text, served.figures) == ("", "")


def test_an_answer_that_repeats_the_key_does_not_show_it(folder: Path, front: Running, loopback: Loopback) -> None:
    loopback.answer, loopback.pause = lambda prompt: f"red {contest.KEY} and more words", 0.15
    file, rows = task_and_rows(folder, "stories")
    shown = states(asked_of(folder, front, ("served",), "stories"), file, rows[0])
    assert shown[-1][0].text == "red *** and more words"
    assert not any(contest.KEY in state[0].text for state in shown)


@pytest.mark.parametrize("plan", [always("error"), always("drop"), lambda prompt, attempt: Fault(body="data: {x}\n\n")])
def test_a_server_that_fails_gives_a_reason(folder: Path, front: Running, loopback: Loopback, plan: object) -> None:
    loopback.plan = plan  # type: ignore[assignment]
    file, rows = task_and_rows(folder)
    (served,) = states(asked_of(folder, front, ("served",)), file, rows[0])[-1]
    assert served.verdict.startswith("no answer: ")


def test_who_leaves_ends_the_requests(folder: Path, front: Running, loopback: Loopback) -> None:
    loopback.plan = always("hang")
    file, rows = task_and_rows(folder)

    async def leave() -> None:
        async with Transport(direct=True) as transport:
            shown = side_by_side(asked_of(folder, front, ("served",)), file, rows[0], transport)
            await anext(shown)
            await asyncio.sleep(0.3)
            assert loopback._in_flight == 1
            await shown.aclose()

    asyncio.run(leave())
    wait_for(lambda: loopback._in_flight == 0)


def test_the_proxy_of_the_environment_is_not_asked_for_this_process(
    folder: Path, front: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, rows = task_and_rows(folder)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    (tiny,) = states(asked_of(folder, front, ("tiny",)), file, rows[0])[-1]
    assert tiny.response is not None
    assert tiny.response.error is None


def test_a_model_without_an_adapter_for_the_task_is_left_out(folder: Path, front: Running) -> None:
    names = ("tiny", "tuned", "other")
    assert [one.entry.name for one in asked_of(folder, front, names, "colours")] == ["tiny", "tuned", "other"]
    assert [one.entry.name for one in asked_of(folder, front, names, "stories")] == ["tiny", "other"]


def test_lorax_is_asked_for_the_tasks_adapter_greedily(folder: Path, front: Running, loopback: Loopback) -> None:
    file, rows = task_and_rows(folder)
    states(asked_of(folder, front, ("other",)), file, rows[0])
    sent = loopback.received[-1]
    assert (sent.path, sent.body["model"], sent.body["max_tokens"]) == ("/v1/completions", "colours-lora", 4)
    assert "temperature" not in sent.body


EXAMPLE = EvaluationRow("1", "Which\r\ncolour?", ("red", "crimson"), {"shelf": 1})


@pytest.mark.parametrize(
    ("prompt", "gold", "references"),
    [
        ("Which\ncolour?", "red | crimson", ("red", "crimson")),
        ("Which\ncolour?", "blue", ("blue",)),
        ("Which\ncolour?", " ", ()),
        ("Which sound?", "red | crimson", ()),
        ("Which sound?", "loud", ("loud",)),
        ("Which sound?", "", ()),
    ],
)
def test_the_right_answer_of_an_example_is_none_to_another_prompt(
    prompt: str, gold: str, references: tuple[str, ...]
) -> None:
    made = written_row(EXAMPLE, prompt, gold)
    assert made.references == references
    assert made.prompt == (EXAMPLE.prompt if prompt == "Which\ncolour?" else prompt)
    assert (made is EXAMPLE) == (references == EXAMPLE.references)


@pytest.mark.parametrize(
    ("task", "references", "status", "completion", "said"),
    [
        ("colours", ("red",), "ok", "Red.", "right by accuracy"),
        ("colours", ("red",), "ok", "blue", "wrong by accuracy"),
        ("colours", ("red",), "ok", "none of them", "unparsed, wrong by accuracy"),
        ("colours", ("red",), "refused", "I will not", "refused, wrong by accuracy"),
        ("colours", (), "ok", "red", "not scored: there is no right answer to compare it with"),
        ("colours", ("pink",), "ok", "red", "not scored: row 1: a right answer is not a valid label"),
        ("stories", ("there was once a cat",), "ok", "there was once a dog", "rouge_l 0.800"),
    ],
)
def test_the_metrics_of_the_task_give_the_verdict(
    folder: Path, task: str, references: tuple[str, ...], status: str, completion: str, said: str
) -> None:
    row = EvaluationRow("1", "?", references, {})
    response = Response("", "1", status, completion)  # type: ignore[arg-type]
    assert verdict(load_task(folder / "tasks", task).task, row, response).startswith(said)
