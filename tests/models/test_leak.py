"""Servers that let one model's answer depend on which was asked before: a fault as it was reported, and llama.cpp."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from harness.hashing import file_sha256
from harness.models.engines.adapter_files import WEIGHTS
from harness.models.entry import OpenAIModel
from harness.models.http import Transport
from harness.models.leak import Leak, leak
from tests.commands.conftest import Command, harness
from tests.models import tiny_gguf
from tests.models.llamacpp_server import serving
from tests.serving import Served

__all__ = ["harness"]
OWN = {"base": -0.1, "a": -1.0, "b": -2.5}
"""The log-probability of the first token that each model would give by itself."""


class Sharing(Served):
    """Keeps the prefix that a prompt left in its cache, and, when it `leaks`, goes on from it for another model."""

    def __init__(self, *, leaks: bool, tells: bool = True) -> None:
        super().__init__()
        self.leaks, self.tells, self.asked = leaks, tells, list[str]()
        self.routes = [web.post("/v1/completions", self.complete)]

    async def complete(self, request: web.Request) -> web.Response:
        """The first token; of a model asked after another one it is half the other's where the cache is shared."""
        name = (await request.json())["model"]
        last = self.asked[-1] if self.asked and self.leaks else name
        self.asked.append(name)
        told = {"content": [{"top_logprobs": [{"token": "x", "logprob": (OWN[name] + OWN[last]) / 2}]}]}
        return web.json_response({"choices": [{"text": "x", "logprobs": told if self.tells else None}]})


def found(server: Sharing) -> Leak:
    async def asking() -> Leak:
        async with Transport() as transport:
            models = {
                name: (OpenAIModel(backend="openai", base_url=f"{server.url}/v1", model=name), "t") for name in OWN
            }
            return await leak(transport, models, "a prompt")

    with server:
        return asyncio.run(asking())


def test_a_shared_cache_is_a_leak() -> None:
    one = found(Sharing(leaks=True))
    assert set(one.leaking) == {"base", "a", "b"}
    assert "the server shares cached prefixes between adapters" in str(one)


def test_models_that_answer_for_themselves_do_not_leak() -> None:
    server = Sharing(leaks=False)
    one = found(server)
    assert (one.leaking, one.apart) == ([], pytest.approx(2.4))
    assert str(one) == "base, a and b answer the same whichever of them was asked before"
    assert server.asked == ["base", "a", "b", "base", "a", "b", "a", "base", "b", "a"]


def test_without_probabilities_nothing_is_told() -> None:
    one = found(Sharing(leaks=True, tells=False))
    assert one.leaking == []
    assert "cannot be told" in str(one)


def test_models_that_answer_alike_tell_nothing() -> None:
    assert "cannot be told" in str(Leak({"a": 0.0, "b": 0.0}, 0.01))


@pytest.fixture(scope="module")
def llamacpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """llama.cpp with two adapters, and their folder."""
    folder = tiny_gguf.write_served(tmp_path_factory.mktemp("models"))
    with serving(folder / "tiny.gguf", [folder / "adapter1.gguf", folder / "adapter2.gguf"]) as address:
        yield f"{address}/v1", folder


def models(address: str, folder: Path) -> dict[str, Any]:
    """A base and two adapters of one server, each with a fingerprint, which is not its own: that is not asked here."""
    made: dict[str, Any] = {}
    for name, scales in (("base", (0, 0)), ("one", (1, 0)), ("two", (0, 1))):
        lora = {"lora": [{"id": number, "scale": scale} for number, scale in enumerate(scales)]}
        made[name] = {"backend": "openai", "base_url": address, "model": "tiny", "extra": lora}
        if name != "base":
            adapter = folder / f"adapter{1 + (name == 'two')}"
            token = [{"token": "x", "logprob": -1}]
            probe = {"prompt": "1, 2, 3, 12,", "adapter": token, "base": token}
            print_ = {"base": "tiny", "weights_sha256": file_sha256(adapter / WEIGHTS), "prompts": [probe]}
            (adapter / "fingerprint.json").write_text(json.dumps(print_))
            made[name] |= {"base": "base", "fingerprint": f"{folder}/adapter{1 + (name == 'two')}"}
    return made


def test_the_command_asks_each_server_after_the_proofs(
    llamacpp: tuple[str, Path], harness: Command, tmp_path: Path
) -> None:
    (tmp_path / "models.yaml").write_text(json.dumps(models(*llamacpp)))
    asked = ("proof", "--models", str(tmp_path / "models.yaml"), "--task", "glue_sst2")
    _, out, err = harness(*asked)
    assert err == ""
    names = "base, one on glue_sst2 and two on glue_sst2"
    assert out.splitlines()[-1] == f"{llamacpp[0]}: {names} answer the same whichever of them was asked before"
    for found in json.loads(harness(*asked, "--json")[1]):
        assert found["leak"]["leaking"] == []
        assert found["leak"]["apart"] > 0.05
