"""The front as clients meet it: OpenAI's and LoRAX's own packages, and what they are refused."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import lorax
import lorax.errors
import openai
import pytest
from aiohttp import web

from harness.errors import UserError
from harness.models.engines.decoding import Query
from harness.models.engines.llamacpp import LlamaCpp
from harness.models.passthrough import Front
from tests.models import tiny_gguf
from tests.serve.front import TOKEN, Running, project, wait_for

PROMPTS = ("no abab", "1, 2, 3, 12,", "yes or no?", "The answer:")
NAMES = ("tiny", "adapter1", "adapter2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("served")).parent


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORA_LEADERBOARD_CACHE", str(folder / "cache"))
        with Running(folder / "models.yaml", context=256) as running:
            yield running


@pytest.fixture(scope="module")
def client(front: Running) -> Iterator[openai.OpenAI]:
    with front.client() as made:
        yield made


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[tuple[str, str], str]:
    """What `harness bench` gets from the same base and adapters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORA_LEADERBOARD_CACHE", str(folder / "cache"))
        engine = LlamaCpp(str(folder / "tiny.gguf"), threads=1)
        found = {}
        for name in NAMES:
            adapter = None if name == "tiny" else str(folder / "adapters" / name)
            for prompt in PROMPTS:
                found[name, prompt] = asyncio.run(engine.ask(adapter, Query(prompt, 12))).text
        engine.close()
    return found


def completed(client: openai.OpenAI, model: str, prompt: Any, **more: Any) -> Any:
    return client.completions.create(model=model, prompt=prompt, **{"max_tokens": 12, "temperature": 0, **more})


def message(text: str) -> Any:
    return {"role": "user", "content": text}


class TestNames:
    def test_each_name_is_answered_by_its_own_weights_in_any_order(
        self, client: openai.OpenAI, expected: dict[tuple[str, str], str]
    ) -> None:
        order = [(name, prompt) for prompt in PROMPTS for name in NAMES]
        for name, prompt in (*order, *reversed(order)):
            assert completed(client, name, prompt).choices[0].text == expected[name, prompt]
        assert len({expected[name, PROMPTS[0]] for name in NAMES}) == 3

    def test_an_unknown_name_is_a_404_with_the_nearest(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.NotFoundError, match=r"no model 'adaptor1' \(did you mean 'adapter1'\?\)") as caught:
            completed(client, "adaptor1", "a")
        assert caught.value.code == "model_not_found"

    def test_the_list_says_what_each_model_is_made_of(self, client: openai.OpenAI, folder: Path) -> None:
        listed = {model.id: model.model_dump() for model in client.models.list()}
        assert list(listed) == list(NAMES)
        assert listed["tiny"]["parent"] is None
        tuned = listed["adapter1"]
        assert (tuned["parent"], tuned["root"]) == ("tiny", str(folder / "adapters" / "adapter1"))
        assert tuned["created"] == int((folder / "adapters" / "adapter1" / "adapter_model.safetensors").stat().st_mtime)
        assert tuned["fingerprint"] != listed["adapter2"]["fingerprint"]
        assert [client.models.retrieve(name).model_dump() for name in NAMES] == list(listed.values())
        with pytest.raises(openai.NotFoundError, match=r"no model 'adaptor1' \(did you mean 'adapter1'\?\)"):
            client.models.retrieve("adaptor1")


class TestOpenAI:
    def test_a_completion_says_how_it_ended_and_how_long_it_was(self, client: openai.OpenAI) -> None:
        found = completed(client, "adapter1", PROMPTS[1], max_tokens=3)
        assert (found.object, found.model, found.choices[0].finish_reason) == ("text_completion", "adapter1", "length")
        assert found.usage is not None
        assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (12, 3, 15)

    def test_probabilities_have_the_form_of_openais_completions(self, client: openai.OpenAI) -> None:
        (choice,) = completed(client, "adapter1", PROMPTS[1], max_tokens=3, logprobs=2).choices
        found = choice.logprobs
        assert "".join(found.tokens) == choice.text
        assert all(len(likeliest) >= 2 for likeliest in found.top_logprobs)
        for token, logprob, likeliest in zip(found.tokens, found.token_logprobs, found.top_logprobs, strict=True):
            assert likeliest[token] == logprob <= 0
        assert found.text_offset[0] == 0
        assert completed(client, "adapter1", "1", logprobs=0).choices[0].logprobs.top_logprobs is None
        assert completed(client, "adapter1", "1").choices[0].logprobs is None

    def test_several_choices_of_several_prompts_are_counted_together(
        self, client: openai.OpenAI, expected: dict[tuple[str, str], str]
    ) -> None:
        found = completed(client, "adapter2", list(PROMPTS[:2]), n=2)
        texts = [expected["adapter2", prompt] for prompt in PROMPTS[:2] for _ in range(2)]
        assert [choice.text for choice in found.choices] == texts
        assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
        alone = [completed(client, "adapter2", prompt).usage for prompt in PROMPTS[:2]]
        assert found.usage.prompt_tokens == sum(usage.prompt_tokens for usage in alone)
        assert found.usage.completion_tokens == 2 * sum(usage.completion_tokens for usage in alone)

    def test_drawn_choices_differ_and_a_seed_repeats_them(self, client: openai.OpenAI) -> None:
        asked = {"temperature": 1.5, "n": 4, "seed": 7}
        first, second = (completed(client, "tiny", "ab", **asked).choices for _ in range(2))
        assert [choice.text for choice in first] == [choice.text for choice in second]
        assert len({choice.text for choice in first}) > 1

    def test_a_prompt_may_be_given_as_tokens(self, client: openai.OpenAI) -> None:
        assert completed(client, "tiny", [19, 14, 223], max_tokens=1).usage.prompt_tokens == 3

    def test_it_stops_where_it_is_told_to(self, client: openai.OpenAI, expected: dict[tuple[str, str], str]) -> None:
        whole = expected["adapter1", PROMPTS[1]]
        stop = next(mark for mark in whole[1:] if mark.isascii() and mark.isprintable())
        (choice,) = completed(client, "adapter1", PROMPTS[1], stop=stop).choices
        assert (choice.text, choice.finish_reason) == (whole.partition(stop)[0], "stop")

    @pytest.mark.parametrize("name", NAMES)
    def test_a_stream_says_the_same_and_ends_with_the_usage(
        self, client: openai.OpenAI, expected: dict[tuple[str, str], str], name: str
    ) -> None:
        options: Any = {"include_usage": True}
        *parts, last = completed(client, name, PROMPTS[0], stream=True, stream_options=options, logprobs=1)
        assert "".join(part.choices[0].text for part in parts) == expected[name, PROMPTS[0]]
        assert parts[-1].choices[0].finish_reason in ("stop", "length")
        assert (last.choices, last.usage) == ([], completed(client, name, PROMPTS[0]).usage.model_copy(
            update={"prompt_tokens_details": last.usage.prompt_tokens_details}
        ))  # fmt: skip
        assert all(part.usage is None for part in completed(client, name, PROMPTS[0], stream=True))

    def test_a_chat_is_answered_whole_and_as_a_stream(self, client: openai.OpenAI) -> None:
        asked: Any = {"model": "adapter1", "messages": [message("1 2 12")], "temperature": 0, "max_tokens": 8}
        whole = client.chat.completions.create(**asked, logprobs=True, top_logprobs=2)
        options: Any = {"include_usage": True}
        *parts, last = client.chat.completions.create(**asked, stream=True, stream_options=options)
        said = "".join(part.choices[0].delta.content or "" for part in parts)
        assert said == whole.choices[0].message.content
        assert whole.usage is not None
        assert last.usage is not None
        assert last.usage.completion_tokens == whole.usage.completion_tokens
        assert whole.model == parts[0].model == "adapter1"
        several = client.chat.completions.create(**asked, n=2)
        assert [choice.index for choice in several.choices] == [0, 1]
        assert several.usage is not None
        assert several.usage.prompt_tokens == whole.usage.prompt_tokens


class TestRefusals:
    def test_a_prompt_too_long_is_a_400_with_both_numbers(self, client: openai.OpenAI) -> None:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match="has 600 tokens, and a slot holds 256") as caught:
                completed(client, "tiny", "x" * 600, stream=stream)
            assert caught.value.code == "context_length_exceeded"

    def test_a_body_over_4_mb_is_a_413(self, front: Running, client: openai.OpenAI) -> None:
        with pytest.raises(openai.APIStatusError, match="longer than 4 MB") as caught:
            completed(client, "tiny", "x" * 4_000_001)
        assert caught.value.status_code == 413

        def parts() -> Iterator[bytes]:  # of which no header says how long they are together
            yield from [b" " * 1_000_000] * 5

        assert httpx.post(f"{front.url}/completions", content=parts()).status_code == 413

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"{", "the request is not JSON"),
            (b"[]", "not a JSON object"),
            (b'{"a": NaN}', "NaN is not JSON"),
            (b"[" * 100_000, "the request is not JSON"),
            (b'{"prompt": "a"}', "the parameter 'model' is missing"),
            (b'{"model": "tiny"}', "the parameter 'prompt': Field required"),
            (
                b'{"model": "tiny", "prompt": "a", "max_token": 3}',
                "'max_token' is not known here (did you mean 'max_tok",
            ),
            (b'{"model": "tiny", "prompt": "a", "lora": [{"id": 0, "scale": 1}]}', "'lora' is not known here"),
            (b'{"model": "tiny", "prompt": "a", "max_tokens": 0}', "'max_tokens': Input should be greater"),
            (b'{"model": "tiny", "prompt": "a", "echo": true}', "the parameter 'echo'"),
            (b'{"model": "tiny", "prompt": [1, -5]}', "invalid tokens"),
            (b'{"model": "tiny", "prompt": "a \\ud800 b"}', "surrogate"),
            (b'{"model": "tiny", "prompt": ""}', "the parameter 'prompt': expected a text, a list of texts, a list of"),
            (b'{"model": "tiny", "prompt": ["a", ""]}', "the parameter 'prompt': expected a text"),
            (b'{"model": "tiny", "prompt": [1099511627776]}', "the parameter 'prompt': expected a text"),
            (b'{"model": "tiny", "prompt": "a", "stop": [""]}', "the parameter 'stop': expected a text or a list"),
            (b'{"model": "tiny", "prompt": "a", "logit_bias": {"no": 5}}', "'logit_bias.no"),
            (b'{"model": "tiny", "prompt": "a", "logit_bias": {"3": 101}}', "'logit_bias.3': Input should be less"),
            (b'{"model": "' + b"a" * 1000 + b'", "prompt": "a"}', f"no model '{'a' * 100}' (choose"),
        ],
    )
    def test_what_cannot_be_answered_is_a_400_that_says_why(self, front: Running, body: bytes, said: str) -> None:
        found = httpx.post(f"{front.url}/completions", content=body)
        assert found.status_code == (404 if "no model" in said else 400), found.text
        assert said in found.json()["error"]["message"]

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "the parameter 'messages.0.content"),
            ({"top_logprobs": 2}, "the parameter 'top_logprobs' needs 'logprobs': true"),
            ({"response_format": {"type": "json_schema"}}, "the type json_schema needs the key json_schema"),
            ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "the chat template of .* takes no tools"),
        ],
    )
    def test_a_chat_that_cannot_be_kept_to_is_a_400_that_says_why(
        self, front: Running, more: dict[str, Any], said: str
    ) -> None:
        body = {"model": "tiny", "messages": [message("a")], "max_tokens": 1, **more}
        found = httpx.post(f"{front.url}/chat/completions", json=body)
        assert found.status_code == 400, found.text
        assert re.search(said, found.json()["error"]["message"])

    def test_a_compressed_request_is_read_within_the_same_limit(self, front: Running) -> None:
        def sent(body: bytes, encoding: str = "gzip") -> tuple[int, str]:
            found = httpx.post(f"{front.url}/completions", content=body, headers={"Content-Encoding": encoding})
            return found.status_code, found.text

        body = b'{"model": "tiny", "prompt": "a", "max_tokens": 1}'
        assert sent(gzip.compress(body))[0] == 200
        assert sent(gzip.compress(b" " * 50_000_000))[0] == 413
        status, said = sent(b"not gzip")
        assert (status, "compression is broken" in said) == (400, True)
        status, said = sent(body, "br")
        assert (status, "packed as br" in said) == (400, True)

    def test_a_name_in_other_case_is_near(self, front: Running) -> None:
        found = httpx.post(f"{front.url}/completions", json={"model": "ADAPTER2", "prompt": "a"})
        assert "did you mean 'adapter2'?" in found.text

    def test_more_context_than_the_base_reads_is_said_at_the_start(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LORA_LEADERBOARD_CACHE", str(folder / "cache"))
        with (
            pytest.raises(UserError, match=r"reads 4,096 tokens at most: choose a --context"),
            Running(folder / "models.yaml", models=("tiny",), context=5000, slots=1),
        ):
            pass

    def test_other_paths_and_methods_name_what_there_is(self, front: Running) -> None:
        found = httpx.get(f"{front.url}/model")
        assert (found.status_code, "/v1/models" in found.text) == (404, True)
        found = httpx.get(f"{front.url}/completions")
        assert (found.status_code, found.headers["Allow"]) == (405, "POST")

    def test_no_page_of_another_site_is_answered(self, front: Running) -> None:
        found = httpx.post(f"{front.url}/completions", headers={"Host": "evil.example"}, json={})
        assert found.status_code == 403
        answer = httpx.get(f"{front.url}/models", headers={"Origin": "http://evil.example"})
        assert "Access-Control-Allow-Origin" not in answer.headers

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "[::1]", "[::1]:8000"])
    def test_this_machine_has_several_names(self, front: Running, host: str) -> None:
        assert httpx.get(f"{front.url}/models", headers={"Host": host}).status_code == 200

    @pytest.mark.parametrize("host", ["", "[::1", "127.0.0.1.evil.example", "[::2]"])
    def test_another_machine_s_name_is_not_answered(self, front: Running, host: str) -> None:
        assert httpx.get(f"{front.url}/models", headers={"Host": host}).status_code == 403

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1.evil.example", "file://"])
    def test_a_page_of_another_site_has_no_answer_made(self, front: Running, origin: str) -> None:
        before = front.metric("harness_requests_total")
        asked: Any = {"json": {"model": "tiny", "prompt": "a", "max_tokens": 1}, "headers": {"Origin": origin}}
        assert httpx.post(f"{front.url}/completions", **asked).status_code == 403
        assert front.metric("harness_requests_total") == before
        asked["headers"] = {"Origin": "http://localhost:3000", "Host": "LOCALHOST"}
        assert httpx.post(f"{front.url}/completions", **asked).status_code == 200

    def test_the_loopback_address_of_ipv6_needs_no_token(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LORA_LEADERBOARD_CACHE", str(folder / "cache"))
        with Running(folder / "models.yaml", models=("tiny",), host="::1") as there:
            assert there.url.startswith("http://[::1]:")
            assert httpx.get(f"{there.url}/models").status_code == 200

    def test_without_the_token_it_is_a_401(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LORA_LEADERBOARD_CACHE", str(folder / "cache"))
        with Running(folder / "models.yaml", models=("tiny",), token=TOKEN) as guarded:
            with guarded.client("another") as client, pytest.raises(openai.AuthenticationError) as caught:
                completed(client, "tiny", "a")
            assert caught.value.code == "invalid_api_key"
            with guarded.client() as client:
                assert completed(client, "tiny", "a").choices
            assert httpx.get(f"{guarded.url}/models").headers["WWW-Authenticate"] == "Bearer"
            assert httpx.get(f"{guarded.url}/models", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200
            assert httpx.get(f"{guarded.url}/models", headers={"Authorization": TOKEN}).status_code == 401
            assert httpx.get(f"{guarded.address}/metrics").status_code == 401
            assert httpx.get(f"{guarded.address}/health").json() == {"status": "ok"}


@pytest.mark.filterwarnings("ignore:The `dict` method is deprecated")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
class TestLorax:
    """The package of its clients, as it is published."""

    @pytest.fixture
    def lorax_client(self, front: Running) -> lorax.Client:
        return lorax.Client(front.address, timeout=60)

    @pytest.mark.parametrize("name", [None, "adapter1", "adapter2"])
    def test_its_client_is_answered_by_the_adapter(
        self, lorax_client: lorax.Client, expected: dict[tuple[str, str], str], name: str | None
    ) -> None:
        found = lorax_client.generate(PROMPTS[0], adapter_id=name, max_new_tokens=12)
        assert found.generated_text == expected[name or "tiny", PROMPTS[0]]
        assert found.details is not None
        assert found.details.generated_tokens <= 12
        assert found.details.finish_reason in ("length", "eos_token")
        *_, last = parts = list(lorax_client.generate_stream(PROMPTS[0], adapter_id=name, max_new_tokens=12))
        assert last.generated_text == found.generated_text
        assert last.details is not None
        assert last.details.generated_tokens == found.details.generated_tokens
        assert [part.token.id for part in parts if not part.token.special] == [
            token.id for token in found.details.tokens
        ]

    def test_its_errors_are_those_of_its_own_server(self, front: Running, lorax_client: lorax.Client) -> None:
        with pytest.raises(lorax.errors.GenerationError, match="no model 'absent'"):
            lorax_client.generate("a", adapter_id="absent")
        with pytest.raises(lorax.errors.ValidationError, match="a slot holds 256"):
            lorax_client.generate("x" * 600)
        with pytest.raises(lorax.errors.ValidationError, match=r"'parameters\.typical_p'"):
            lorax_client.generate("a", typical_p=0.5)

    def test_generate_has_an_object_where_the_root_has_a_list(self, front: Running) -> None:
        body = {"inputs": "a", "parameters": {"max_new_tokens": 1}}
        assert list(httpx.post(f"{front.address}/generate", json=body).json()) == ["generated_text"]
        assert isinstance(httpx.post(front.address, json=body).json(), list)


class TestLoad:
    """Many clients at once, and such that hang up."""

    def test_a_full_queue_is_a_429_and_the_others_are_answered(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LORA_LEADERBOARD_CACHE", str(folder / "cache"))
        with Running(folder / "models.yaml", max_queue=1, context=4096) as small, small.client() as client:
            found: list[Any] = []

            def ask() -> None:
                try:
                    found.append(completed(client, "tiny", "ab", max_tokens=1500, extra_body={"ignore_eos": True}))
                except openai.RateLimitError as error:
                    found.append(error)

            asking = [threading.Thread(target=ask) for _ in range(8)]
            for one in asking:
                one.start()
            for one in asking:
                one.join()
            refused = [one for one in found if isinstance(one, openai.RateLimitError)]
            assert 1 <= len(refused) <= 6
            assert all(one.response.headers["Retry-After"] == "1" for one in refused)
            assert "the queue is full: 1 requests wait already" in str(refused[0])
            assert all(one.usage.completion_tokens == 1500 for one in found if one not in refused)

    def test_clients_that_hang_up_leave_no_slot_taken(self, front: Running, client: openai.OpenAI) -> None:
        before = front.metric("harness_requests_total")
        for place in range(30):
            body = {"model": NAMES[place % 3], "prompt": f"ab {place}", "max_tokens": 200, "ignore_eos": True}
            content = json.dumps({**body, "stream": place % 2 == 0}).encode()
            with socket.create_connection(("127.0.0.1", int(front.address.rpartition(":")[2]))) as connection:
                head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
                connection.sendall(head.encode() + content)
                if place % 2 == 0:
                    connection.recv(100)
        wait_for(lambda: front.metric("harness_queue") == 0)
        wait_for(lambda: front.metric("harness_requests_total") == before + 30)
        assert completed(client, "adapter1", "a").choices

    def test_who_ends_it_lets_running_answers_end(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LORA_LEADERBOARD_CACHE", str(folder / "cache"))
        with Running(folder / "models.yaml", context=4096) as ending, ending.client() as client:
            more: Any = {"max_tokens": 500, "stream": True, "extra_body": {"ignore_eos": True}}
            stream = completed(client, "adapter1", "ab", **more)
            next(stream)
            ending.stop()
            *_, last = stream
            assert last.choices[0].finish_reason == "length"


def test_an_answer_that_does_not_end_is_cut_off_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp waits twice for what runs, so that a server would end after 20 s, and not after 10."""
    cut_off = asyncio.Event()

    async def hang(request: web.BaseRequest) -> web.StreamResponse:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cut_off.set()
            raise
        raise AssertionError

    async def ask(url: str) -> None:
        async with httpx.AsyncClient() as client:
            with contextlib.suppress(httpx.HTTPError):
                await client.get(url, timeout=None)

    async def run() -> None:
        async with Front(hang, 0, patience=0.1) as front:
            asking = asyncio.create_task(ask(front.url))
            await asyncio.sleep(0.2)
            assert front._runner is not None
            cleanup = front._runner.cleanup

            async def waiting() -> None:
                async with asyncio.timeout(30):
                    await cut_off.wait()
                await cleanup()

            monkeypatch.setattr(front, "_runner", SimpleNamespace(cleanup=waiting))
        await asking

    asyncio.run(run())


class TestLoading:
    @pytest.fixture
    def loaded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
        monkeypatch.setenv("LORA_LEADERBOARD_CACHE", str(tmp_path / "cache"))
        models = project(tmp_path)
        with Running(models, adapters=tmp_path / "adapters", context=128) as running:
            yield running

    def test_an_adapter_is_loaded_and_unloaded_while_it_runs(self, loaded: Running, tmp_path: Path) -> None:
        tiny_gguf.write_adapter(tmp_path / "adapters" / "third", seed=3)
        post = f"{loaded.url}/load_lora_adapter"
        found = httpx.post(post, json={"lora_name": "third", "lora_path": str(tmp_path / "adapters" / "third")})
        assert (found.status_code, found.text) == (200, "Success: LoRA adapter 'third' added successfully.")
        with loaded.client() as client:
            texts = {completed(client, name, "no abab").choices[0].text for name in (*NAMES, "third")}
            assert len(texts) == 4
            found = httpx.post(f"{loaded.url}/unload_lora_adapter", json={"lora_name": "third"})
            assert found.status_code == 200
            with pytest.raises(openai.NotFoundError):
                completed(client, "third", "a")

    def test_what_cannot_be_loaded_leaves_all_as_it_was(self, loaded: Running, tmp_path: Path) -> None:
        tiny_gguf.write_adapter(tmp_path / "adapters" / "deeper", layers=3)
        tiny_gguf.write_adapter(tmp_path / "elsewhere")
        (tmp_path / "adapters" / "linked").symlink_to(tmp_path / "elsewhere")

        def load(name: str, path: Path | str) -> tuple[int, str]:
            found = httpx.post(
                f"{loaded.url}/load_lora_adapter", json={"lora_name": name, "lora_path": str(path)}, timeout=60
            )
            return found.status_code, found.json()["error"]["message"]

        status, said = load("deeper", "deeper")
        assert (status, "has a weight that its base has no layer for" in said) == (400, True)
        assert load("elsewhere", tmp_path / "elsewhere")[0] == 403
        assert load("linked", "linked")[0] == 403
        assert load("up", tmp_path / "adapters" / ".." / "elsewhere")[0] == 403
        status, said = load("absent", "absent")
        assert (status, "has no adapter_config.json" in said) == (400, True)
        assert "already been loaded" in load("adapter1", "adapter1")[1]
        for place in ("a\0b", "a" * 5000):
            status, said = load("odd", place)
            assert (status, "'lora_path' cannot be read" in said) == (400, True)
        with loaded.client() as client:
            assert completed(client, "adapter1", "a").choices

    def test_a_loaded_adapter_outlives_its_folder(self, loaded: Running, tmp_path: Path) -> None:
        before = httpx.get(f"{loaded.url}/models").json()
        with loaded.client() as client:
            expected = [completed(client, name, "no abab").choices[0].text for name in NAMES]
            shutil.rmtree(tmp_path / "adapters" / "adapter1")
            tiny_gguf.write_adapter(tmp_path / "adapters" / "adapter2", seed=7)
            for change, name in (("load", "third"), ("unload", "third")):
                tiny_gguf.write_adapter(tmp_path / "adapters" / "third", seed=3)
                body = {"lora_name": name, "lora_path": name}
                assert httpx.post(f"{loaded.url}/{change}_lora_adapter", json=body).status_code == 200
            assert [completed(client, name, "no abab").choices[0].text for name in NAMES] == expected
        assert httpx.get(f"{loaded.url}/models").json() == before

    def test_adapters_loaded_at_the_same_time_are_all_there(self, loaded: Running, tmp_path: Path) -> None:
        names = [f"more{number}" for number in range(4)]
        for number, name in enumerate(names):
            tiny_gguf.write_adapter(tmp_path / "adapters" / name, seed=10 + number)

        def load(name: str) -> int:
            return httpx.post(
                f"{loaded.url}/load_lora_adapter", json={"lora_name": name, "lora_path": name}
            ).status_code

        with ThreadPoolExecutor(5) as pool:
            assert sorted(pool.map(load, [*names, names[0]])) == [200] * 4 + [400]
        with loaded.client() as client:
            assert len({completed(client, name, "no abab").choices[0].text for name in (*NAMES, *names)}) == 7

    def test_an_adapter_is_loaded_although_who_asked_for_it_hangs_up(self, loaded: Running, tmp_path: Path) -> None:
        tiny_gguf.write_adapter(tmp_path / "adapters" / "third", seed=3)
        content = b'{"lora_name": "third", "lora_path": "third"}'
        with loaded.client() as client:
            stream = completed(client, "tiny", "a", max_tokens=100, stream=True, extra_body={"ignore_eos": True})
            next(stream)
            with socket.create_connection(("127.0.0.1", int(loaded.address.rpartition(":")[2]))) as connection:
                head = (
                    f"POST /v1/load_lora_adapter HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
                )
                connection.sendall(head.encode() + content)
                time.sleep(0.1)
            list(stream)
            wait_for(lambda: "third" in httpx.get(f"{loaded.url}/models").text)
            assert completed(client, "third", "a").choices

    def test_without_a_folder_of_adapters_nothing_is_loaded(self, front: Running) -> None:
        found = httpx.post(f"{front.url}/load_lora_adapter", json={"lora_name": "a", "lora_path": "/etc"})
        assert found.status_code == 403


def test_requests_are_counted_by_model_and_status(front: Running, client: openai.OpenAI) -> None:
    before = front.metric("harness_completion_tokens_total")
    found = completed(client, "adapter2", "12", max_tokens=5)
    assert front.metric("harness_completion_tokens_total") == before + found.usage.completion_tokens
    text = httpx.get(f"{front.address}/metrics").text
    assert 'harness_requests_total{model="adapter2",status="200"}' in text
    assert 'model="absent' not in text


def test_requests_are_logged_with_their_answers(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_LEADERBOARD_CACHE", str(folder / "cache"))
    with (
        Running(folder / "models.yaml", token=TOKEN, record=tmp_path / "log") as recording,
        recording.client() as client,
    ):
        whole = completed(client, "adapter1", PROMPTS[0])
        streamed = "".join(part.choices[0].text for part in completed(client, "adapter1", PROMPTS[0], stream=True))
    log = (tmp_path / "log" / "requests.jsonl").read_text()
    first, second = map(json.loads, log.splitlines())
    assert first["input"]["model"] == "adapter1"
    assert first["output"]["choices"][0]["text"] == second["output"]["choices"][0]["text"] == whole.choices[0].text
    assert streamed == whole.choices[0].text
    assert TOKEN not in log
