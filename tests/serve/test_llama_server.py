"""Slots: an adapter keeps its own, and goes on from what it has read itself only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.serve import memory
from harness.serve.llama_server import BASE, NATIVE, LlamaServer, Sizes, Slots
from tests.models import tiny_gguf

ORDERS = st.lists(st.sampled_from("abcdefg"), max_size=40)


@given(st.integers(1, 8), ORDERS)
def test_no_two_adapters_have_a_slot_at_once(number: int, order: list[str]) -> None:
    slots, owners = Slots(number), dict[int, str]()
    for name in order:
        slot, fresh = slots.take(name)
        assert 0 <= slot < number
        assert fresh == (owners.get(slot) != name)
        owners[slot] = name


@given(ORDERS)
def test_with_a_slot_for_each_none_is_ever_given_away(order: list[str]) -> None:
    slots = Slots(7)
    found = [(name, *slots.take(name)) for name in order]
    assert len({(name, slot) for name, slot, _ in found}) == len(set(order))
    assert sum(fresh for _, _, fresh in found) == len(set(order))


@pytest.fixture
def adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setenv("LORA_LEADERBOARD_CACHE", str(tmp_path / "cache"))
    tiny_gguf.write_base(tmp_path / "tiny.gguf")
    return {f"a{seed}": tiny_gguf.write_adapter(tmp_path / f"a{seed}", seed=seed) for seed in (1, 2, 3)}


def running(adapters: dict[str, Path], slots: int, work: Callable[[LlamaServer], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        base = str(next(iter(adapters.values())).parent / "tiny.gguf")
        async with LlamaServer(base, adapters, Sizes(slots), 1, print) as server:
            return await work(server)

    return asyncio.run(run())


async def read(server: LlamaServer, adapter: str) -> tuple[str, int]:
    """An adapter's answer, and how many tokens of the prompt it did not read because they were cached."""
    body = {"prompt": "no abab 1, 2, 3, 12,", "n_predict": 6, "temperature": 0}
    found = await server.ask(adapter, NATIVE, body)
    return found["content"], found["timings"]["cache_n"]


def test_an_adapter_goes_on_from_its_own_prompt_and_from_no_others(adapters: dict[str, Path]) -> None:
    order = [BASE, "a1", "a2", BASE, "a1", "a2"]

    async def work(server: LlamaServer) -> list[tuple[str, int]]:
        return [await read(server, name) for name in order]

    own = running(adapters, 4, work)
    assert [cached > 0 for _, cached in own] == [False] * 3 + [True] * 3
    shared = running(adapters, 1, work)  # one slot, which each takes from the one before
    assert [cached for _, cached in shared] == [0] * 6
    assert [text for text, _ in own] == [text for text, _ in shared]
    assert len({text for text, _ in own}) == 3


def test_switches_are_counted(adapters: dict[str, Path]) -> None:
    async def work(server: LlamaServer) -> int:
        for name in ("a1", "a1", "a2", "a1"):
            await read(server, name)
        return server.switches

    assert running(adapters, 2, work) == 3


def test_more_than_there_is_memory_for_is_said_before_it_is_loaded(
    adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_available", lambda: 1_000_000)

    async def work(server: LlamaServer) -> None:
        raise AssertionError("it was loaded")

    with pytest.raises(UserError, match=r"with 3 adapters and 5 slots of 512 tokens needs about 15\d MB .*, and 1 MB"):
        running(adapters, 5, work)


def test_one_more_than_there_is_memory_for_is_refused_and_the_others_answer_on(
    adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def work(server: LlamaServer) -> str:
        before = (await read(server, "a1"))[0]
        monkeypatch.setattr(memory, "memory_available", lambda: 0)
        with pytest.raises(UserError, match="with 4 adapters and 2 slots of 512 tokens needs about"):
            await server.load("more", tiny_gguf.write_adapter(tmp_path / "more"))
        assert (await read(server, "a1"))[0] == before
        await server.unload("a3")
        return ", ".join(server.adapters)

    assert running(adapters, 2, work) == "a1, a2"


def test_an_adapter_of_another_base_is_refused_before_llama_cpp_sees_it(
    adapters: dict[str, Path], tmp_path: Path
) -> None:
    async def work(server: LlamaServer) -> None:
        raise AssertionError("it was loaded")

    deeper = tiny_gguf.write_adapter(tmp_path / "deeper", layers=3)
    with pytest.raises(UserError, match="has a weight that its base has no layer for"):
        running({**adapters, "deeper": deeper}, 2, work)
