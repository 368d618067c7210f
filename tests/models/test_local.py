"""`backend: local`, from the entry of a models file to a scored row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.ask.run import BenchOptions, bench
from harness.errors import DataError, ModelRejected, Rejected
from harness.models import local
from harness.models.connect import Connections
from harness.models.engines.runner import Runner, load
from harness.models.entry import LocalModel, ModelEntry
from harness.models.local import LocalBackend, adapter_of, fingerprint
from harness.store.results import read_responses
from tests.models.asking import request, run
from tests.models.engines.engine import Scripted
from tests.train import tiny

ROOT = Path(__file__).parents[2]


def model(**settings: Any) -> LocalModel:
    return LocalModel(backend="local", model="some/base", **settings)


def backend(adapter: str | None = None, labels: tuple[str, ...] = (), **settings: Any) -> LocalBackend:
    """The base answers "left, then right" to whatever is asked."""
    engine = Scripted({"Is it?": "left, then right"})
    return LocalBackend(model(**settings), adapter, labels, Runner(lambda: engine))


class TestOneRow:
    def test_an_answer_says_how_it_ended_and_how_long_it_was(self) -> None:
        reply = run(backend().ask(request(max_tokens=5)))
        assert (reply.completion, reply.finish_reason, reply.output_tokens) == ("left,", "length", 5)
        assert reply.input_tokens == len("Is it?")

    def test_with_labels_it_is_one_of_them(self) -> None:
        reply = run(backend(labels=("left", "right"), decode="labels").ask(request()))
        assert reply.completion.strip() in {"left", "right"}

    def test_a_prompt_longer_than_the_context_fails_the_row_only(self) -> None:
        with pytest.raises(Rejected, match=r"the prompt has \d+ tokens, and the model reads \d+ at most") as caught:
            run(backend().ask(request("word " * 99)))
        assert not isinstance(caught.value, ModelRejected)

    def test_a_model_that_cannot_be_loaded_fails_all_rows(self, tmp_path: Path) -> None:
        absent = LocalBackend(model(), None, (), Runner(lambda: load(str(tmp_path))))
        with pytest.raises(ModelRejected, match="cannot be loaded"):
            run(absent.ask(request()))


class TestItsBody:
    def test_says_all_that_decides_the_answer(self) -> None:
        asked = request("p", max_tokens=4, stop=("\n",))
        assert backend().body(asked) == {"prompt": "p", "max_new_tokens": 4, "stop": ["\n"]}

    def test_labels_are_a_part_of_it_only_when_nothing_else_may_be_said(self) -> None:
        assert "labels" not in backend(labels=("yes", "no")).body(request())
        assert backend(labels=("yes", "no"), decode="labels").body(request())["labels"] == ["yes", "no"]

    def test_the_entrys_limit_and_shape_come_before_the_tasks(self) -> None:
        body = backend(max_tokens=9, api="chat").body(request())
        assert (body["max_new_tokens"], body["chat"]) == (9, True)


class TestItsIdentity:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("adapter_model.safetensors", "adapter_config.json", "README.md"):
            (tmp_path / name).write_text(name)
        return tmp_path

    @pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
    def test_it_changes_with_what_decides_answers(self, folder: Path, name: str) -> None:
        before = fingerprint(folder)
        (folder / name).write_text(name.swapcase())
        assert fingerprint(folder) != before

    def test_a_large_file_is_read_whole_once(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Trained again where only a layer in the middle of the file changes, and then not read again."""
        monkeypatch.setenv("LORA_LEADERBOARD_CACHE", str(folder / "cache"))
        weights = folder / "adapter_model.safetensors"
        content = bytearray(9 << 20)
        weights.write_bytes(content)
        before = fingerprint(folder)
        content[len(content) // 2] = 1
        weights.write_bytes(content)
        assert (after := fingerprint(folder)) != before
        monkeypatch.setattr(local, "file_sha256", lambda path: pytest.fail("the file was read again"))
        assert fingerprint(folder) == after

    def test_it_does_not_change_with_the_rest(self, folder: Path) -> None:
        before = fingerprint(folder)
        (folder / "README.md").write_text("another text")
        assert fingerprint(folder) == before

    def test_what_is_not_in_a_folder_has_none(self) -> None:
        assert fingerprint(Path("mistralai/Mistral-7B-v0.1")) is None

    def test_a_base_and_its_adapters_differ(self, folder: Path) -> None:
        (folder / "one").mkdir()
        (folder / "one" / "adapter_config.json").write_text("{}")
        found = [json.dumps(backend(adapter).identity) for adapter in (None, str(folder), str(folder / "one"))]
        assert len(set(found)) == 3


class TestItsAdapter:
    def test_a_task_has_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "ag_news").mkdir()
        assert adapter_of(model(adapter=f"{tmp_path}/{{task}}"), "ag_news") == str(tmp_path / "ag_news")

    def test_a_base_in_a_folder_needs_one_in_a_folder(self, tmp_path: Path) -> None:
        entry = LocalModel(backend="local", model=str(tmp_path), adapter="nowhere/{task}")
        with pytest.raises(DataError, match="there is no adapter in nowhere/jigsaw"):
            adapter_of(entry, "jigsaw")

    def test_that_of_a_base_of_the_hub_may_be_of_the_hub(self) -> None:
        assert adapter_of(model(adapter="some/{task}"), "jigsaw") == "some/jigsaw"

    def test_a_base_needs_none(self) -> None:
        assert adapter_of(model(), "jigsaw") is None

    def test_models_of_one_base_share_it(self, tmp_path: Path) -> None:
        connections = Connections()

        def runner(adapter: str | None) -> object:
            entry = ModelEntry("base", model(adapter=adapter), ())
            opened = connections.open(
                entry, "jigsaw", objective=None, fingerprint=None, training=lambda: ([], []), column=lambda name: {}
            )
            assert isinstance(opened, LocalBackend)
            return opened.runner

        assert runner(None) is runner(str(tmp_path)) is runner("some/{task}")


@pytest.mark.local
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_run_of_base_and_adapter_answers_every_row(tmp_path: Path) -> None:
    """Of two tasks, the second without an adapter."""
    base = tiny.base(tmp_path / "base", context=1024)
    tiny.adapter(base, tmp_path / "adapters" / "glue_sst2")
    tuned = {"backend": "local", "model": str(base), "adapter": f"{tmp_path}/adapters/{{task}}", "base": "base"}
    entries = {"base": {"backend": "local", "model": str(base)}, "lora": tuned, "labels": {**tuned, "decode": "labels"}}
    (tmp_path / "models.yaml").write_text(json.dumps(entries))
    lines: list[str] = []
    results = tmp_path / "results"
    tasks = ("glue_sst2", "ag_news")
    runs = bench(BenchOptions(tasks, (), tmp_path / "models.yaml", ROOT / "tasks", results, "sample"), lines.append)

    answers = {name: [row.completion for row in read_responses(results / "glue_sst2" / name)] for name in entries}
    assert all(len(rows) >= 20 and None not in rows for rows in answers.values())
    assert sorted(map(str, answers["base"])) != sorted(map(str, answers["lora"]))
    assert {(text or "").strip() for text in answers["labels"]} <= {"positive", "negative"}
    assert [(run.task, run.model) for run in runs if run.labels_only] == [("glue_sst2", "labels")]
    assert any("ag_news" in line and "lora" in line and "there is no adapter in" in line for line in lines)
    assert not (results / "ag_news" / "lora" / "responses.jsonl").exists()
    assert (results / "ag_news" / "base" / "responses.jsonl").exists()
