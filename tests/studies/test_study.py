"""What many tuned models say together: the paper's own figures come out, and what is planted is found."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.errors import UserError
from harness.studies.correlations import correlate, predict
from harness.studies.study import Study, study, variables
from harness.studies.study_page import CRITICAL, held, sections, write, write_page
from harness.studies.tunes import Evidence, Tune, from_published, from_results
from tests.commands.conftest import Command, harness, small
from tests.loopback import Loopback
from tests.runs import Small

__all__ = ["harness", "small"]

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
VARIABLES = (
    "GPT-4 score", "Max GPT-4 lift", "Average base model lift", "Best base model score", "Average base model score",
    "Best fine-tuned score", "Average fine-tuned score", "Example length p95", "# training examples",
)  # fmt: skip


@pytest.fixture(scope="module")
def paper() -> Study:
    return study(from_published(PUBLISHED), PUBLISHED)


def printed() -> dict[str, dict[str, str]]:
    with (PUBLISHED / "lora_land_correlations.csv").open(encoding="utf-8", newline="") as file:
        return {row["variable"]: row for row in csv.DictReader(file)}


class TestThePaper:
    @pytest.mark.parametrize("other", VARIABLES)
    @pytest.mark.parametrize("one", VARIABLES)
    def test_each_value_of_figure_8_comes_out(self, paper: Study, one: str, other: str) -> None:
        found = paper.correlations
        assert found is not None
        assert found.names == VARIABLES
        value = found.values[VARIABLES.index(one), VARIABLES.index(other)]
        assert value == pytest.approx(float(printed()[one][other]), abs=0.005 + 1e-9)

    def test_pearsons_correlations_do_not_come_out(self) -> None:
        evidence = from_published(PUBLISHED)
        columns = variables(evidence, evidence.tunes)
        pearson = np.corrcoef([columns[name] for name in VARIABLES])
        expected = np.array([[float(printed()[one][other]) for other in VARIABLES] for one in VARIABLES])
        assert np.abs(pearson - expected).max() > 0.2

    def test_correlations_and_p_values_are_scipys(self, paper: Study) -> None:
        from scipy.stats import spearmanr
        from statsmodels.stats.multitest import multipletests

        evidence = from_published(PUBLISHED)
        columns = variables(evidence, evidence.tunes)
        found = correlate(columns)
        expected, plain = spearmanr(np.array([columns[name] for name in VARIABLES]).T)
        assert np.allclose(found.values, expected)
        upper = np.triu_indices(9, 1)
        assert np.allclose(found.p_values[upper], multipletests(plain[upper], method="holm")[1])

    def test_figure_7_comes_out(self, paper: Study) -> None:
        assert len(paper.figure7) == 8
        for stage, group, published, ours in paper.figure7:
            assert ours == pytest.approx(published, abs=0.0006), f"{stage} {group}"

    def test_lifts_are_those_of_the_claims(self, paper: Study) -> None:
        whole = paper.groups[-1]
        assert (whole.name, whole.tunes, whole.tasks, whole.losses) == ("all", 310, 31, 9)
        assert 100 * whole.lift.value == pytest.approx(38.4, abs=0.05)
        assert whole.lift.low < whole.lift.value < whole.lift.high

    def test_the_page_says_how_many_printed_values_agree(self, paper: Study, tmp_path: Path) -> None:
        write(paper, tmp_path)
        text = (tmp_path / "study.md").read_text()
        assert "Of the 36 pairs that the paper prints among these, 36 agree to 0.005." in text
        assert "![correlations](plots/correlations.svg)" in text
        html = (tmp_path / "study.html").read_text()
        ids = re.findall(r'id="([^"]+)"', html)
        assert len(ids) == len(set(ids))
        with (tmp_path / "correlations.csv").open(newline="") as file:
            assert len(list(csv.reader(file))) == 37


def test_the_page_in_docs_is_not_stale(paper: Study, tmp_path: Path) -> None:
    docs = Path(__file__).parents[2] / "docs"
    for path in write_page(paper, tmp_path / "published-study.md"):
        assert path.read_text() == (docs / path.relative_to(tmp_path)).read_text(), path.name


@pytest.mark.parametrize(
    ("printed", "value", "interval", "p", "verdict"),
    [
        (0.6, 0.7, (0.4, 0.9), 0.01, "holds"), (0.6, 0.3, (-0.1, 0.7), 0.2, "cannot be told"),
        (0.6, 0.0, (-0.4, 0.4), 1.0, "does not hold"), (0.6, -0.7, (-0.9, -0.4), 0.01, "does not hold"),
        (0.6, math.nan, (math.nan, math.nan), math.nan, "cannot be told"),
    ],
)  # fmt: skip
def test_whether_a_printed_correlation_holds(
    printed: float, value: float, interval: tuple[float, float], p: float, verdict: str
) -> None:
    assert held(printed, value, *interval, p) == verdict


def test_the_least_correlation_is_that_at_which_a_test_rejects() -> None:
    from scipy.stats import t

    found = correlate({"a": list(range(31)), "b": list(range(31))})
    r = found.least[0]
    assert 2 * t.sf(r * math.sqrt(29 / (1 - r**2)), 29) == pytest.approx(0.05)
    assert r == pytest.approx(CRITICAL, abs=0.006)


def tune(task: str, tuned: float, before: float = 0.2, **other: object) -> Tune:
    given = {"base": "small", "category": "reading", "error": 0.01, "n": 1000, "rows": 100, "seed": 0, **other}
    return Tune(task=task, tuned=tuned, before=before, **given)  # type: ignore[arg-type]


def evidence(*tunes: Tune, measures: Callable[[int], dict[str, float]] = lambda place: {}) -> Evidence:
    tasks = dict.fromkeys(one.task for one in tunes)
    return Evidence(tunes, {task: measures(place) for place, task in enumerate(tasks)}, {})


class TestPlanted:
    def test_what_a_seed_moves_is_beside_what_other_rows_would(self) -> None:
        draw = np.random.default_rng(0)
        tunes = [tune(f"t{place % 60}", 0.5 + draw.normal(0, 0.05), seed=place // 60) for place in range(300)]
        (spread,) = study(evidence(*tunes), PUBLISHED).spreads
        assert (spread.what, spread.groups) == ("seed", 60)
        assert spread.changes == pytest.approx(0.05, rel=0.1)
        assert spread.rows == pytest.approx(0.01)
        assert spread.difference == pytest.approx(1.96 * math.sqrt(2) * math.hypot(spread.changes, 0.01), rel=1e-3)

    def test_an_option_with_several_values_has_an_effect_of_its_own(self) -> None:
        tunes = [
            tune(f"t{place}", 0.5 + 0.1 * (rank == 8), options={"rank": rank}) for place in range(5) for rank in (2, 8)
        ]
        (spread,) = study(evidence(*tunes), PUBLISHED).spreads
        assert (spread.what, spread.groups) == ("rank", 5)
        assert spread.changes == pytest.approx(math.sqrt(0.1**2 / 2))

    def test_a_learning_curve_has_mean_and_spread_over_seeds(self) -> None:
        scores = {(100, 0): 0.4, (100, 1): 0.5, (300, 0): 0.6, (300, 1): 0.6}
        tunes = [tune("news", score, rows=rows, seed=seed) for (rows, seed), score in scores.items()]
        first, last = study(evidence(*tunes), PUBLISHED).curves
        assert (first.rows, first.seeds, first.mean) == (100, 2, pytest.approx(0.45))
        assert first.spread == pytest.approx(0.0707, abs=1e-4)
        assert (last.rows, last.spread) == (300, pytest.approx(0.0))

    def test_a_lift_is_that_of_the_most_training_rows(self) -> None:
        tunes = [tune("news", 0.4, rows=100), tune("news", 0.6, rows=300)]
        assert study(evidence(*tunes), PUBLISHED).groups[-1].lift.value == pytest.approx(0.4)

    def test_a_task_that_its_rows_decide_is_predicted(self) -> None:
        draw = np.random.default_rng(1)
        x = draw.uniform(1, 5, 30)
        found = predict("score", list(0.1 * np.arcsinh(x) + draw.normal(0, 0.005, 30)), {"length": list(x)})
        assert found.better
        assert found.error < found.error_of_mean / 2

    def test_where_nothing_is_predicted_the_first_sentence_says_so(self) -> None:
        draw = np.random.default_rng(2)
        tunes = [tune(f"t{place}", draw.uniform(0.3, 0.9), draw.uniform(0, 0.3)) for place in range(20)]
        noise = draw.uniform(0, 100, (20, 2))
        made = study(evidence(*tunes, measures=lambda place: {"a": noise[place, 0], "b": noise[place, 1]}), PUBLISHED)
        first = sections(made)[0].sentences[0]
        assert "is not predicted better than by the mean of the others" in first

    def test_the_best_base_has_its_margin(self) -> None:
        tunes = [tune("news", 0.8, base="a"), tune("news", 0.75, base="b"), tune("news", 0.1, base="c")]
        (best,) = study(evidence(*tunes), PUBLISHED).best
        assert (best.base, best.second) == ("a", "b")
        assert best.margin == pytest.approx(0.05)
        assert best.error == pytest.approx(math.hypot(0.01, 0.01))


def right(prompt: str) -> str:
    """The right answer of the small project."""
    number = int(re.findall(r"row (\d+)", prompt)[0])
    return ("yes", "no")[number % 2]


@pytest.fixture
def sweep(small: Small, loopback: Loopback, tmp_path: Path) -> Path:
    """Results of a sweep: a base that is always wrong, and two seeds of it tuned, of which one is always right."""
    results = tmp_path / "swept"
    for name, seed in (("base", None), ("tuned", 0), ("tuned", 1)):
        small.model(name, loopback.openai_url, **({"base": "base"} if name == "tuned" else {}))
        loopback.answer = (lambda prompt: {"yes": "no", "no": "yes"}[right(prompt)]) if name == "base" else right
        if seed == 1:
            loopback.answer = lambda prompt: "yes"
        small.results = results / "cells" / f"{name}-{seed}" / "results"
        small.bench(models=(name,))
        point = {"base": "tiny", "task": "small", "rows": None if name == "base" else 100, "seed": seed, "train": {}}
        (small.results.parent / "done.json").write_text(json.dumps({"kind": name, **point}))
    (results / "sweep.json").write_text("{}")
    (results / "cells" / "half").mkdir()  # a cell that is not done
    return results


def test_the_cells_of_a_sweep_are_read(sweep: Path, small: Small) -> None:
    found = from_results([sweep], PUBLISHED, small.folder / "tasks")
    assert sorted((one.base, one.seed, one.tuned, one.before, one.rows) for one in found.tunes) == [
        ("tiny", 0, 1.0, 0.0, 100), ("tiny", 1, 0.5, 0.0, 100),
    ]  # fmt: skip
    assert found.variables["small"]["Output entropy"] == pytest.approx(1.0)
    assert found.variables["small"]["# training examples"] == 100
    made = study(found, PUBLISHED)
    assert [spread.what for spread in made.spreads] == ["seed"]


@pytest.mark.parametrize("edit", [{"rows": "many"}, {"train": None}, {"base": None}, {"seed": 0.5}])
def test_a_cell_whose_file_was_edited_into_nonsense_is_left_out(
    sweep: Path, small: Small, edit: dict[str, object]
) -> None:
    done = sweep / "cells" / "tuned-1" / "done.json"
    done.write_text(json.dumps({**json.loads(done.read_text()), **edit}))
    with pytest.warns(match=rf"done\.json: left out: {next(iter(edit))} "):
        found = from_results([sweep], PUBLISHED, small.folder / "tasks")
    assert [one.seed for one in found.tunes] == [0]


def test_a_folder_named_twice_would_count_twice(sweep: Path, small: Small) -> None:
    with pytest.raises(UserError, match="this folder is named twice"):
        from_results([sweep, sweep / "cells" / ".."], PUBLISHED, small.folder / "tasks")


def test_a_tuned_model_among_models_without_a_base(small: Small, loopback: Loopback) -> None:
    """Of one bench with base, adapter and a third model nothing was found: "its base nan was not asked"."""
    loopback.answer = right
    for name, settings in (("base", {}), ("other", {}), ("tuned", {"base": "base"})):
        small.model(name, loopback.openai_url, **settings)
    small.bench()
    found = from_results([small.results], PUBLISHED, small.folder / "tasks")
    assert [(one.base, one.tuned, one.before) for one in found.tunes] == [("base", 1.0, 1.0)]
    assert found.references["small"] == {"other": 1.0}
    assert not found.left_out


def test_the_command_prints_and_writes_the_study(harness: Command, sweep: Path, small: Small, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, shown, _ = harness("study", str(sweep), "--tasks", str(small.folder / "tasks"), "--out", str(out))
    assert code == 0
    assert "mean lift +75.0 points" in shown
    assert "Correlations and predictions need 4 tasks or more." in shown
    assert {path.name for path in out.iterdir()} >= {"study.md", "study.html", "lift.csv", "complexity.csv", "plots"}
    code, shown, _ = harness("study", str(sweep), "--tasks", str(small.folder / "tasks"), "--json")
    assert json.loads(shown)[0]["title"] == "In short"


@pytest.mark.parametrize("option", ["--out", "--page"])
def test_a_place_that_cannot_be_written_is_one_message(
    harness: Command, sweep: Path, small: Small, option: str
) -> None:
    given = ("study", str(sweep), "--tasks", str(small.folder / "tasks"), option, "/dev/null/x")
    code, _, err = harness(*given)
    assert code == 2
    assert re.search("error: /dev/null.*: Not a directory", err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder; expected results of `harness sweep` or `harness bench`"),
        (["--published", "nowhere"], "--published studies the paper's tables"),
        (["{empty}"], "no tuned model with its base is recorded here"),
    ],
)
def test_a_mistake_is_one_message(harness: Command, tmp_path: Path, arguments: list[str], message: str) -> None:
    code, _, err = harness("study", *(argument.format(empty=tmp_path) for argument in arguments))
    assert code == 2
    assert message in err
