"""`harness models --check`: a server that is there, one that is not, one that lacks the model."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import httpx

from harness.models.entry import AnthropicModel, BaselineModel, LoraxModel, Model, OpenAIModel
from harness.models.http import Transport
from harness.models.ping import ping
from tests.commands.conftest import Command
from tests.commands.conftest import harness as harness  # the fixture


def answered(model: Model, handler: Any) -> str | None:
    """What `ping` says of a server that answers like this."""
    return asyncio.run(ping(httpx.MockTransport(handler), model))


def listed(*names: str) -> Any:
    return lambda request: httpx.Response(200, json={"data": [{"id": name} for name in names]})


def openai(**settings: Any) -> OpenAIModel:
    return OpenAIModel(**{"backend": "openai", "model": "m", "base_url": "http://server/v1", **settings})


def test_a_server_that_has_the_model_answers() -> None:
    assert str(answered(openai(), listed("m", "other"))).startswith("answers in 0.")
    assert str(answered(openai(model="{task}"), listed("jigsaw"))).startswith("answers in 0.")


def test_the_key_is_sent() -> None:
    def only_with_key(request: httpx.Request) -> httpx.Response:
        known = request.headers.get("authorization") == "Bearer k" or request.headers.get("x-api-key") == "k"
        return httpx.Response(200 if known else 401, json={"data": []})

    for model in (openai(api_key="k"), AnthropicModel(backend="anthropic", model="c", api_key="k")):
        assert str(answered(model, only_with_key)).startswith("answers in")
    assert "HTTP 401" in str(answered(openai(), only_with_key))


def test_a_wrong_model_names_the_nearest() -> None:
    assert answered(openai(model="llama-3"), listed("llama-3.1", "qwen")) == (
        "has no model 'llama-3' (did you mean 'llama-3.1'?)"
    )


def test_a_base_url_without_its_version_is_said() -> None:
    said = answered(openai(base_url="http://server"), lambda request: httpx.Response(404, json={"detail": "Not Found"}))
    assert said == "HTTP 404: Not Found (asked for /models; base_url usually ends with /v1)"
    page = answered(openai(base_url="http://server"), lambda request: httpx.Response(200, text="<html>"))
    assert str(page).endswith("but not with a list of models: does base_url end with /v1?")


def test_lorax_is_asked_for_its_health() -> None:
    paths: list[str] = []

    def healthy(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(200)

    assert str(answered(LoraxModel(backend="lorax", base_url="http://server"), healthy)).startswith("answers in")
    assert paths == ["/health"]


def test_a_model_without_a_server_is_not_asked() -> None:
    assert answered(BaselineModel(backend="baseline", method="majority"), listed()) is None


def test_nothing_listens() -> None:
    async def asking() -> str | None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound but not listening: connecting is refused
            async with Transport() as transport:
                return await ping(transport, openai(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1"))

    assert "nothing listens there: is the server running" in str(asyncio.run(asking()))


def test_the_command_shows_what_each_server_answers(harness: Command, tmp_path: Path) -> None:
    models = tmp_path / "models.yaml"
    models.write_text(
        "gone: {backend: openai, base_url: 'http://127.0.0.1:9/v1', model: m}\n"
        "keyless: {backend: openai, model: m, api_key: '${NO_SUCH_KEY}'}\n"
        "majority: {backend: baseline, method: majority}\n"
    )
    code, out, _ = harness("models", "--models", str(models), "--check", "--json")
    found = {row["name"]: row["check"] for row in json.loads(out)}
    assert code == 0
    assert "nothing listens there" in found["gone"]
    assert found["keyless"] is found["majority"] is None
