"""`backend: local`, from the entry of a models file to a scored row, with the model that is shipped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.ask.run import BenchOptions, bench
from harness.errors import DataError, ModelRejected, Rejected
from harness.models.connect import Connections
from harness.models.engines.runner import Runner, load
from harness.models.entry import LocalModel, ModelEntry
from harness.models.local import LocalBackend, adapter_of, fingerprint
from harness.store.results import read_responses
from tests.models.asking import request, run
from tests.models.engines.mini import ADAPTERS, LORA, MINI, ROOT


def model(**settings: Any) -> LocalModel:
    return LocalModel(backend="local", model=str(MINI), **settings)


def backend(
    adapter: str | None = None, labels: tuple[str, ...] = (), base: Path = MINI, **settings: Any
) -> LocalBackend:
    return LocalBackend(model(**settings), adapter, labels, Runner(lambda: load(str(base), exported=True)))


class TestOneRow:
    def test_an_answer_says_how_it_ended_and_how_long_it_was(self) -> None:
        reply = run(backend().ask(request("The restaurant", max_tokens=5)))
        assert (reply.finish_reason, reply.output_tokens) == ("length", 5)
        assert reply.input_tokens
        assert reply.completion

    def test_with_labels_it_is_one_of_them(self) -> None:
        reply = run(backend(labels=("left", "right"), decode="labels").ask(request()))
        assert reply.completion.strip() in {"left", "right"}

    def test_a_prompt_longer_than_the_context_fails_the_row_only(self) -> None:
        with pytest.raises(Rejected, match=r"the prompt has \d+ tokens, and the model reads \d+ at most") as caught:
            run(backend().ask(request("word " * 9999)))
        assert not isinstance(caught.value, ModelRejected)

    def test_a_model_that_cannot_be_loaded_fails_all_rows(self, tmp_path: Path) -> None:
        shutil.copy(MINI / "genai_config.json", tmp_path)
        with pytest.raises(ModelRejected, match="cannot be loaded"):
            run(backend(base=tmp_path).ask(request()))


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
        for name in ("adapter.onnx_adapter", "adapter_config.json", "README.md"):
            (tmp_path / name).write_text(name)
        return tmp_path

    @pytest.mark.parametrize("name", ["adapter.onnx_adapter", "adapter_config.json"])
    def test_it_changes_with_what_decides_answers(self, folder: Path, name: str) -> None:
        before = fingerprint(folder)
        (folder / name).write_text(name.swapcase())
        assert fingerprint(folder) != before

    def test_it_does_not_change_with_the_rest(self, folder: Path) -> None:
        before = fingerprint(folder)
        (folder / "README.md").write_text("another text")
        assert fingerprint(folder) == before

    def test_what_is_not_in_a_folder_has_none(self) -> None:
        assert fingerprint(Path("mistralai/Mistral-7B-v0.1")) is None

    def test_a_base_and_its_adapters_differ(self) -> None:
        found = [json.dumps(backend(adapter).identity) for adapter in (None, *ADAPTERS)]
        assert len(set(found)) == 3


class TestItsAdapter:
    def test_a_task_has_its_own(self) -> None:
        assert adapter_of(model(adapter=f"{LORA}/{{task}}"), "ag_news") == str(LORA / "ag_news")

    def test_a_base_in_a_folder_needs_one_in_a_folder(self) -> None:
        with pytest.raises(DataError, match="there is no adapter in nowhere/jigsaw"):
            adapter_of(model(adapter="nowhere/{task}"), "jigsaw")

    def test_that_of_a_base_of_the_hub_may_be_of_the_hub(self) -> None:
        entry = LocalModel(backend="local", model="some/base", adapter="some/{task}")
        assert adapter_of(entry, "jigsaw") == "some/jigsaw"

    def test_a_base_needs_none(self) -> None:
        assert adapter_of(model(), "jigsaw") is None

    def test_models_of_one_base_share_it_unless_an_adapter_needs_another_engine(self, tmp_path: Path) -> None:
        connections = Connections()

        def runner(adapter: str | None) -> Runner:
            entry = ModelEntry("mini", model(adapter=adapter), ())
            opened = connections.open(entry, "jigsaw", classify=True, fingerprint=None, training=lambda: ([], []))
            assert isinstance(opened, LocalBackend)
            return opened.runner

        assert runner(None) is runner(ADAPTERS[0]) is runner(ADAPTERS[1])
        assert runner(str(tmp_path)) is not runner(None)


class TestARun:
    @pytest.fixture
    def made(self, tmp_path: Path) -> tuple[list[Any], list[str], Path]:
        """A run of two tasks, the second without an adapter."""
        adapters = tmp_path / "adapters"
        adapters.mkdir()
        (adapters / "glue_sst2").symlink_to(ADAPTERS[0])
        tuned = {"backend": "local", "model": str(MINI), "adapter": f"{adapters}/{{task}}", "base": "mini"}
        entries = {
            "mini": {"backend": "local", "model": str(MINI)},
            "mini-lora": tuned,
            "mini-labels": {**tuned, "decode": "labels"},
        }
        (tmp_path / "models.yaml").write_text(json.dumps(entries))
        lines: list[str] = []
        options = BenchOptions(
            ("glue_sst2", "ag_news"), (), tmp_path / "models.yaml", ROOT / "tasks", tmp_path / "results", "sample"
        )
        return bench(options, lines.append), lines, tmp_path / "results"

    def test_every_row_of_every_model_is_answered(self, made: tuple[list[Any], list[str], Path]) -> None:
        _, _, results = made
        for name in ("mini", "mini-lora", "mini-labels"):
            rows = list(read_responses(results / "glue_sst2" / name))
            assert len(rows) >= 20
            assert {row.status for row in rows} <= {"ok", "truncated"}

    def test_a_tuned_model_answers_with_labels(self, made: tuple[list[Any], list[str], Path]) -> None:
        _, _, results = made
        for name in ("mini-lora", "mini-labels"):
            rows = list(read_responses(results / "glue_sst2" / name))
            assert {(row.completion or "").strip() for row in rows} <= {"positive", "negative", "0", "1"}, name

    def test_the_manifest_says_which_model_was_allowed_labels_only(
        self, made: tuple[list[Any], list[str], Path]
    ) -> None:
        manifests, _, _ = made
        assert [(run.task, run.model) for run in manifests if run.labels_only] == [("glue_sst2", "mini-labels")]

    def test_a_task_without_an_adapter_is_left_out_and_said_so(self, made: tuple[list[Any], list[str], Path]) -> None:
        _, lines, results = made
        assert any("ag_news" in line and "mini-lora" in line and "there is no adapter in" in line for line in lines)
        assert not (results / "ag_news" / "mini-lora" / "responses.jsonl").exists()
        assert (results / "ag_news" / "mini" / "responses.jsonl").exists()
