"""`backend: llamacpp`, from the entry of a models file to a scored row, with a tiny base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.ask.run import BenchOptions, bench
from harness.errors import DataError, ModelRejected, Rejected
from harness.models.connect import Connections
from harness.models.engines.known_bases import KNOWN
from harness.models.entry import LlamaCppModel, ModelEntry
from harness.models.local import LocalBackend, adapter_of
from harness.store.results import read_responses
from tests.models import tiny_gguf
from tests.models.asking import request, run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORA_LEADERBOARD_CACHE", str(tmp_path / "cache"))
    return tiny_gguf.write_base(tmp_path / "tiny.gguf")


def opened(opening: Connections, model: str | Path, task: str = "jigsaw", **settings: Any) -> LocalBackend:
    entry = LlamaCppModel(backend="llamacpp", model=str(model), threads=1, **settings)
    found = opening.open(
        ModelEntry("tiny", entry, ()), task, objective=None, labels=("yes", "no"), fingerprint=None,
        training=lambda: ([], []), column=lambda name: {},
    )  # fmt: skip
    assert isinstance(found, LocalBackend)
    return found


async def asked(model: str | Path, prompt: str = "Is it?", **settings: Any) -> Any:
    async with Connections() as opening:
        return await opened(opening, model, **settings).ask(request(prompt))


class TestOneRow:
    def test_an_answer_says_how_it_ended_and_how_long_it_was(self, base: Path) -> None:
        reply = run(asked(base))
        assert (reply.finish_reason, reply.output_tokens, reply.input_tokens) == ("length", 4, 6)

    def test_with_labels_it_is_one_of_them(self, base: Path) -> None:
        assert run(asked(base, decode="labels")).completion.strip() in {"yes", "no"}

    def test_a_prompt_longer_than_the_context_fails_the_row_only(self, base: Path) -> None:
        with pytest.raises(Rejected, match="the prompt has 5000 tokens, and the model reads 4095 at most") as caught:
            run(asked(base, "x" * 5000))
        assert not isinstance(caught.value, ModelRejected)

    def test_a_model_that_cannot_be_loaded_fails_all_rows(self, tmp_path: Path) -> None:
        with pytest.raises(ModelRejected, match="there is no GGUF file"):
            run(asked(tmp_path / "absent.gguf"))

    def test_without_llama_cpp_it_says_how_to_install_it(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "xllamacpp", None)
        with pytest.raises(ModelRejected, match=r"cannot be loaded: .*pip install xllamacpp"):
            run(asked(base))


class TestWhatItIs:
    def test_models_of_one_base_share_it(self, base: Path, tmp_path: Path) -> None:
        tiny_gguf.write_adapter(tmp_path / "lora" / "jigsaw")
        opening = Connections()
        adapter = str(tmp_path / "lora" / "{task}")
        bare, tuned = opened(opening, base), opened(opening, base, adapter=adapter)
        assert bare.runner is tuned.runner
        assert bare.identity != tuned.identity
        assert tuned.identity["adapter_weights"]

    def test_other_weights_under_the_same_name_are_another_model(self, base: Path) -> None:
        before = opened(Connections(), base).identity
        tiny_gguf.write_base(base, seed=3)
        assert opened(Connections(), base).identity != before

    def test_a_known_name_stands_for_its_file_whether_or_not_it_is_there(self) -> None:
        found = opened(Connections(), "smollm2-135m").identity
        assert KNOWN["smollm2-135m"].sha256.startswith(found["weights"])

    def test_an_adapter_must_be_a_folder(self, base: Path) -> None:
        entry = LlamaCppModel(backend="llamacpp", model=str(base), adapter="some/{task}")
        with pytest.raises(DataError, match="there is no adapter in some/jigsaw"):
            adapter_of(entry, "jigsaw")


def test_a_run_answers_every_row_the_same_every_time(base: Path, tmp_path: Path) -> None:
    tiny_gguf.write_adapter(tmp_path / "lora" / "glue_sst2")
    tuned = {"backend": "llamacpp", "model": str(base), "adapter": f"{tmp_path}/lora/{{task}}", "threads": 1}
    entries = {
        "tiny": {"backend": "llamacpp", "model": str(base), "threads": 1},
        "tiny-lora": {**tuned, "base": "tiny"},
        "tiny-labels": {**tuned, "base": "tiny", "decode": "labels"},
    }
    (tmp_path / "models.yaml").write_text(json.dumps(entries))

    def answers(results: Path) -> dict[str, list[str | None]]:
        lines: list[str] = []
        tasks = ("glue_sst2", "ag_news")
        bench(BenchOptions(tasks, (), tmp_path / "models.yaml", ROOT / "tasks", results, "sample"), lines.append)
        assert any("ag_news" in line and "tiny-lora" in line and "there is no adapter in" in line for line in lines)
        assert not (results / "ag_news" / "tiny-lora" / "responses.jsonl").exists()
        found = {
            name: sorted(read_responses(results / "glue_sst2" / name), key=lambda row: row.row) for name in entries
        }
        return {name: [row.completion for row in rows] for name, rows in found.items()}

    first, second = answers(tmp_path / "a"), answers(tmp_path / "b")
    assert first == second
    assert all(len(rows) >= 20 and None not in rows for rows in first.values())
    assert {(text or "").strip() for text in first["tiny-labels"]} <= {"positive", "negative"}
    assert first["tiny"] != first["tiny-lora"]
