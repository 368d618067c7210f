"""Whether a server applies an adapter: llama.cpp's own server, right and wrong, beside the adapter's fingerprint."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from harness.ask.run import bench
from harness.errors import DataError
from harness.hashing import file_sha256
from harness.models import proof
from harness.models.engines.adapter_files import WEIGHTS
from harness.models.entry import BaselineModel, LoraxModel, OpenAIModel
from harness.models.http import Transport
from harness.models.proof import FINGERPRINT, Proof, distance, prove, read_fingerprint
from harness.report.page.sources import proofs
from harness.store.results import read_manifests
from tests.loopback import Loopback
from tests.models import tiny_gguf
from tests.models.llamacpp_server import serving
from tests.runs import ROWS, Small
from tests.serving import Served

PROMPTS = ("no abab", "1, 2, 3, 12,", "yes or no?", "The answer:", "ab ab", "yes yes no", "12 1 2", "a b n o")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write_served(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serving(folder / "tiny.gguf", [folder / "adapter1.gguf", folder / "adapter2.gguf"]) as address:
        _write_fingerprint(folder / "adapter1", address)
        yield f"{address}/v1"


def _entry(address: str, *scales: float, **settings: Any) -> OpenAIModel:
    lora = {"lora": [{"id": number, "scale": scale} for number, scale in enumerate(scales)]}
    return OpenAIModel(backend="openai", base_url=address, model="tuned", extra=lora, **settings)


def _write_fingerprint(adapter: Path, address: str) -> None:
    """As `write_fingerprint` does with torch, from llama.cpp."""

    async def sides() -> list[dict[str, Any]]:
        async with Transport() as transport:
            found = []
            for prompt in PROMPTS:
                probe: dict[str, Any] = {"prompt": prompt}
                for side, scales in (("adapter", (1, 0)), ("base", (0, 0))):
                    seen = await proof.first_tokens(transport, _entry(f"{address}/v1", *scales), "t", prompt)
                    probe[side] = [{"token": token, "logprob": logprob} for token, logprob in seen.items()]
                if probe["adapter"] and probe["base"]:  # llama.cpp tells nothing where the answer ends at once
                    found.append(probe)
            assert len(found) >= 5
            return found

    made = {"base": "tiny", "weights_sha256": file_sha256(adapter / WEIGHTS), "prompts": asyncio.run(sides())}
    (adapter / FINGERPRINT).write_text(json.dumps(made))


def _proof(model: Any) -> Proof | None:
    async def asking() -> Proof | None:
        async with Transport() as transport:
            return await prove(transport, model, "adapter1")

    return asyncio.run(asking())


@pytest.mark.parametrize(
    ("scales", "verdict"),
    [
        ((1, 0), "proven"),
        ((0, 0), "not applied"),
        ((), "not applied"),  # a name or a number that llama.cpp does not know, and answers from the base
        ((0, 1), "another adapter"),
        ((0.8, 0), "another version or scale"),
    ],
)
def test_what_a_server_applies_is_told_by_its_first_tokens(
    scales: tuple[float, ...], verdict: str, address: str, folder: Path
) -> None:
    found = _proof(_entry(address, *scales, fingerprint=f"{folder}/{{task}}"))
    assert found is not None
    assert found.verdict == verdict, found
    assert found.noise == pytest.approx(0, abs=1e-3)
    assert found.apart is not None
    assert found.apart > 0.5


def test_a_model_without_a_fingerprint_has_no_proof(address: str) -> None:
    assert _proof(_entry(address, 1, 0)) is None
    assert _proof(BaselineModel(backend="baseline", method="majority")) is None


def test_a_server_without_log_probabilities_leaves_it_unknown(loopback: Loopback, address: str, folder: Path) -> None:
    of_openai = OpenAIModel(
        backend="openai", base_url=loopback.openai_url, model="m", fingerprint=str(folder / "adapter1")
    )
    of_lorax = LoraxModel(backend="lorax", base_url=loopback.url, adapter="a", fingerprint=str(folder / "adapter1"))
    for model in (of_openai, of_lorax):
        found = _proof(model)
        assert found is not None
        assert (found.verdict, found.to_adapter) == ("unknown", None)
        assert "does not tell the probabilities" in str(found)


def test_a_server_that_does_not_answer_in_time_leaves_it_unknown(
    loopback: Loopback, address: str, folder: Path
) -> None:
    loopback.latency = 1.0
    found = _proof(_entry(loopback.openai_url, 1, 0, timeout=0.1, fingerprint=str(folder / "adapter1")))
    assert str(found) == "unknown: the server does not tell the probabilities of its tokens within 0.1 s"


def test_a_missing_or_malformed_fingerprint_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"fingerprint.json does not exist; make it with `harness proof --make"):
        read_fingerprint(tmp_path)
    (tmp_path / FINGERPRINT).write_text('{"base": "b", "weights_sha256": "0", "prompts": [{"prompt": "p"}]}')
    with pytest.raises(DataError, match=r"fingerprint.json: prompts.0.adapter: Field required"):
        read_fingerprint(tmp_path)
    (tmp_path / FINGERPRINT).write_text("{")
    with pytest.raises(DataError, match=r"fingerprint.json: Invalid JSON"):
        read_fingerprint(tmp_path)


def test_a_fingerprint_of_other_weights_than_those_beside_it_is_refused(tmp_path: Path) -> None:
    token = [{"token": "x", "logprob": -1}]
    probe = {"prompt": "p", "adapter": token, "base": token}
    tiny_gguf.write_adapter(tmp_path, seed=1)
    print_ = {"base": "b", "weights_sha256": file_sha256(tmp_path / WEIGHTS), "prompts": [probe]}
    (tmp_path / FINGERPRINT).write_text(json.dumps(print_))
    assert read_fingerprint(tmp_path).base == "b"
    tiny_gguf.write_adapter(tmp_path, seed=2)
    with pytest.raises(DataError, match=r"fingerprint.json is of other weights than adapter_model.safetensors"):
        read_fingerprint(tmp_path)
    (tmp_path / WEIGHTS).unlink()  # only the fingerprint was copied here
    assert read_fingerprint(tmp_path).base == "b"


def test_tokens_that_were_not_told_count_as_the_least_likely() -> None:
    assert distance([{"a": -1.0, "b": -2.0}], [{"a": -1.0, "b": -2.0}]) == 0
    assert distance([{"a": -1.0, "b": -2.0}], [{"a": -1.5, "c": -4.0}]) == pytest.approx((0.5 + 2.0) / 2)
    assert distance([{"a": -1.0}], [{"a": -30.0}]) == proof.MOST_APART


@pytest.mark.parametrize(
    ("apart", "seen", "verdict"),
    [
        (3.0, 0.05, "proven"),
        (3.0, 0.4, "proven, not exact"),
        (3.0, 0.6, "another version or scale"),
        (3.0, 2.9, "not applied"),
        (3.0, -4.0, "another adapter"),
        # A short training leaves adapter and base close together, and two engines differ by a tenth of a nat.
        (0.46, 0.1, "proven, not exact"),
        (0.46, 0.23, "another version or scale"),
        (0.46, 0.44, "not applied"),
        (0.2, 0.1, "another version or scale"),
    ],
)
def test_the_verdict_is_by_the_share_of_the_distance_to_the_base(apart: float, seen: float, verdict: str) -> None:
    """The log-probability of one token: -5 of the adapter, `apart` more of the base, `seen` more of what answers."""
    sides = {"adapter": [{"token": "x", "logprob": -5.0}], "base": [{"token": "x", "logprob": -5.0 + apart}]}
    print_ = proof.Fingerprint(base="b", weights_sha256="0", prompts=[{"prompt": "p", **sides}])  # type: ignore[list-item]
    told = [{"x": -5.0 + seen}]
    assert proof.judge(print_, told, told).verdict == verdict


class TestBeforeABench:
    """A wrong adapter is found out before its rows are asked, and the other models are asked all the same."""

    @pytest.fixture
    def small(self, tmp_path: Path, address: str, folder: Path) -> Small:
        small = Small(tmp_path)
        for name, scales in (("right", (1, 0)), ("wrong", (0, 0))):
            lora = [{"id": number, "scale": scale} for number, scale in enumerate(scales)]
            small.model(name, address, fingerprint=str(folder / "adapter1"), extra={"lora": lora}, concurrency=1)
        return small

    def test_only_what_is_proven_is_asked(self, small: Small) -> None:
        said: list[str] = []
        bench(replace(small.options, rows=4), said.append)
        assert any(line.startswith("right on small: proven: 0.00 nats from its fingerprint") for line in said)
        (gave_up,) = [line for line in said if line.startswith("gave up")]
        assert gave_up.startswith("gave up wrong on small: not applied: the server answers as the base does, or")
        runs = {run.model: run for run in read_manifests(small.results)}
        assert (runs["right"].asked, runs["wrong"].asked) == (4, 0)
        assert [run.proof and run.proof["verdict"] for run in (runs["right"], runs["wrong"])] == [
            "proven",
            "not applied",
        ]

    def test_without_the_proof_both_are_asked(self, small: Small) -> None:
        runs = small.bench(rows=4, proof=False)
        assert [(run.asked, run.proof) for run in runs] == [(4, None), (4, None)]

    def test_nothing_is_proven_when_nothing_is_left_to_ask(self, small: Small) -> None:
        small.bench(rows=4, proof=False)
        said: list[str] = []
        bench(replace(small.options, rows=4), said.append)
        assert not [line for line in said if "fingerprint" in line]
        assert ROWS > 4


@pytest.mark.local
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_fingerprint_taken_with_torch_is_that_of_llama_cpp(address: str, folder: Path, tmp_path: Path) -> None:
    from harness.train.fingerprint import write_fingerprint

    (tmp_path / "adapter1").mkdir()
    for path in (folder / "adapter1").glob("adapter_*"):
        (tmp_path / "adapter1" / path.name).write_bytes(path.read_bytes())
    write_fingerprint(str(folder / "tiny.gguf"), tmp_path / "adapter1", PROMPTS, lambda line: None)
    found = _proof(_entry(address, 1, 0, fingerprint=str(tmp_path / "adapter1")))
    assert found is not None
    # Random weights multiply llama.cpp's rounding: of real adapters it is a thirtieth of this.
    assert found.to_adapter is not None and found.to_base is not None  # noqa: PT018
    assert found.to_adapter < found.to_base / 2, found

    @pytest.mark.parametrize("seconds", [0.0, 600.0])
    def test_an_adapter_that_the_server_loses_during_a_long_run_is_found_out_after_it(
        self, small: Small, folder: Path, address: str, seconds: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("harness.ask.run.PROVEN_FOR_S", seconds)
        with Forgetful(address, forgets=2 * len(read_fingerprint(folder / "adapter1").prompts) + 2) as server:
            lora = {"lora": [{"id": 0, "scale": 1}, {"id": 1, "scale": 0}]}
            fingerprint = str(folder / "adapter1")
            small.model("evicted", f"{server.url}/v1", fingerprint=fingerprint, extra=lora, concurrency=1)
            said: list[str] = []
            bench(replace(small.options, models=("evicted",), rows=4), said.append)
        (run,) = [run for run in read_manifests(small.results) if run.model == "evicted"]
        assert run.asked == 4
        assert run.proof is not None
        assert run.proof["verdict"] == "proven"
        if seconds:
            assert (run.proof_after, run.stopped) == (None, None)
            return
        assert run.proof_after is not None
        assert run.proof_after["verdict"] == "not applied"
        assert run.stopped is not None
        assert run.stopped.startswith("the server lost the adapter during the run")
        assert any("gave up evicted on small: the server lost the adapter" in line for line in said)
        assert [name for name, _ in proofs(run)] == ["adapter", "adapter, after the run"]


class Forgetful(Served):
    """llama.cpp, whose adapter is gone after so many requests: from then on its base answers, with status 200."""

    def __init__(self, address: str, forgets: int) -> None:
        super().__init__()
        self.routes = [web.post("/v1/{path:.*}", self._pass)]
        self._address, self._left = address.removesuffix("/v1"), forgets

    async def _pass(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._left -= 1
        if self._left < 0:
            body["lora"] = [{**one, "scale": 0} for one in body["lora"]]
        async with (
            aiohttp.ClientSession() as session,
            session.post(self._address + request.path, json=body) as reply,
        ):
            return web.Response(body=await reply.read(), status=reply.status, content_type="application/json")
