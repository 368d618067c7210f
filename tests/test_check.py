"""Guards: a sound task passes them, and each way a task can lie about its answers is caught."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.check import check, describe, guard
from harness.errors import SpecError
from harness.rows.evaluation import EvaluationRow
from harness.tasks.catalog import load_task
from harness.tasks.prompts import Prompts
from harness.tasks.task import Task


def task(**changes: object) -> Task:
    fields: dict[str, object] = {
        "title": "Colours",
        "category": "classification",
        "prompt": "{{ text }}",
        "target": "{{ label }}",
        "answer": {"type": "label", "labels": ["red", "blue"]},
        "metrics": ["accuracy"],
        "max_tokens": 4,
    }
    return Task.model_validate(fields | changes)


def rows(*answers: str, prompt: str = "Colour of thing {}?") -> list[EvaluationRow]:
    return [EvaluationRow(str(n), prompt.format(n), (answer,), {}) for n, answer in enumerate(answers)]


def test_a_sound_task_has_no_problems() -> None:
    found = guard(task(), rows(*["red"] * 60, *["blue"] * 40), ["red", "blue", "red"])
    assert found.problems == ()
    assert (found.gold, found.empty, found.majority) == (1.0, 0.0, 0.6)
    assert 0.3 < found.shuffled < 0.75


def test_majority_is_the_baseline_of_that_name() -> None:
    """It answers the most frequent training target, which need not be that of the evaluated rows."""
    golds = rows(*["red"] * 60, *["blue"] * 40)
    assert guard(task(), golds, ["blue", "blue", "red"]).majority == 0.4
    assert guard(task(), golds).majority is None


def test_right_answers_that_do_not_score_full_marks_are_a_problem() -> None:
    found = guard(task(answer={"type": "text"}, metrics=["rouge_l"]), rows("red", "???"))
    assert any("the right answers score 0.5000 rouge_l, expected 1" in problem for problem in found.problems)


def test_a_known_ceiling_is_not_a_problem() -> None:
    found = guard(task(answer={"type": "text"}, metrics=["rouge_l"], ceiling=0.5), rows("red", "???"))
    assert not any("right answers" in problem and "expected" in problem for problem in found.problems)


def test_a_prompt_without_its_rows_text_is_a_problem() -> None:
    silent = rows("red", "blue", "red", prompt="What is the colour?")
    assert any(
        "3 prompts show no text of their row, first row 0" in problem for problem in guard(task(), silent).problems
    )


def test_one_empty_row_among_many_is_found() -> None:
    some = [*rows("red", "blue"), EvaluationRow("empty", "Colour of thing ?", ("red",), {})]
    assert any(
        "1 prompts show no text of their row, first row empty" in problem for problem in guard(task(), some).problems
    )


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "tasks").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_shipped_task_is_sound_on_its_sample_rows(path: Path) -> None:
    from harness.check import check

    assert check(path.parent, path.stem, "sample", strict=True).problems == ()


def test_every_shipped_task_has_enough_sample_rows() -> None:
    from harness.rows.files import jsonl

    long_texts = {"cnn", "contract_qa", "magicoder", "mbpp"}
    for path in sorted((Path(__file__).parents[1] / "tasks").glob("*.yaml")):
        count = len(list(jsonl(path.parent / "samples" / f"{path.stem}.jsonl")))
        assert count >= (10 if path.stem in long_texts else 24), path.stem


@pytest.mark.parametrize("name", ["glue_cola", "glue_sst2", "glue_qnli", "jigsaw", "toxic_chat", "ag_news", "mmlu"])
def test_a_row_that_nobody_labelled_gets_no_right_answer_in_a_shipped_task(name: str) -> None:
    """Hidden test labels are -1 on the hub, and so are the rows of Jigsaw's test file that were never scored."""
    file = load_task(Path(__file__).parents[1] / "tasks", name)
    (column,) = Prompts(file).names(file.task.target)
    with pytest.raises(SpecError, match="-1 is no place in a list"):
        Prompts(file).target({column: -1})


def written(folder: Path, lines: list[dict[str, object]], **keys: object) -> str:
    """A task `small` over these lines, and what `harness check` shows of it and calls a problem."""
    from harness.check import check, describe

    spec: dict[str, object] = {
        "title": "Small",
        "category": "generation",
        "dataset": {"files": {"test": "rows.jsonl"}},
        "prompt": "Translate: {{ en }}",
        "target": "{{ de }}",
        "answer": {"type": "text"},
        "metrics": ["exact_match"],
        "max_tokens": 4,
    }
    (folder / "small.yaml").write_text(json.dumps(spec | keys), encoding="utf-8")
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    checked = check(folder, "small", None, strict=True)
    return "\n".join([describe(checked), *checked.problems])


def test_nulls_are_named_by_column_and_number(tmp_path: Path) -> None:
    lines = [{"en": f"word {n}", "de": f"Wort {n}"} for n in range(3)]
    nulls = [{"en": None, "de": "a"}, {"en": None, "de": "b"}, {"en": "c", "de": None}, {"en": float("nan"), "de": "d"}]
    shown = written(tmp_path, [*lines, *nulls])
    assert "prompt: cannot be rendered: column 'en' is null (2 rows, first " in shown
    assert "prompt: cannot be rendered: column 'en' is NaN (1 row, first " in shown
    assert "target: cannot be rendered: column 'de' is null (1 row, first " in shown
    assert "training row" not in shown


def test_the_same_prompt_with_different_right_answers_is_reported(tmp_path: Path) -> None:
    lines = [{"en": f"word {n}", "de": f"Wort {n}"} for n in range(3)]
    assert "different right answers" not in written(tmp_path, [*lines, lines[0]])
    twins = [{"en": "caf\u00e9", "de": "Kaffeehaus"}, {"en": "cafe\u0301", "de": "Lokal"}]
    shown = written(tmp_path, [*lines, *twins])
    assert "1 prompt evaluated more than once with different right answers, first rows " in shown


NUMBERS = {"answer": {"type": "number"}, "metrics": ["pearson"]}


@pytest.mark.parametrize("changes", [{"metrics": ["mcc"]}, NUMBERS, NUMBERS | {"metrics": ["spearman"]}])
def test_a_correlation_may_come_first(changes: dict[str, object]) -> None:
    golds = ["red"] * 6 + ["blue"] * 4 if "answer" not in changes else [str(n) for n in range(10)]
    found = guard(task(**changes), rows(*golds))
    assert found.problems == ()
    assert (round(found.gold, 6), found.empty) == (1.0, 0.0)


def test_targets_that_are_no_answers_are_not_scored_as_such() -> None:
    reference = '{"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}'
    changes = {"answer": {"type": "instructions"}, "metrics": ["ifeval_prompt_strict"]}
    found = guard(task(**changes), rows(reference, reference))
    assert (found.gold, found.empty, found.shuffled, found.majority, found.problems) == (None, 0.0, None, None, ())


def test_a_package_that_a_metric_lacks_is_a_problem_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.check import check
    from harness.score.answers import ifeval_checks

    ifeval_checks._language.cache_clear()
    monkeypatch.setitem(sys.modules, "langdetect", None)
    (problem,) = check(Path(__file__).parents[1] / "tasks", "ifeval", "sample", strict=True).problems
    assert "pip install langdetect" in problem


ERRORS = """
import datasets
import evaluate

class Errors(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references):
        return {"errors": sum(a != b for a, b in zip(predictions, references)) / len(references)}
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("higher_is_better", "sound"), [(False, True), (True, False)])
def test_a_metric_without_ends_must_prefer_the_right_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, higher_is_better: bool, sound: bool
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("harness.plugins._scripts_allowed", True)
    (tmp_path / "errors").mkdir()
    (tmp_path / "errors" / "errors.py").write_text(ERRORS)
    metric = {"evaluate": {"metric": str(tmp_path / "errors" / "errors.py"), "higher_is_better": higher_is_better}}
    found = guard(task(answer={"type": "text"}, metrics=[metric]), rows("red", "blue", "green"))
    assert (found.problems == ()) is sound


def test_a_text_that_rows_share_is_proposed_as_their_cluster(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    passages = [f"Passage {n % 4}, which is long enough to be a text of its own." for n in range(20)]
    lines = [json.dumps({"passage": p, "q": f"q{n}", "a": "yes", "_split": "test"}) for n, p in enumerate(passages)]
    (tmp_path / "samples" / "shared.jsonl").write_text("\n".join(lines))
    text = (
        "title: Shared\ncategory: reading\ndataset: {splits: {test: test}}\nprompt: '{{ passage }} {{ q }}'\n"
        "target: '{{ a }}'\nanswer: {type: text}\nmetrics: [exact_match]\nmax_tokens: 4\n"
    )
    (tmp_path / "shared.yaml").write_text(text)
    said = describe(check(tmp_path, "shared", "sample", strict=True))
    assert "20 rows share 4 values of passage: rows with the same one are not independent" in said
    assert "consider evaluation: {cluster: passage}" in said
    (tmp_path / "shared.yaml").write_text(text + "evaluation: {split: test, cluster: passage}\n")
    assert "4 clusters of rows by passage" in describe(check(tmp_path, "shared", "sample", strict=True))


def test_tasks_checked_at_once_are_reported_in_their_order_and_as_each_by_itself() -> None:
    from harness.check import as_facts, check

    names = ["gsm8k", "no_such_task", "jigsaw", "ag_news"]
    command = [sys.executable, "-m", "harness", "check", *names, "--data", "sample", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "1 problem(s) found" in done.stderr
    assert "no task 'no_such_task'" in done.stderr
    alone = [as_facts(check(None, name, "sample", strict=True)) for name in names]
    assert json.loads(done.stdout) == json.loads(json.dumps(alone))
