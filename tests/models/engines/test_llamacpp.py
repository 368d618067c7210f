"""llama.cpp in this process, with a tiny base and adapters of random weights."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.models.engines import llamacpp
from harness.models.engines.decoding import DecodedAnswer, PromptTooLong, Query
from harness.models.engines.llamacpp import LlamaCpp
from tests.models import tiny_gguf

PROMPTS = ("no abab", "1, 2, 3, 12,", "yes or no?", "The answer:")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and two adapters."""
    folder = tmp_path_factory.mktemp("models")
    tiny_gguf.write_base(folder / "tiny.gguf")
    for seed in (1, 2):
        tiny_gguf.write_adapter(folder / f"adapter{seed}", seed=seed)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORA_LEADERBOARD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[LlamaCpp]:
    engine = LlamaCpp(str(folder / "tiny.gguf"), threads=1)
    for seed in (1, 2):
        engine.add(str(folder / f"adapter{seed}"))
    yield engine
    engine.close()


def ask(engine: LlamaCpp, query: Query, adapter: Path | None = None) -> DecodedAnswer:
    return asyncio.run(engine.ask(str(adapter) if adapter else None, query))


class TestAnswers:
    def test_they_end_at_the_limit_and_count_their_tokens(self, engine: LlamaCpp) -> None:
        found = ask(engine, Query("no abab", 5))
        assert (found.finish, found.input_tokens, found.output_tokens) == ("length", 4, 5)
        assert found.text

    def test_the_base_and_each_adapter_answer_otherwise(self, engine: LlamaCpp, folder: Path) -> None:
        asked = [None, folder / "adapter1", folder / "adapter2"]
        texts = [tuple(ask(engine, Query(prompt, 12), adapter).text for prompt in PROMPTS) for adapter in asked]
        assert len(set(texts)) == 3

    def test_an_answer_does_not_depend_on_what_was_asked_before(self, engine: LlamaCpp, folder: Path) -> None:
        """The prefix of the last prompt is kept, but not under another adapter."""
        asked = [(prompt, adapter) for prompt in PROMPTS for adapter in (None, folder / "adapter1")]
        forth = {each: ask(engine, Query(each[0], 12), each[1]).text for each in asked}
        back = {each: ask(engine, Query(each[0], 12), each[1]).text for each in reversed(asked)}
        assert forth == back

    def test_a_stop_string_ends_them_and_is_cut_off(self, engine: LlamaCpp) -> None:
        whole = ask(engine, Query("no abab", 12)).text
        stop = next(letter for letter in whole if letter.isascii() and letter.isalnum())
        found = ask(engine, Query("no abab", 12, stop=(stop,)))
        assert (found.text, found.finish) == (whole[: whole.index(stop)], "stop")

    @pytest.mark.parametrize("labels", [("yes", "no"), ("no", "nobody"), ('say "x"', "b\\n"), ("日本", "café")])
    def test_with_labels_they_are_one_of_them(self, labels: tuple[str, ...], engine: LlamaCpp, folder: Path) -> None:
        for adapter in (None, folder / "adapter1", folder / "adapter2"):
            found = ask(engine, Query("yes or no?", 1, labels=labels), adapter)
            assert found.text.removeprefix(" ") in labels
            assert found.text.startswith(" ")
            assert found.finish == "stop"

    def test_a_chat_puts_the_prompt_into_the_models_template(self, engine: LlamaCpp) -> None:
        found = ask(engine, Query("no abab", 5, chat=True))
        assert found.input_tokens == ask(engine, Query("<|im_start|>no abab<|im_end|>", 1)).input_tokens


class TestTheContext:
    def test_a_prompt_longer_than_it_is_refused(self, engine: LlamaCpp) -> None:
        with pytest.raises(PromptTooLong, match="the prompt has 4500 tokens, and the model reads 4095 at most"):
            ask(engine, Query("x" * 4500, 3))

    def test_it_grows_for_a_prompt_that_needs_more(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(llamacpp, "CONTEXT", 256)
        engine = LlamaCpp(str(folder / "tiny.gguf"), threads=1)
        engine._context = 256
        assert ask(engine, Query("x" * 1000, 3)).input_tokens == 1000
        engine.close()

    def test_it_grows_for_an_answer_that_needs_more(self, folder: Path) -> None:
        engine = LlamaCpp(str(folder / "tiny.gguf"), threads=1)
        engine._context = 256
        found = ask(engine, Query("x" * 250, 20))
        assert (found.finish, found.output_tokens) == ("length", 20)
        engine.close()


class TestMistakes:
    def test_an_adapter_of_another_base_is_refused_and_the_others_still_answer(
        self, folder: Path, tmp_path: Path
    ) -> None:
        tiny_gguf.write_adapter(tmp_path / "foreign", layers=3)
        engine = LlamaCpp(str(folder / "tiny.gguf"), threads=1)
        engine.add(str(tmp_path / "foreign"))
        assert ask(engine, Query("no", 2), folder / "adapter1").output_tokens == 2
        with pytest.raises(UserError, match="has a weight that its base has no layer for"):
            ask(engine, Query("no", 2), tmp_path / "foreign")
        assert ask(engine, Query("no", 2)).output_tokens == 2
        engine.close()

    def test_an_adapter_that_is_not_there(self, engine: LlamaCpp, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"the adapter in .*absent cannot be read"):
            ask(engine, Query("no", 2), tmp_path / "absent")

    @pytest.mark.parametrize("content", [b"", b"GGUF but no more", b"x" * 1000])
    def test_a_base_that_is_no_gguf_file(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "bad.gguf").write_bytes(content)
        engine = LlamaCpp(str(tmp_path / "bad.gguf"), threads=1)
        with pytest.raises(UserError, match=r"llama\.cpp cannot load .*bad\.gguf"):
            ask(engine, Query("no", 2))
        engine.close()

    def test_a_base_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"there is no GGUF file '.*absent\.gguf'; known names: smollm2-135m"):
            ask(LlamaCpp(str(tmp_path / "absent.gguf")), Query("no", 2))


class TestConversion:
    def test_it_is_done_once_and_again_for_other_weights(self, folder: Path, tmp_path: Path) -> None:
        adapter = tiny_gguf.write_adapter(tmp_path / "adapter", seed=5)
        first = llamacpp.converted(adapter, folder / "tiny.gguf")
        made = first.stat().st_mtime_ns
        assert llamacpp.converted(adapter, folder / "tiny.gguf").stat().st_mtime_ns == made
        tiny_gguf.write_adapter(adapter, seed=6)
        assert llamacpp.converted(adapter, folder / "tiny.gguf") != first


def test_one_that_is_given_up_as_soon_as_it_is_started_ends(folder: Path) -> None:
    """In a process of its own, which could not be stopped otherwise: llama.cpp waits for a thread that never ends."""
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from harness.models.engines.llamacpp import server_settings, start_server\n"
        "for _ in range(5):\n    start_server(server_settings(Path(sys.argv[1]), [], context=64))"
    )
    subprocess.run([sys.executable, "-c", program, folder / "tiny.gguf"], check=True, timeout=120)


@pytest.mark.parametrize(("load", "threads"), [(0.3, 4), (1.2, 3), (3.5, 1), (8.5, 1)])
def test_there_is_a_thread_for_each_core_that_is_free(
    load: float, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr("os.getloadavg", lambda: (load, 20.0, 20.0), raising=False)
    assert llamacpp._threads() == threads
