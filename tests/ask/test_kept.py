"""What is asked again, and what is not: variables, weights, revisions, results of earlier versions, caps."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path

import pytest

from harness.ask import run as running
from harness.errors import UserError
from harness.models.entry import Common
from harness.score.scoring import score_run
from harness.store.results import read_manifests
from tests.loopback import Fault, Loopback
from tests.runs import ROWS, Small

KEY = "sk-planted+0123/456789"


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


def asked(loopback: Loopback) -> int:
    """Requests since the last call."""
    count = sum(loopback.asked.values())
    loopback.asked.clear()
    return count


def entry(small: Small, loopback: Loopback) -> None:
    """A model with a variable wherever one may stand."""
    small.model(
        "m",
        loopback.openai_url + "?v=${TOKEN}",
        headers={"api-key": "${TOKEN}"},
        query={"sig": "${TOKEN}"},
        system="Be brief, ${TOKEN}.",
        extra={"user": "${TOKEN}", "metadata": {"deep": ["${TOKEN}"]}},
        api_key="${TOKEN}",
        gpu_per_hour=0,
    )


def test_a_rotated_key_asks_nothing_again(small: Small, loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    entry(small, loopback)
    monkeypatch.setenv("TOKEN", KEY)
    small.bench()
    sent = loopback.received[-1]
    assert sent.body["user"] == sent.body["metadata"]["deep"][0] == sent.headers["api-key"] == KEY
    assert sent.body["messages"][0] == {"role": "system", "content": f"Be brief, {KEY}."}
    assert asked(loopback) == ROWS
    monkeypatch.setenv("TOKEN", "another-key-of-april")
    small.bench()
    assert asked(loopback) == 0


def test_a_key_that_the_server_echoes_in_answers_and_errors_is_in_no_file(
    small: Small, loopback: Loopback, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry(small, loopback)
    monkeypatch.setenv("TOKEN", KEY)
    monkeypatch.setenv("http_proxy", "http://user:S3cretPw@127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.0/8")
    header = base64.b64encode(f"Authorization: Bearer {KEY}".encode()).decode()
    echo = f"{KEY} {header} {KEY.replace('+', '%2B').replace('/', '%2f')} S3cretPw {KEY.encode().hex()}"
    good = {"model": KEY, "choices": [{"message": {"content": echo}, "finish_reason": "stop"}]}
    loopback.plan = lambda prompt, attempt: Fault(400, echo) if "row 1" in prompt else Fault(body=json.dumps(good))
    small.bench()
    written = [path.read_text(errors="replace") for path in small.results.rglob("*") if path.is_file()]
    printed = "".join(capsys.readouterr())
    for secret in (KEY, header[-24:-4], "%2B0123", "S3cretPw", KEY.encode().hex()):
        assert not any(secret in text for text in [*written, printed]), secret
    assert any('"completion": "*** ' in text for text in written)


def test_results_that_were_kept_by_values_are_taken_over(
    small: Small, loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry(small, loopback)
    monkeypatch.setenv("TOKEN", KEY)
    with monkeypatch.context() as earlier:  # as the versions hashed that knew no names
        earlier.setattr(Common, "written", lambda self, key: getattr(self, key))
        small.bench()
    assert asked(loopback) == ROWS
    small.bench()
    assert asked(loopback) == 0
    monkeypatch.setenv("TOKEN", "another-key-of-april")
    small.bench()
    assert asked(loopback) == 0
    (manifest,) = read_manifests(small.results)
    assert len(score_run(small.results, manifest).rows.ids) == ROWS


def test_weights_that_have_changed_under_a_name_are_asked_again(
    small: Small, loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.model("tuned", loopback.openai_url, gpu_per_hour=0)
    small.models["tuned"]["model"] = "{task}"
    small.model("other", loopback.openai_url, gpu_per_hour=0)
    loopback.listed = [{"id": "small", "created": 1000, "root": "/v1"}, {"id": "other", "created": 1}]
    small.bench()
    assert asked(loopback) == 2 * ROWS
    small.bench()
    assert asked(loopback) == 0
    loopback.listed = []  # a server that cannot tell has not changed
    small.bench()
    assert asked(loopback) == 0
    said: list[str] = []
    loopback.listed = [{"id": "small", "created": 2000, "root": "/v1"}, {"id": "other", "created": 2}]
    running.bench(small.options, said.append)
    assert asked(loopback) == ROWS, "a model that is no adapter keeps its name"
    assert any("tuned on small: its server has other weights" in line for line in said)


def test_a_revision_asks_again(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url, gpu_per_hour=0)
    small.bench()
    small.model("m", loopback.openai_url, gpu_per_hour=0, revision="2")
    small.bench()
    small.bench()
    assert asked(loopback) == 2 * ROWS


def test_a_cap_that_cannot_be_kept_is_refused(small: Small, loopback: Loopback) -> None:
    price = {"input": 1, "output": 1}
    small.model("m", loopback.openai_url, omit=["max_tokens"], price=price)
    with pytest.raises(UserError, match=r"cannot be kept for m: .*nothing was asked"):
        small.bench(max_usd=3.0)
    assert asked(loopback) == 0
    small.model("m", loopback.openai_url, omit=["max_tokens"], price=price, extra={"max_completion_tokens": 5, "n": 8})
    small.bench(max_usd=3.0)
    assert asked(loopback) == ROWS


def test_what_was_lost_is_in_the_cost_of_the_table(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url, price={"input": 1_000_000, "output": 1_000_000})
    loopback.plan = lambda prompt, attempt: Fault(act="cut") if attempt == 0 and "row 7 " in prompt else None
    small.bench()
    (manifest,) = read_manifests(small.results)
    scored = score_run(small.results, manifest)
    prompt = "Is row 7 fine? Answer with one word."
    lost = len(prompt) // 3 + 1 + 4
    assert scored.lost_usd == lost
    assert scored.usd == ROWS * (len(prompt.split()) + 1) + lost


def test_reasons_and_other_models_are_said(small: Small, loopback: Loopback) -> None:
    from harness.report.words import doubts

    small.model("base", loopback.openai_url, gpu_per_hour=0)
    small.model("lora", loopback.openai_url, gpu_per_hour=0, base="base")
    other = {"model": "llama", "choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}
    loopback.plan = lambda prompt, attempt: (
        Fault(400, f"request {len(prompt)} is odd") if "row 7 " in prompt else Fault(body=json.dumps(other))
    )
    small.bench()
    runs = [score_run(small.results, manifest) for manifest in read_manifests(small.results)]
    said = doubts([dataclasses.replace(run) for run in runs])
    assert "base on small: 1 row failed: 1 × HTTP 400: request 36 is odd" in said
    assert "base on small: 39 of 40 rows were answered by llama, not by base" in said
    assert "lora on small: all 40 answers are those of base, byte for byte" in said


def test_a_prompt_that_the_server_has_cut_is_a_status(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url, gpu_per_hour=0)
    text = "lorem ipsum dolor sit amet " * 500
    path = small.folder / "tasks" / "small.yaml"
    path.write_text(path.read_text().replace("Is {{ text }}", text + "Is {{ text }}"))
    cut = {
        "model": "m",
        "choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1024, "completion_tokens": 1},
    }
    loopback.plan = lambda prompt, attempt: Fault(body=json.dumps(cut))
    small.bench()
    (manifest,) = read_manifests(small.results)
    scored = score_run(small.results, manifest)
    assert scored.doubts.cut == ROWS
    assert scored.rows.counts()["truncated"] == ROWS
    assert asked(loopback) == ROWS
