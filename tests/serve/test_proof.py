"""`harness proof` against the front: its adapters are proven, and raw llama.cpp with a wrong number is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.models.engines.gguf import shape_of, write_adapter
from harness.models.entry import OpenAIModel
from harness.models.http import Transport
from harness.models.proof import FINGERPRINT, prove
from tests.commands.conftest import Command, harness  # noqa: F401  the fixture
from tests.models.llamacpp_server import serving
from tests.models.test_proof import _write_fingerprint
from tests.serve.front import Running, project

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = project(tmp_path_factory.mktemp("proven")).parent
    for number in (1, 2):
        name = f"adapter{number}"
        write_adapter(folder / "adapters" / name, shape_of(folder / "tiny.gguf"), folder / f"{name}.gguf")
    return folder


@pytest.fixture(scope="module")
def raw(folder: Path) -> Iterator[str]:
    """llama.cpp's own server, from which the fingerprint of the first adapter is taken."""
    with serving(folder / "tiny.gguf", [folder / "adapter1.gguf", folder / "adapter2.gguf"]) as address:
        _write_fingerprint(folder / "adapters" / "adapter1", address)
        yield f"{address}/v1"


@pytest.fixture(scope="module")
def front(folder: Path, raw: str) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORA_LEADERBOARD_CACHE", str(folder / "cache"))
        with Running(folder / "models.yaml") as running:
            yield running


def verdict(url: str, model: str, folder: Path, **extra: Any) -> str:
    entry = OpenAIModel(
        backend="openai", base_url=url, model=model, extra=extra, fingerprint=str(folder / "adapters" / "adapter1")
    )

    async def asking() -> str:
        async with Transport() as transport:
            found = await prove(transport, entry, "adapter1")
            assert found is not None
            return found.verdict

    return asyncio.run(asking())


@pytest.mark.parametrize(
    ("model", "expected"), [("adapter1", "proven"), ("tiny", "not applied"), ("adapter2", "another adapter")]
)
def test_each_name_of_the_front_is_known_by_its_first_tokens(
    front: Running, folder: Path, model: str, expected: str
) -> None:
    assert verdict(front.url, model, folder) == expected


def test_raw_llama_cpp_with_a_number_that_is_not_there_is_found_out(raw: str, folder: Path) -> None:
    scales = [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}, {"id": 99, "scale": 1.0}]
    assert verdict(raw, "adapter1", folder, lora=scales) == "not applied"


def test_the_command_proves_the_front(
    front: Running,
    folder: Path,
    tmp_path: Path,
    harness: Command,  # noqa: F811
) -> None:
    entry = {
        "backend": "openai",
        "base_url": front.url,
        "api": "completions",
        "fingerprint": f"{folder}/adapters/adapter1",
    }
    entries = {"right": {**entry, "model": "adapter1"}, "wrong": {**entry, "model": "adapter2"}}
    (tmp_path / "models.yaml").write_text(json.dumps(entries))
    given = ("--models", str(tmp_path / "models.yaml"), "--task", "ag_news", "--tasks", str(ROOT / "tasks"), "--json")
    code, out, _ = harness("proof", *given)
    assert code == 1
    assert {one["model"]: one["verdict"] for one in json.loads(out)} == {"right": "proven", "wrong": "another adapter"}
    assert (folder / "adapters" / "adapter1" / FINGERPRINT).is_file()


@pytest.mark.parametrize(("print_", "said"), [(None, "so nothing is proven"), ("{", "fingerprint.json: Invalid JSON")])
def test_where_nothing_can_be_proven_the_command_does_not_succeed(
    print_: str | None,
    said: str,
    tmp_path: Path,
    harness: Command,  # noqa: F811
) -> None:
    if print_ is not None:
        (tmp_path / FINGERPRINT).write_text(print_)
    entry = {"backend": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m", "fingerprint": str(tmp_path)}
    (tmp_path / "models.yaml").write_text(json.dumps({"m": entry}))
    given = ("--models", str(tmp_path / "models.yaml"), "--task", "ag_news", "--tasks", str(ROOT / "tasks"))
    code, _, err = harness("proof", *given)
    assert (code, said in err) == (2, True)
