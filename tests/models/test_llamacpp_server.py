"""`backend: openai` against llama.cpp's own server: the same answers as `backend: llamacpp`, and what it believes.

What it does with names it does not know is a trap for every benchmark; a change of it must be noticed here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.models.backend import Reply
from harness.models.engines.decoding import Query
from harness.models.engines.llamacpp import LlamaCpp
from harness.models.entry import OpenAIModel
from harness.models.http import Transport
from harness.models.openai import OpenAIBackend
from tests.models import tiny_gguf
from tests.models.asking import request
from tests.models.llamacpp_server import serving

PROMPTS = ("no abab", "1, 2, 3, 12,", "yes or no?", "The answer:")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write_served(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serving(folder / "tiny.gguf", [folder / "adapter1.gguf", folder / "adapter2.gguf"]) as address:
        yield address


def asked(address: str, model: str, **extra: Any) -> list[Reply]:
    entry = OpenAIModel(backend="openai", base_url=f"{address}/v1", model=model, api="completions", extra=extra)

    async def asking() -> list[Reply]:
        async with Transport() as transport:
            backend = OpenAIBackend(entry, transport)
            return [await backend.ask(request(prompt, max_tokens=12)) for prompt in PROMPTS]

    return asyncio.run(asking())


def scales(*wanted: float) -> dict[str, Any]:
    """Every adapter has to be named, or the last one still acts through the cached prompt."""
    return {"lora": [{"id": number, "scale": scale} for number, scale in enumerate(wanted)]}


@pytest.mark.parametrize("chosen", [None, 1, 2])
def test_base_and_adapters_answer_as_in_this_process(
    address: str, folder: Path, chosen: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LORA_LEADERBOARD_CACHE", str(tmp_path))
    served = asked(address, "tiny", **scales(float(chosen == 1), float(chosen == 2)))
    engine = LlamaCpp(str(folder / "tiny.gguf"), threads=1)
    adapter = str(folder / f"adapter{chosen}") if chosen else None
    local = [asyncio.run(engine.ask(adapter, Query(prompt, 12))) for prompt in PROMPTS]
    engine.close()
    assert [reply.completion for reply in served] == [answer.text for answer in local]
    counts = [(reply.input_tokens, reply.output_tokens, reply.finish_reason) for reply in served]
    assert counts == [(answer.input_tokens, answer.output_tokens, answer.finish) for answer in local]


def test_an_unknown_model_and_an_unknown_adapter_are_answered_by_the_bare_base(address: str) -> None:
    """With status 200, so that a wrong name would be benchmarked as if it were the adapter."""
    base = [reply.completion for reply in asked(address, "tiny", **scales(0, 0))]
    unknown = asked(address, "no-such-model", **scales(0, 0))
    assert [reply.completion for reply in unknown] == base
    absent = asked(address, "tiny", lora=[{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}, {"id": 99, "scale": 1.0}])
    assert [reply.completion for reply in absent] == base
    tuned = [reply.completion for reply in asked(address, "tiny", **scales(1, 0))]
    assert tuned != base
