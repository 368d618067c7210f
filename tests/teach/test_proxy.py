"""A client of a recorder meets what it would meet without it, and the log says what that was."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.loopback_vendors import KEY
from tests.teach.recording import ROOT, Recording, kill, lines, wait_for
from tests.teach.vendor import CALLS, Vendor, completion

TOOLS: Any = [{"type": "function", "function": {"name": name, "parameters": {}}} for _, name, _ in CALLS]
Ask = Callable[[openai.OpenAI], Any]


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    with Vendor() as server:
        yield server


@pytest.fixture(scope="module")
def recording(vendor: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    running = Recording(f"{vendor.url}/v1", tmp_path_factory.mktemp("log") / "out", "--tag", "app=test", "--tag", "v=1")
    yield running
    code, _, errors = running.stop()
    assert (code, errors) == (0, "")


def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=KEY, max_retries=0)


def chat(said: str = "hello", **more: Any) -> Ask:
    def ask(client: openai.OpenAI) -> Any:
        answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": said}], **more)
        return [chunk.model_dump() for chunk in answer] if more.get("stream") else answer.model_dump()

    return ask


def outcome(ask: Ask, url: str) -> tuple[Any, ...]:
    """What a client gets: the answer, or the exception with all that it says."""
    try:
        with client(url) as asking:
            return "answer", ask(asking)
    except openai.APIStatusError as error:
        kept = {name: error.response.headers.get(name) for name in ("x-request-id", "retry-after", "content-type")}
        return type(error), str(error), error.status_code, error.body, kept
    except openai.APIError as error:
        return type(error), str(error), type(error.__cause__)


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(chat(), id="gzip"),
        pytest.param(chat(n=2), id="two choices"),
        pytest.param(chat(tools=TOOLS), id="tools"),
        pytest.param(chat(stream=True), id="stream"),
        pytest.param(chat(stream=True, n=2, stream_options={"include_usage": True}), id="stream of two with usage"),
        pytest.param(chat(stream=True, tools=TOOLS), id="stream of tools"),
        *(pytest.param(chat(said), id=said) for said in ("bad", "unauthorized", "slow", "broken")),
        pytest.param(chat("broken", stream=True), id="broken stream"),
        pytest.param(chat("reset", stream=True), id="reset in a stream"),
        pytest.param(lambda client: client.models.list().model_dump(), id="models"),
        pytest.param(lambda client: client.get("/%2Fodd%20name", cast_to=object), id="odd path"),
        pytest.param(lambda client: client.get("/absent", cast_to=object), id="404"),
    ],
)
def test_a_client_gets_the_same_with_and_without_it(vendor: Vendor, recording: Recording, ask: Ask) -> None:
    assert outcome(ask, recording.url) == outcome(ask, f"{vendor.url}/v1")


def test_a_compressed_request_reaches_the_vendor_as_it_is(vendor: Vendor, recording: Recording) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "packed " * 100}]}
    content = gzip.compress(json.dumps(body).encode())
    before = len(vendor.seen)
    answer = httpx.post(
        f"{recording.url}/chat/completions", content=content, headers={"Content-Encoding": "gzip"}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    head, seen = vendor.seen[before]
    assert (head["Content-Length"], seen) == (str(len(content)), body)


def logged(recording: Recording) -> int:
    """The number of lines, once those of all earlier requests are there: behind them comes one of this request."""
    mark = {"mark": uuid.uuid4().hex}
    with client(recording.url) as asking:
        chat(metadata=mark)(asking)
    wait_for(lambda: any(line["tags"].get("mark") == mark["mark"] for line in recording.lines()))
    return len(recording.lines())


@pytest.mark.parametrize(
    "asked",
    [{}, {"n": 2}, {"tools": TOOLS}],
    ids=["text", "two choices", "tools"],
)
def test_a_stream_is_logged_as_the_object_without_stream(recording: Recording, asked: dict[str, Any]) -> None:
    before = logged(recording)
    with client(recording.url) as asking:
        chat(stream=True, stream_options={"include_usage": True}, **asked)(asking)
        whole = chat(**asked)(asking)
    streamed, plain = recording.lines(before + 2)[before:]
    assert streamed["output"] == plain["output"] == completion(asked)
    assert openai.types.chat.ChatCompletion.model_validate(plain["output"]).model_dump() == whole
    assert streamed["input"] == plain["input"] | {"stream": True, "stream_options": {"include_usage": True}}
    assert plain["ttft_s"] is None
    assert 0 < streamed["ttft_s"] < streamed["latency_s"]


def test_a_line_has_the_request_its_answer_and_its_tags(recording: Recording) -> None:
    before = logged(recording)
    with client(recording.url) as asking:
        chat(metadata={"user": "7", "v": "2"}, extra_headers={"op-tags": '{"prompt": "a", "v": "3"}'})(asking)
        chat(extra_headers={"op-tags": "no json"})(asking)
    first, second = recording.lines(before + 2)[before:]
    assert list(first) == ["input", "output", "tags", "status", "at", "latency_s", "ttft_s"]
    assert first["input"]["messages"] == [{"role": "user", "content": "hello"}]
    assert first["tags"] == {"app": "test", "v": "3", "user": "7", "prompt": "a"}
    assert second["tags"] == {"app": "test", "v": "1", "op-tags": "no json"}
    assert first["status"] == 200


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_packed_request_is_passed_on_as_it_is_and_logged_unpacked(
    vendor: Vendor, recording: Recording, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    before = logged(recording)
    body = {"model": "m", "messages": [{"role": "user", "content": "hello " * 100}]}
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    reply = httpx.post(f"{recording.url}/chat/completions", content=pack(json.dumps(body).encode()), headers=headers)
    assert reply.status_code == 200
    assert vendor.seen[-1][1] == body
    assert vendor.seen[-1][0]["Content-Encoding"] == encoding
    assert int(vendor.seen[-1][0]["Content-Length"]) == len(pack(json.dumps(body).encode()))
    (line,) = recording.lines(before + 1)[before:]
    assert line["input"] == body


def test_an_error_is_logged_with_its_status_and_without_the_key(vendor: Vendor, recording: Recording) -> None:
    before = logged(recording)
    outcome(chat("unauthorized"), recording.url)
    (line,) = recording.lines(before + 1)[before:]
    assert line["status"] == 401
    assert line["output"]["error"]["message"] == "you said unauthorized, with Bearer ***"
    assert KEY not in (recording.out / "requests.jsonl").read_text()
    assert vendor.seen[-1][0]["Authorization"] == f"Bearer {KEY}"


def test_an_answer_that_broke_off_is_logged_as_none(recording: Recording) -> None:
    before = logged(recording)
    outcome(chat("reset", stream=True), recording.url)
    (line,) = recording.lines(before + 1)[before:]
    assert line["output"] is None
    assert line["status"] == 200
    assert line["error"].startswith("the upstream broke off in its answer")


def test_a_client_that_hangs_up_cancels_the_request_at_the_upstream(vendor: Vendor, recording: Recording) -> None:
    before, cancelled = logged(recording), vendor.cancelled
    with client(recording.url) as asking:
        message: Any = {"role": "user", "content": "hang"}
        stream = asking.chat.completions.create(model="m", messages=[message], stream=True)
        next(stream)
        stream.close()
    wait_for(lambda: vendor.cancelled == cancelled + 1)
    (line,) = recording.lines(before + 1)[before:]
    assert (line["output"], line["error"]) == (None, "the client hung up, or the pass-through was stopped")


def test_parts_of_a_stream_are_passed_on_as_they_come(recording: Recording) -> None:
    with client(recording.url) as asking:
        message: Any = {"role": "user", "content": "hang"}  # the upstream pauses for a minute after three parts
        stream = asking.chat.completions.create(model="m", messages=[message], stream=True)
        assert "".join(next(stream).choices[0].delta.content or "" for _ in range(3)) == "Berlin is"
        stream.close()


def test_encodings_that_the_log_cannot_read_are_not_offered(vendor: Vendor, recording: Recording) -> None:
    with client(recording.url) as asking:
        chat(extra_headers={"Accept-Encoding": "br;q=1.0, gzip;q=0.8, zstd"})(asking)
    assert vendor.seen[-1][0]["Accept-Encoding"] == "gzip;q=0.8"


def test_other_requests_are_passed_on_and_counted(vendor: Vendor, tmp_path: Path) -> None:
    running = Recording(vendor.url, tmp_path / "out")
    with client(running.url) as asking:
        asking.models.list()
        asking.post("/embeddings", body={"input": "a", "model": "m"}, cast_to=object)
        chat()(asking)
    assert len(running.lines(1)) == 1
    code, said, _ = running.stop()
    assert code == 0
    assert "1 requests logged" in said
    assert "GET /v1/models (1)" in said
    assert "POST /v1/embeddings (1)" in said


def test_a_path_outside_v1_and_a_foreign_host_are_refused(vendor: Vendor, recording: Recording) -> None:
    address = recording.url.removesuffix("/v1")
    assert httpx.get(f"{address}/etc/passwd").status_code == 404
    asked = len(vendor.seen)
    answer = httpx.post(f"{recording.url}/chat/completions", headers={"Host": "evil.example"}, json={})
    assert (answer.status_code, len(vendor.seen)) == (403, asked)


def test_an_upstream_that_is_down_is_a_502_with_its_reason(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        running = Recording(f"http://127.0.0.1:{unused.getsockname()[1]}/v1", tmp_path / "out")
        kind, text, status, *_ = outcome(chat(), running.url)
        assert (kind, status) == (openai.InternalServerError, 502)
        assert "the upstream cannot be reached: Cannot connect to host 127.0.0.1" in text
        (line,) = running.lines(1)
        assert line["status"] == 502
        assert line["input"] == {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        code, _, errors = running.stop()
    assert (code, errors) == (0, "")


def test_a_full_disk_fails_no_client_and_is_said_at_the_end(vendor: Vendor, tmp_path: Path) -> None:
    def small_files() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    running = Recording(vendor.url, tmp_path / "out", before=small_files)
    for _ in range(10):
        assert outcome(chat(), running.url) == outcome(chat(), f"{vendor.url}/v1")
    code, said, errors = running.stop()
    kept = lines(tmp_path / "out")
    assert 0 < len(kept) < 10
    assert code == 3
    assert f"{len(kept)} requests logged" in said
    assert f"{10 - len(kept)} requests were passed on but could not be logged" in errors
    assert "a request cannot be logged: [Errno 27] File too large" in errors
    assert "Traceback" not in errors


def test_a_log_that_is_killed_fails_no_client(vendor: Vendor, tmp_path: Path) -> None:
    running = Recording(vendor.url, tmp_path / "out")
    outcome(chat(), running.url)
    running.lines(1)
    kill(running.writer())
    for _ in range(20):
        assert outcome(chat(), running.url)[0] == "answer"
    code, said, errors = running.stop()
    assert code == 3
    assert "1 requests logged" in said
    assert "20 requests were passed on but could not be logged" in errors
    assert len(lines(tmp_path / "out")) == 1


def test_a_kill_loses_at_most_the_request_in_flight(vendor: Vendor, tmp_path: Path) -> None:
    running = Recording(vendor.url, tmp_path / "out")
    answered = 0

    def ask() -> None:
        nonlocal answered
        with client(running.url) as asking:
            try:
                while True:
                    chat(f"row {answered}")(asking)
                    answered += 1
            except openai.APIError:
                pass

    asking = threading.Thread(target=ask)
    asking.start()
    wait_for(lambda: answered >= 50)
    running.process.kill()
    asking.join()
    running.process.communicate()
    logged = [line["input"]["messages"][0]["content"] for line in lines(tmp_path / "out", answered - 1)]
    assert logged[: answered - 1] == [f"row {number}" for number in range(answered - 1)]


def test_a_later_recording_adds_to_the_log_after_its_last_whole_line(vendor: Vendor, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "requests.jsonl").write_text('{"input": 1}\n{"inp')
    running = Recording(vendor.url, out)
    outcome(chat(), running.url)
    assert running.lines(2)[0]["input"] == 1
    assert running.stop()[0] == 0


def _refused(*arguments: str) -> str:
    command = [sys.executable, "-m", "harness", "record", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_mistakes_are_one_message(vendor: Vendor, recording: Recording, tmp_path: Path) -> None:
    port, out = recording.url.split(":")[-1].split("/")[0], str(tmp_path / "out")
    assert f"port {port}: Address already in use" in _refused("--upstream", vendor.url, "--out", out, "--port", port)
    assert "base_url is not a valid URL" in _refused("--upstream", "nonsense", "--out", out)
    assert "holds a user, a query" in _refused("--upstream", "http://a:b@host/v1", "--out", out)
    assert "'x': expected NAME=VALUE" in _refused("--upstream", vendor.url, "--out", out, "--tag", "x")
    used = str(recording.out)
    assert "another process is recording into it" in _refused("--upstream", vendor.url, "--out", used)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    assert "is not empty (it holds thesis.txt)" in _refused("--upstream", vendor.url, "--out", str(tmp_path / "mine"))
