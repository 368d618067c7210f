"""Metrics of the evaluate library: loaded when asked for, exact in value, with an interval, and clear when missing.

The library loads a metric from a script; here it is one that the tests write, so nothing is fetched.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.compare.intervals import estimate
from harness.errors import UserError
from tests.score.metrics.rows import example, examples, metric, score, spec

TEXT = spec("text")
SCRIPT = """
    import datasets
    import evaluate

    class {name}(evaluate.Metric):
        def _info(self):
            return evaluate.MetricInfo(
                description="", citation="",
                features=datasets.Features({{"predictions": {prediction}, "references": {reference}}}),
            )

        def _compute(self, predictions, references, factor=1.0):
            {body}
"""
STRING, INTEGER = 'datasets.Value("string")', 'datasets.Value("int32")'
pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own, of its own dependencies

Write = Callable[..., str]


@pytest.fixture(autouse=True)
def _scripts_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.plugins._scripts_allowed", True)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a metric of the evaluate library and return its path."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def script(name: str, body: str, prediction: str = STRING, reference: str = STRING) -> str:
        folder = tmp_path / name
        folder.mkdir()
        source = textwrap.dedent(SCRIPT).format(
            name=name.capitalize(), body=body, prediction=prediction, reference=reference
        )
        (folder / f"{name}.py").write_text(source)
        return str(folder / f"{name}.py")

    return script


def test_the_score_is_the_librarys_own(write: Write) -> None:
    path = write("lengths", 'return {"lengths": factor * sum(map(len, predictions)) / sum(map(len, references))}')
    assert score("evaluate", TEXT, ["ab", "", "abcd"], ["abc", "a", "ab"], metric=path) == pytest.approx(1)
    assert score("evaluate", TEXT, ["ab"], ["abcd"], metric=path, arguments={"factor": 3.0}) == pytest.approx(1.5)
    assert metric("evaluate", TEXT, metric=path).name == "lengths"


def test_a_score_of_the_whole_set_has_an_interval_of_the_right_width(write: Write) -> None:
    path = write("means", 'return {"score": sum(map(len, predictions)) / len(predictions)}')
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 30, 600).tolist()
    rows = examples(TEXT, ["x" * length for length in lengths], ["x"] * 600)
    asked = metric("evaluate", TEXT, metric=path)
    found = estimate(asked, asked.table(rows))
    standard_error = statistics.stdev(lengths) / 600**0.5
    assert found.value == pytest.approx(statistics.mean(lengths))
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * standard_error, rel=0.5)


def test_a_number_for_each_row_is_a_mean(write: Write) -> None:
    path = write("rows", 'return {"f1": [float(p == r) for p, r in zip(predictions, references)], "hash": "x"}')
    rows = examples(TEXT, ["a", "b", ""], ["a", "c", "d"])
    assert metric("evaluate", TEXT, metric=path).table(rows).tolist() == [[1], [0], [0]]


def test_several_references_are_given_to_metrics_that_take_them(write: Write) -> None:
    body = 'return {"score": sum(p in r for p, r in zip(predictions, references)) / len(predictions)}'
    path = write("several", body, reference=f"datasets.Sequence({STRING})")
    rows = [example(TEXT, "b", "a", "b"), example(TEXT, "c", "a")]
    assert metric("evaluate", TEXT, metric=path).score(rows) == pytest.approx(0.5)


def test_labels_are_given_as_places_where_integers_are_asked_for(write: Write) -> None:
    path = write("places", 'return {"score": sum(predictions) + 100 * sum(references)}', INTEGER, INTEGER)
    answer = spec("label", labels=["no", "yes", "perhaps"])
    assert score("evaluate", answer, ["perhaps", "?"], ["yes", "perhaps"], metric=path) == pytest.approx(301)


def test_several_scores_need_a_key(write: Write) -> None:
    path = write("pair", 'return {"one": 0.25, "two": 0.75}')
    assert score("evaluate", TEXT, ["a"], ["a"], metric=path, key="one") == 0.25
    with pytest.raises(UserError, match=r"option 'key'.*one, two"):
        score("evaluate", TEXT, ["a"], ["a"], metric=path)


def test_a_failure_inside_the_metric_is_told(write: Write) -> None:
    path = write("broken", 'raise ValueError("too short")')
    with pytest.raises(UserError, match="failed: too short"):
        score("evaluate", TEXT, ["a"], ["a"], metric=path)


def test_a_metric_that_cannot_be_fetched_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be fetched"):
        score("evaluate", TEXT, ["a"], ["a"], metric=str(tmp_path / "missing.py"))


def test_the_library_is_imported_only_when_a_score_is_computed() -> None:
    program = """
        import sys
        from harness.score.metrics.registry import build
        from harness.tasks.task import MetricSpec, TextAnswer
        build(MetricSpec.model_validate({"evaluate": "sacrebleu"}), TextAnswer(type="text"))
        heavy = {"evaluate", "datasets", "sacrebleu", "nltk", "scipy", "sklearn", "torch", "pandas"} & set(sys.modules)
        assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=120)


@pytest.mark.parametrize(
    "name", ["./metric.py", "metric.py", "someone/metric", "../metric", "rouge", "code_eval", "unheard_of"]
)
def test_a_script_that_a_task_names_runs_only_when_it_is_allowed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.plugins._scripts_allowed", False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rouge").mkdir()
    (tmp_path / "rouge" / "rouge.py").write_text("raise SystemExit('this code was run')")
    with pytest.raises(UserError, match=f"metric '{name}' .* allow it with --allow-code"):
        score("evaluate", TEXT, ["a"], ["a"], metric=name)


def test_a_metric_of_the_librarys_own_collection_needs_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.plugins._scripts_allowed", False)
    assert metric("evaluate", TEXT, metric="sacrebleu").name == "sacrebleu"


def test_a_script_that_appears_under_a_known_name_before_the_score_is_computed_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.plugins._scripts_allowed", False)
    monkeypatch.chdir(tmp_path)
    built = metric("evaluate", TEXT, metric="rouge")
    (tmp_path / "rouge").mkdir()
    (tmp_path / "rouge" / "rouge.py").write_text("raise SystemExit('this code was run')")
    with pytest.raises(UserError, match="allow it with --allow-code"):
        built.table([])
