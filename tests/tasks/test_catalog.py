"""Tasks and models by name: unknown names, variables of the environment, secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import SpecError, UserError
from harness.models.entry import ModelEntry, load_models
from harness.shipped import TASKS, models_file
from harness.tasks.catalog import TaskFile, load_task, task_files, task_names
from tests.tasks.conftest import GOOD

Load = Callable[..., list[ModelEntry]]
Problems = Callable[[str], list[str]]
SHIPPED = Path(__file__).parents[2] / "models.yaml"


class TestTasks:
    def test_names_are_the_files(self, tmp_path: Path) -> None:
        for name in ("b.yaml", "a.yaml", "task.schema.json", "notes.txt"):
            (tmp_path / name).write_text(GOOD)
        assert task_names(tmp_path) == ["a", "b"]

    @pytest.mark.parametrize("folder", ["", "absent"])
    def test_a_folder_without_tasks_is_an_error_that_names_the_option(self, tmp_path: Path, folder: str) -> None:
        with pytest.raises(UserError, match=r"no task files \(\*\.yaml\) in this folder; name another with --tasks"):
            task_names(tmp_path / folder)

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("jigsw", "did you mean 'jigsaw'"),
            ("zzz", "choose from: ag_news, .*, mine, "),
            ("../jigsaw", "did you mean"),
        ],
    )
    def test_an_unknown_name_brings_the_nearest_or_all(self, tmp_path: Path, name: str, hint: str) -> None:
        (tmp_path / "mine.yaml").write_text(GOOD)
        with pytest.raises(UserError, match=f"no task '{name}' in {tmp_path} or the shipped tasks .{hint}"):
            load_task(tmp_path, name)

    @pytest.mark.parametrize("name", ["tasks/toxic", "/etc/passwd", "..", ""])
    def test_a_path_is_no_name(self, task: Callable[[str], TaskFile], tmp_path: Path, name: str) -> None:
        task(GOOD)
        with pytest.raises(UserError, match="no task"):
            load_task(tmp_path, name)

    def test_a_name_that_could_not_be_a_folder_of_results_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "two words.yaml").write_text(GOOD)
        with pytest.raises(SpecError, match=r"two words\.yaml:1: the name 'two words' may hold letters, digits"):
            load_task(tmp_path, "two words")

    def test_the_hash_is_of_the_text(self, task: Callable[[str], TaskFile]) -> None:
        assert task(GOOD).sha256 == task(GOOD).sha256
        assert task(GOOD).sha256 != task(GOOD + "# a comment\n").sha256

    def test_sample_rows_stand_beside_the_task(self, task: Callable[[str], TaskFile], tmp_path: Path) -> None:
        assert task(GOOD).samples == tmp_path / "samples" / "toxic.jsonl"


class TestOwnTasks:
    """Without --tasks, `tasks/` of the current folder comes before the shipped tasks."""

    @pytest.fixture(autouse=True)
    def _own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "tasks").mkdir()

    def test_a_task_of_ones_own_hides_the_shipped_one_of_its_name(self) -> None:
        Path("tasks/jigsaw.yaml").write_text(GOOD)
        assert load_task(None, "jigsaw").task.title == "Toxicity"

    def test_the_shipped_tasks_can_still_be_named(self) -> None:
        Path("tasks/mine.yaml").write_text(GOOD)
        assert load_task(None, "gsm8k").name == "gsm8k"
        assert {"mine", "gsm8k", "jigsaw"} <= set(task_files(None))

    def test_commands_that_name_no_task_take_only_those_of_ones_own(self) -> None:
        Path("tasks/mine.yaml").write_text(GOOD)
        assert task_names(None) == ["mine"]

    def test_an_empty_folder_of_ones_own_leaves_the_shipped_tasks(self) -> None:
        assert "jigsaw" in task_names(None)

    def test_an_unknown_name_says_where_it_was_looked_for(self) -> None:
        with pytest.raises(UserError, match=r"no task 'gsm8' in tasks or the shipped tasks \(did you mean 'gsm8k'"):
            load_task(None, "gsm8")

    def test_models_yaml_of_the_current_folder_takes_the_place_of_the_shipped_one(self) -> None:
        assert models_file() == SHIPPED
        Path("models.yaml").write_text("m: {backend: baseline, method: majority}\n")
        assert models_file() == Path("models.yaml")


class TestFoldersOfTasks:
    """`--tasks` may be given several times, and adds to the shipped tasks."""

    @pytest.fixture(autouse=True)
    def _folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("tasks/unnamed", "mine/a", "more/b"):
            Path(name).parent.mkdir()
            Path(f"{name}.yaml").write_text(GOOD)

    FOLDERS = (Path("mine"), Path("more"))

    def test_a_task_of_each_folder_and_a_shipped_one_can_be_named(self) -> None:
        for name in ("a", "b", "gsm8k"):
            assert load_task(self.FOLDERS, name).name == name

    def test_they_take_the_place_of_the_tasks_of_the_current_folder(self) -> None:
        with pytest.raises(UserError, match="no task 'unnamed' in mine or more or the shipped tasks"):
            load_task(self.FOLDERS, "unnamed")

    def test_commands_that_name_no_task_take_those_of_the_folders_and_no_shipped_ones(self) -> None:
        assert task_names(self.FOLDERS) == ["a", "b"]
        assert task_names(Path("mine")) == ["a"]
        assert {"a", "gsm8k"} <= set(task_names([Path("mine"), TASKS]))

    def test_a_task_of_a_folder_hides_the_shipped_one_of_its_name(self) -> None:
        Path("more/jigsaw.yaml").write_text(GOOD)
        assert load_task(self.FOLDERS, "jigsaw").source.path == Path("more/jigsaw.yaml")

    def test_a_task_of_two_folders_is_an_error_that_names_both(self) -> None:
        Path("more/a.yaml").write_text(GOOD)
        with pytest.raises(UserError, match=r"the task 'a' is in several folders of --tasks: mine/a.yaml and more/a.y"):
            load_task(self.FOLDERS, "a")
        assert load_task([Path("mine"), Path("mine").absolute()], "a").name == "a"

    def test_a_folder_without_tasks_is_named(self) -> None:
        with pytest.raises(UserError, match=r"absent: no task files \(\*\.yaml\) in this folder"):
            load_task((Path("mine"), Path("absent")), "a")


class TestVariables:
    def test_a_variable_is_replaced_in_block_flow_and_quoted_values(self, models: Load) -> None:
        text = """\
block:
  backend: lorax
  base_url: ${URL}  # a comment with ${OTHER}
flow: {backend: lorax, base_url: ${URL}, api_token: ${TOKEN}}
part: {backend: lorax, base_url: ${URL}/v1}
last: {backend: lorax, base_url: ${URL}}
quoted: {backend: lorax, base_url: "${URL}", extra: {note: "to ${URL}, with ${TOKEN}", list: [${TOKEN}]}}
"""
        found = {entry.name: entry for entry in models(text, URL="http://h", TOKEN="t")}
        assert {name: entry.model.base_url for name, entry in found.items()} == {  # type: ignore[union-attr]
            "block": "http://h", "flow": "http://h", "part": "http://h/v1", "last": "http://h", "quoted": "http://h",
        }  # fmt: skip
        assert found["flow"].model.api_token == "t"  # type: ignore[union-attr]
        assert found["quoted"].model.extra == {"note": "to http://h, with t", "list": ["t"]}  # type: ignore[union-attr]
        assert {entry.unset for entry in found.values()} == {()}

    def test_a_value_is_put_in_as_it_is_even_when_it_looks_like_yaml_or_another_variable(self, models: Load) -> None:
        for value in ("a: b # c", "${B}", '"quoted', "{x}", "yes"):
            (entry,) = models("m: {backend: openai, model: m, api_key: ${A}}", A=value, B="never")
            assert entry.model.api_key == value  # type: ignore[union-attr]

    def test_a_number_may_come_from_the_environment(self, models: Load) -> None:
        (entry,) = models("m: {backend: baseline, method: majority, concurrency: ${N}}", N="8")
        assert entry.model.concurrency == 8

    def test_a_model_whose_variable_is_unset_or_empty_is_loaded_and_says_what_it_needs(self, models: Load) -> None:
        text = "a: {backend: lorax, base_url: ${URL}, api_key: ${KEY}}\nb: {backend: baseline, method: majority}\n"
        assert [entry.unset for entry in models(text)] == [("URL", "KEY"), ()]
        assert [entry.unset for entry in models(text, URL="http://h", KEY="")] == [("KEY",), ()]

    def test_asked_for_by_name_it_is_an_error_that_names_variable_and_line(self, models: Load, tmp_path: Path) -> None:
        text = "b: {backend: baseline, method: majority}\na: {backend: lorax, base_url: ${URL}, api_key: ${KEY}}\n"
        with pytest.raises(UserError) as found:
            models(text, "a")
        assert str(found.value) == f"model 'a' needs URL and KEY in the environment ({tmp_path}/models.yaml:2)"
        assert [entry.name for entry in models(text, "b")] == ["b"]
        assert [entry.name for entry in models(text, "a", ready=False)] == ["a"]


class TestModels:
    def test_only_those_named_come_in_the_order_of_the_file(self, models: Load) -> None:
        text = "".join(f"{name}: {{backend: baseline, method: majority}}\n" for name in "abc")
        assert [entry.name for entry in models(text)] == ["a", "b", "c"]
        assert [entry.name for entry in models(text, "c", "a", "c")] == ["a", "c"]

    def test_an_unknown_name_brings_the_nearest(self, models: Load) -> None:
        with pytest.raises(UserError, match=r"no model 'gtp-4' in .*models.yaml \(did you mean 'gpt-4'\?\)"):
            models("gpt-4: {backend: openai, model: gpt-4}\n", "gtp-4")

    def test_a_base_may_be_a_model_that_has_no_entry(self, models: Load) -> None:
        text = "tuned: {backend: lorax, base_url: http://u, base: Llama 3.2 3B}\n"
        assert [entry.model.base for entry in models(text, "tuned")] == ["Llama 3.2 3B"]

    @pytest.mark.parametrize("name", ["mistralai/Mistral-7B", "two words", ".hidden", "-x", "..", "_rows"])
    def test_a_name_that_could_not_be_a_folder_of_results_is_refused(self, model_problems: Problems, name: str) -> None:
        said = model_problems(f"'{name}': {{backend: baseline, method: majority}}\n")
        assert said == [f"models.yaml:1: {name}: a model's name may hold letters, digits, '.', '_' and '-' only"]

    def test_a_name_that_yaml_reads_as_a_number_must_be_quoted(self, model_problems: Problems, models: Load) -> None:
        said = model_problems("a: {backend: baseline, method: majority}\n4: {backend: baseline, method: majority}\n")
        assert said == ["models.yaml:2: 4: a model's name must be a text; write it in quotes"]
        assert [entry.name for entry in models("'4': {backend: baseline, method: majority}\n")] == ["4"]

    def test_all_mistakes_of_all_models_are_told_at_once(self, model_problems: Problems) -> None:
        said = model_problems(
            "a: {backend: openai, model: m, concurency: 2, price: {input: 1}}\n"
            "b: {backend: opnai, model: m}\n"
            "c: {model: m}\n"
            "d:\n"
            "e: {backend: baseline, method: majorty, attempts: 0}\n"
        )
        assert [line.partition(" (found")[0] for line in said] == [
            "models.yaml:1: a.price: missing key 'output'",
            "models.yaml:1: a.concurency: unknown key 'concurency' (did you mean 'concurrency'?)",
            "models.yaml:2: b.backend: 'opnai' is not valid (did you mean 'openai'?)",
            "models.yaml:3: c: missing key 'backend'",
            "models.yaml:4: d: Input should be a valid dictionary or object to extract fields from",
            "models.yaml:5: e.attempts: Input should be greater than or equal to 1",
            "models.yaml:5: e.method: 'majorty' is not valid (did you mean 'majority'?)",
        ]

    def test_settings_may_be_shared_by_a_yaml_anchor(self, models: Load) -> None:
        text = "a: &a {backend: openai, model: m, concurrency: 3}\nb:\n  <<: *a\n  model: n\n"
        first, second = models(text)
        assert (second.model.model, second.model.concurrency) == ("n", 3)  # type: ignore[union-attr]
        assert first.model.model == "m"  # type: ignore[union-attr]

    def test_models_of_one_server_share_its_limits(self, models: Load) -> None:
        text = """\
a: {backend: lorax, base_url: http://h}
b: {backend: lorax, base_url: http://h/}
c: {backend: openai, model: m}
d: {backend: baseline, method: majority}
"""
        assert [entry.endpoint for entry in models(text)] == [
            "http://h", "http://h", "https://api.openai.com/v1", "baseline",
        ]  # fmt: skip

    def test_the_shipped_file_loads_with_no_variable_set(self) -> None:
        entries = load_models(SHIPPED, (), {})
        assert [entry.name for entry in entries if entry.ready][:2] == ["majority", "tfidf"]
        assert {"smollm2", "smollm2-lora", "mistral-7b-lora", "mistral-7b-instruct", "mistral-7b", "gpt-6.1"} <= {
            entry.name for entry in entries
        }


class TestSecrets:
    SETTINGS = """\
a: {backend: lorax, base_url: "https://me:${SECRET}@h:80/x", api_key: ${SECRET}, api_token: ${SECRET}, adapter: ad}
b: {backend: openai, model: m, base_url: http://h, api_key: ${SECRET}, extra: {user: {token: "is ${SECRET}"}, n: [1]}}
c: {backend: openai, model: m, api_key: hunter2}
"""

    def test_what_is_shown_and_stored_holds_none(self, models: Load) -> None:
        entries = models(self.SETTINGS, SECRET="hunter2")
        assert entries[0].model.api_token == "hunter2"  # type: ignore[union-attr]
        assert "hunter2" not in json.dumps([entry.public() for entry in entries])

    def test_what_is_not_secret_stays(self, models: Load) -> None:
        assert [entry.public() for entry in models(self.SETTINGS, SECRET="hunter2")] == [
            {"backend": "lorax", "base_url": "https://h:80/x", "adapter": "ad"},
            {
                "backend": "openai", "model": "m", "base_url": "http://h",
                "extra": {"user": {"token": "is ${SECRET}"}, "n": [1]},
            },
            {"backend": "openai", "model": "m"},
        ]  # fmt: skip

    def test_a_mistake_beside_a_key_does_not_print_it(self, models: Load) -> None:
        text = (
            "a: {backend: openai, model: m, api_key: ${SECRET}, concurency: 2, attempts: none}\nb: {api_key: ${SECRET}}"
        )
        with pytest.raises(SpecError) as found:
            models(text, SECRET="hunter2")
        assert "hunter2" not in str(found.value)


class TestFolders:
    """A local model whose name begins like a path is a folder, and cannot be asked where that does not exist."""

    def test_a_folder_that_does_not_exist_is_missing(self, models: Load, tmp_path: Path) -> None:
        (found,) = models(f"m: {{backend: local, model: {tmp_path}/none}}\n")
        assert (found.ready, found.missing, found.needs) == (False, f"{tmp_path}/none", f"the folder {tmp_path}/none")

    def test_a_folder_that_exists_and_an_id_of_the_hub_are_ready(self, models: Load, tmp_path: Path) -> None:
        text = f"a: {{backend: local, model: {tmp_path}}}\nb: {{backend: local, model: org/name}}\n"
        assert [entry.ready for entry in models(text)] == [True, True]

    def test_it_cannot_be_asked_by_name(self, models: Load) -> None:
        with pytest.raises(UserError, match=r"model 'm' needs the folder \./none, which does not exist \(.*:1\)"):
            models("m: {backend: local, model: ./none}\n", "m")
