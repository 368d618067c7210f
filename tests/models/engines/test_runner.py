"""One base for many models: rows wait for a batch, and each gets its own answer or error."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.models.engines.decoding import DecodedAnswer, Engine, PromptTooLong, Query
from harness.models.engines.runner import Runner, load
from tests.models.engines.engine import Scripted

BATCH = Scripted().batch


@pytest.fixture
def engine() -> Scripted:
    return Scripted({f"row {place}": f"answer {place}" for place in range(100)})


@pytest.fixture
def runner(engine: Scripted) -> Iterator[Runner]:
    found = Runner(lambda: engine)
    yield found
    found.close()


def ask(runner: Runner, *asked: tuple[str | None, Query]) -> list[DecodedAnswer | BaseException]:
    async def asking() -> list[DecodedAnswer | BaseException]:
        return await asyncio.gather(*(runner.ask(*each) for each in asked), return_exceptions=True)

    return asyncio.run(asking())


def texts(answers: list[DecodedAnswer | BaseException]) -> list[str]:
    return [each.text if isinstance(each, DecodedAnswer) else repr(each) for each in answers]


def test_every_row_gets_its_own_answer(runner: Runner) -> None:
    found = ask(runner, *((None, Query(f"row {place}", 20)) for place in range(100)))
    assert texts(found) == [f"answer {place}" for place in range(100)]


def test_rows_that_wait_go_together(runner: Runner, engine: Scripted) -> None:
    ask(runner, *((None, Query(f"row {place}", 20)) for place in range(100)))
    assert [len(prompts) for _, prompts in engine.calls] == [BATCH, BATCH, BATCH, 100 - 3 * BATCH]


def test_a_batch_is_of_one_adapter(runner: Runner, engine: Scripted) -> None:
    asked = [(adapter, Query(f"row {place}", 20)) for place in range(10) for adapter in ("a", None, "b")]
    found = ask(runner, *asked)
    assert texts(found) == [f"answer {place}" for place in range(10) for _ in range(3)]
    assert sorted(map(str, (adapter for adapter, _ in engine.calls))) == ["None", "a", "b"]


def test_a_batch_is_of_rows_with_labels_or_of_rows_without(runner: Runner) -> None:
    found = ask(runner, (None, Query("row 1", 20)), (None, Query("row 2", 20, labels=("yes",))))
    assert texts(found) == ["answer 1", " yes"]


def test_rows_of_a_batch_are_near_in_length(runner: Runner, engine: Scripted) -> None:
    lengths = [1, 60, 2, 59] * BATCH
    ask(runner, *((None, Query("x" * length, 1)) for length in lengths))
    spans = [max(map(len, prompts)) - min(map(len, prompts)) for _, prompts in engine.calls]
    assert max(spans) <= 1


def test_a_prompt_that_is_too_long_fails_alone(runner: Runner) -> None:
    long, short = ask(runner, (None, Query("x" * 99, 4)), (None, Query("row 1", 20)))
    assert isinstance(long, PromptTooLong)
    assert texts([short]) == ["answer 1"]


def test_an_error_reaches_every_row_that_waits() -> None:
    def fail() -> Engine:
        raise UserError("the model 'x' cannot be loaded")

    found = ask(Runner(fail), *((None, Query(f"row {place}", 4)) for place in range(2 * BATCH)))
    assert [str(error) for error in found] == ["the model 'x' cannot be loaded"] * 2 * BATCH
    assert all(isinstance(error, UserError) for error in found)


def test_the_model_is_loaded_once_and_late(engine: Scripted) -> None:
    opened: list[int] = []

    def open_engine() -> Engine:
        opened.append(1)
        return engine

    runner = Runner(open_engine)
    assert not opened
    ask(runner, (None, Query("row 1", 20)))
    ask(runner, (None, Query("row 2", 20)))
    assert opened == [1]


def _held(engine: Scripted) -> tuple[Runner, threading.Event]:
    release = threading.Event()

    def open_engine() -> Engine:
        release.wait(20)
        return engine

    return Runner(open_engine), release


def test_the_loop_is_free_while_the_model_works(engine: Scripted) -> None:
    runner, release = _held(engine)

    async def asking() -> str:
        waiting = asyncio.create_task(runner.ask(None, Query("row 1", 20)))
        await asyncio.sleep(0.01)  # the loop comes back here only if the model does not hold it
        assert not waiting.done()
        release.set()
        return (await waiting).text

    assert asyncio.run(asking()) == "answer 1"


def test_a_row_that_no_longer_waits_troubles_no_other(engine: Scripted) -> None:
    runner, release = _held(engine)

    async def asking() -> str:
        gone = asyncio.create_task(runner.ask(None, Query("row 1", 20)))
        stays = asyncio.create_task(runner.ask(None, Query("row 2", 20)))
        await asyncio.sleep(0.01)
        gone.cancel()
        release.set()
        return (await stays).text

    assert asyncio.run(asking()) == "answer 2"


@pytest.mark.parametrize("name", ["absent", "."])
def test_a_folder_without_a_model_is_a_users_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        load(str(tmp_path / name))
