"""`harness loadtest` against real servers on loopback: what is asked, counted, refused and written."""

from __future__ import annotations

import asyncio
import csv
import errno
import json
from pathlib import Path
from typing import Any

import pytest

from harness.models.engines.gguf import shape_of, write_adapter
from tests.commands.conftest import Command, harness  # noqa: F401  the fixture
from tests.loopback import FAULTS, Loopback
from tests.models.llamacpp_server import serving
from tests.models.test_proof import _write_fingerprint
from tests.serve.front import Running, project

ROOT = Path(__file__).parents[2]
ROWS = ("--task", "ag_news", "--tasks", str(ROOT / "tasks"), "--data", "sample")


@pytest.fixture
def load(harness: Command, tmp_path: Path) -> Command:  # noqa: F811
    def run(*given: str) -> tuple[int, str, str]:
        return harness("loadtest", *given, *ROWS, "--duration", "0.3", "--out", str(tmp_path / "out"), "--json")

    return run


def levels(out: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(out)["levels"]
    return found


def with_adapters(loopback: Loopback, number: int) -> str:
    adapters = [{"id": f"a{place}", "parent": "base"} for place in range(number)]
    loopback.listed = [{"id": "base", "parent": None}, *adapters]
    return loopback.openai_url


def test_every_request_is_counted_once_and_streamed(loopback: Loopback, load: Command) -> None:
    url = with_adapters(loopback, 3)
    loopback.answer = lambda prompt: "one two three"
    code, out, _ = load("--url", url, "--concurrency", "1,4", "--adapters", "1,3")
    assert code in (0, 3)
    found = levels(out)
    assert [(one["adapters"], one["concurrency"]) for one in found] == [(1, 1), (1, 4), (3, 1), (3, 4)]
    warm = [one["warm_up"]["completed"] for one in found]
    assert warm == [1, 4, 3, 4]
    assert sum(loopback.answered.values()) == sum(one["completed"] for one in found) + sum(warm)
    for one in found:
        assert one["failed"] == one["not_streamed"] == one["without_usage"] == 0
        assert one["total_output_tokens"] == 3 * one["completed"]
        assert one["median_ttft_ms"] <= one["median_e2el_ms"] <= one["p99_e2el_ms"]
    assert {seen.body["model"] for seen in loopback.received} == {"a0", "a1", "a2"}
    assert all(seen.body["stream"] for seen in loopback.received if seen.path == "/v1/completions")


def test_figures_and_curves_are_written(loopback: Loopback, load: Command, tmp_path: Path) -> None:
    _, out, _ = load("--url", with_adapters(loopback, 2), "--rate", "20,40")
    assert json.loads((tmp_path / "out" / "loadtest.json").read_text()) == json.loads(out)
    with (tmp_path / "out" / "loadtest.csv").open() as lines:
        assert [float(row["rate"]) for row in csv.DictReader(lines)] == [20, 40]
    for name in ("latency", "throughput"):
        assert "<title>" in (tmp_path / "out" / f"{name}.svg").read_text()


def test_errors_are_counted_by_kind(loopback: Loopback, load: Command) -> None:
    kinds = ("throttle", "error", "broken", None)
    asked = iter(range(10**6))

    def plan(prompt: str, attempt: int) -> Any:
        kind = kinds[next(asked) % 4]
        return FAULTS[kind] if kind else None

    loopback.plan = plan
    _, out, _ = load("m", "--url", loopback.openai_url, "--concurrency", "4")
    (found,) = levels(out)
    assert found["errors"].keys() == {"throttled", "unavailable", "malformed"}
    assert found["failed"] == sum(found["errors"].values())
    assert found["completed"] > 0


def test_a_server_that_hangs_does_not_hang_the_test(loopback: Loopback, load: Command) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS["hang"] if sum(loopback.asked.values()) > 1 else None
    _, out, _ = load("m", "--url", loopback.openai_url, "--rate", "50", "--timeout", "0.5")
    (found,) = levels(out)
    assert found["errors"].keys() == {"timeout"}
    assert found["completed"] == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--concurrency", "1", "--adapters", "64"), "--adapters 64: there are 30 (a0, a1, a2, a3, a4 …)"),
        (("a-3", "--concurrency", "1"), "has no model 'a-3' (did you mean 'a3'?)"),
        (("--concurrency", "1", "--rate", "1"), "choose a load"),
        (("--concurrency", "1", "--against", "gpt-6-luna"), "--gpu-per-hour"),
        (("--concurrency", "one"), "expected whole numbers above 0"),
        (("--rate", "-1"), "expected numbers above 0"),
        (("--rate", "1e308"), "expected numbers above 0, at most 10000"),
        (("--rate", "1", "--timeout", "nan"), "is not a finite number"),
        (("--rate", "1", "--gpu-per-hour", "inf"), "is not a finite number"),
    ],
)
def test_what_cannot_be_tested_is_refused(given: tuple[str, ...], said: str, loopback: Loopback, load: Command) -> None:
    code, _, err = load("--url", with_adapters(loopback, 30), *given)
    assert code == 2
    assert said in err
    assert not loopback.asked


def test_a_limit_of_this_process_is_not_charged_to_the_server(
    loopback: Loopback, load: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, opened = asyncio.SelectorEventLoop.sock_connect, iter(range(10**6))

    async def limited(self: Any, sock: Any, address: Any) -> None:
        if next(opened) > 2:
            raise OSError(errno.EMFILE, "Too many open files")
        await connect(self, sock, address)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", limited)
    loopback.latency = 0.2
    code, out, err = load("m", "--url", loopback.openai_url, "--rate", "60")
    (found,) = levels(out)
    assert found["errors"].keys() == {"not sent"}
    assert code == 3
    assert f"could open no more connections for {found['failed']} requests: see `ulimit -n`" in err


def test_a_folder_that_cannot_be_written_is_said_before_the_load(
    loopback: Loopback,
    harness: Command,  # noqa: F811
) -> None:
    code, _, err = harness("loadtest", "m", "--url", loopback.openai_url, *ROWS, "--rate", "9", "--out", "/dev/null/x")
    assert (code, "error: /dev/null/x: Not a directory" in err) == (2, True)
    assert not loopback.asked


def test_a_server_that_refuses_every_request_ends_the_test(loopback: Loopback, load: Command) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS["missing"]
    code, _, err = load("m", "--url", loopback.openai_url, "--concurrency", "1")
    assert code == 2
    assert "no request was answered: m: " in err
    assert "no such model" in err


def test_an_adapter_that_is_not_applied_is_found_out_before_the_load(
    harness: Command,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LORA_LEADERBOARD_CACHE", str(tmp_path / "cache"))
    folder = project(tmp_path).parent
    adapter = folder / "adapters" / "adapter1"
    write_adapter(adapter, shape_of(folder / "tiny.gguf"), folder / "adapter1.gguf")
    write_adapter(folder / "adapters" / "adapter2", shape_of(folder / "tiny.gguf"), folder / "adapter2.gguf")
    with serving(folder / "tiny.gguf", [folder / "adapter1.gguf", folder / "adapter2.gguf"]) as raw:
        _write_fingerprint(adapter, raw)
    with Running(folder / "models.yaml", context=2048) as running:  # ag_news is long for a tiny vocabulary
        server = {"backend": "openai", "base_url": running.url, "api": "completions", "fingerprint": str(adapter)}
        entries = {"right": {**server, "model": "adapter1"}, "wrong": {**server, "model": "tiny"}}
        (tmp_path / "served.yaml").write_text(json.dumps(entries))
        given = ("--models-file", str(tmp_path / "served.yaml"), *ROWS, "--concurrency", "1", "--duration", "0.2")
        out = ("--out", str(tmp_path / "out"), "--json")
        code, _, err = harness("loadtest", "wrong", *given, *out)
        assert code == 2
        assert "wrong: not applied: the server answers as the base does" in err
        code, text, _ = harness("loadtest", "right", *given, *out)
        assert code in (0, 3)
        assert json.loads(text)["proof"] == {"right": "proven"}
        assert levels(text)[0]["errors"] == {}
