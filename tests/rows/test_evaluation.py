"""The evaluation rows are the same everywhere, each once, and none that a model was trained on."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.hashing import digest, row_id
from harness.rows import training
from harness.rows.evaluation import EvaluationRow, Subset, choose, select
from harness.rows.files import Row, Split
from harness.rows.files import parquet as open_parquet
from harness.rows.origin import Origin, locate
from harness.rows.training import training_rows
from harness.tasks.catalog import TaskFile, load_task
from harness.tasks.messages import Message
from harness.tasks.prompts import Prompts, question_hash
from tests.rows.conftest import Make, in_memory, parquet

Rows = Sequence[Row]
ROWS = [{"text": f"row {n}", "label": "yes" if n % 3 else "no", "idx": n, "topic": n % 2} for n in range(60)]
PINNED = [
    ("255daf84952af58c", "one"),
    ("69749f6f5a3d9937", "für {{ x }}"),
    ("5db06368e287d6ab", "three"),
    ("6271ac6721ebf2e0", "two"),
]
GROUPED: dict[str, Any] = {
    "dataset": {"hub": "some/small", "splits": {"train": "train", "test": "test"}, "group_by": "meaning"}
}

few = settings(max_examples=40)
drawn_rows = st.lists(
    st.fixed_dictionaries(
        {"text": st.text("abc{}\n\ud800é"), "label": st.sampled_from(["yes", "no"]), "idx": st.integers()}
    ),
    min_size=1,
    max_size=12,
)


def origin_of(test: Rows, train: Rows | None = None) -> Origin:
    splits = {"test": in_memory(test)} | ({} if train is None else {"train": in_memory(train)})
    return Origin("mirror", splits)


_compiled: dict[str, Prompts] = {}


def compiled(file: TaskFile) -> Prompts:
    """The task's templates, compiled once however many examples are drawn."""
    key = f"{file.source.path} {file.sha256}"
    if key not in _compiled:
        _compiled[key] = Prompts(file)
    return _compiled[key]


def chosen(file: TaskFile, test: Rows, train: Rows | None = None, **options: Any) -> Subset:
    return choose(file, compiled(file), origin_of(test, train), **options)


def ids(found: Subset) -> list[str]:
    return [row.id for row in found.rows]


def prompts_of(found: Subset) -> list[str]:
    return [row.prompt.removeprefix("Is ").removesuffix(" fine?") for row in found.rows]


@pytest.fixture(scope="module")
def task(make_in: Callable[..., TaskFile], tmp_path_factory: pytest.TempPathFactory) -> TaskFile:
    """`Is {{ text }} fine?` to `{{ label }}`."""
    return make_in(tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="module")
def grouped(make_in: Callable[..., TaskFile], tmp_path_factory: pytest.TempPathFactory) -> TaskFile:
    """A task whose rows with an equal `meaning` are one row with several references."""
    return make_in(tmp_path_factory.mktemp("grouped"), **GROUPED)


@pytest.fixture(scope="module")
def shown(make_in: Callable[..., TaskFile], tmp_path_factory: pytest.TempPathFactory) -> TaskFile:
    """A task with one example in front of every row."""
    return make_in(tmp_path_factory.mktemp("shown"), shots={"n": 1})


class TestTheSameRows:
    @few
    @given(rows=drawn_rows, order=st.randoms(use_true_random=False))
    def test_whatever_the_order_of_the_file(self, task: TaskFile, rows: list[Row], order: random.Random) -> None:
        shuffled = order.sample(rows, len(rows))
        assert chosen(task, shuffled, rows=5) == chosen(task, rows, rows=5)

    @few
    @given(rows=drawn_rows, order=st.randoms(use_true_random=False))
    def test_and_of_the_training_file(self, task: TaskFile, rows: list[Row], order: random.Random) -> None:
        test = [*rows, {"text": "held out", "label": "yes"}]
        shuffled = order.sample(rows, len(rows))
        assert chosen(task, test, shuffled) == chosen(task, test, rows)

    @few
    @given(
        rows=st.lists(
            st.fixed_dictionaries({"meaning": st.sampled_from("abc"), "label": st.sampled_from(["1", "2", "3"])}),
            min_size=1,
            max_size=12,
        ),
        order=st.randoms(use_true_random=False),
    )
    def test_also_where_several_lines_make_one_row(
        self, grouped: TaskFile, rows: list[Row], order: random.Random
    ) -> None:
        rows = [{**row, "text": row["meaning"]} for row in rows]
        assert chosen(grouped, order.sample(rows, len(rows))) == chosen(grouped, rows)

    def test_also_where_repeated_rows_differ_in_a_column_that_only_a_slice_shows(self, make: Make) -> None:
        file = make(slices=["topic"])
        rows = [{"text": "a", "label": "yes", "topic": topic} for topic in ("x", "y", "z")]
        assert chosen(file, rows) == chosen(file, rows[::-1])

    def test_from_parquet_as_from_memory(self, task: TaskFile, tmp_path: Path) -> None:
        path = parquet(tmp_path / "a.parquet", ROWS)
        on_disk = choose(task, compiled(task), Origin("mirror", {"test": open_parquet([path])}))
        assert on_disk == chosen(task, ROWS)

    def test_whatever_columns_the_task_does_not_use(self, task: TaskFile) -> None:
        bare = [{"text": row["text"], "label": row["label"]} for row in ROWS]
        assert chosen(task, bare) == chosen(task, ROWS)

    def test_on_every_machine_and_in_every_version(self, task: TaskFile) -> None:
        """Pinned: if these change, recorded answers belong to other rows, and published subsets are others."""
        rows = [{"text": text, "label": "yes"} for text in ("one", "two", "three", "für {{ x }}")]
        assert list(zip(ids(found := chosen(task, rows)), prompts_of(found), strict=True)) == PINNED
        assert found.fingerprint == "659faede42275fbf"

    @few
    @given(rows=drawn_rows, n=st.integers(1, 12))
    def test_a_smaller_subset_begins_a_larger_one(self, task: TaskFile, rows: list[Row], n: int) -> None:
        larger = chosen(task, rows)
        smaller = chosen(task, rows, rows=n)
        assert smaller.rows == larger.rows[:n]
        assert smaller.fingerprint == larger.fingerprint

    def test_another_seed_chooses_others_of_the_same(self, task: TaskFile) -> None:
        first, second = (chosen(task, ROWS, seed=seed, rows=20) for seed in (0, 1))
        assert set(ids(first)) != set(ids(second))
        assert set(ids(chosen(task, ROWS, seed=0))) == set(ids(chosen(task, ROWS, seed=1)))
        assert first.fingerprint == second.fingerprint


class TestHowMany:
    def test_as_many_as_the_task_says(self, make: Make) -> None:
        assert len(chosen(make(evaluation={"rows": 7}), ROWS).rows) == 7

    def test_or_as_asked_for(self, task: TaskFile) -> None:
        assert len(chosen(task, ROWS, rows=9).rows) == 9

    def test_or_all_of_a_split_that_has_fewer(self, task: TaskFile) -> None:
        found = chosen(task, ROWS, rows=10_000)
        assert (len(found.rows), found.total, found.repeated, found.in_training) == (60, 60, 0, 0)

    def test_a_subset_is_spread_over_the_file_and_not_its_beginning(self, task: TaskFile) -> None:
        rows = [{"text": str(n), "label": "yes"} for n in range(1000)]
        places = [int(text) for text in prompts_of(chosen(task, rows, rows=200))]
        # The mean of 200 of 0..999 has a standard error of 18.
        assert abs(sum(places) / 200 - 499.5) < 5 * 18
        assert places != sorted(places)


class TestRepeats:
    def test_are_asked_once_and_counted(self, task: TaskFile) -> None:
        found = chosen(task, [*ROWS, *ROWS[:5], ROWS[0]])
        assert (len(found.rows), found.total, found.repeated) == (60, 66, 6)
        assert chosen(task, ROWS).fingerprint == found.fingerprint

    def test_are_rows_alike_in_what_the_task_uses(self, task: TaskFile) -> None:
        rows = [{"text": "a", "label": "yes", "idx": n} for n in range(4)]
        assert (len(chosen(task, rows).rows), chosen(task, rows).repeated) == (1, 3)

    def test_are_not_rows_with_another_answer(self, task: TaskFile) -> None:
        found = chosen(task, [{"text": "a", "label": "yes"}, {"text": "a", "label": "no"}])
        assert (len(found.rows), found.repeated) == (2, 0)


class TestWhatIsAsked:
    """Rows are compared by the prompt that is rendered from them, not by their columns."""

    NFC, NFD = "caf\u00e9", "cafe\u0301"

    @pytest.fixture
    def trimmed(self, make: Make) -> TaskFile:
        """A task whose template takes off outer space."""
        return make(prompt="{{ text | trim }}", target="{{ label | trim }}")

    @pytest.mark.parametrize("text", ["a", " a", "a\n\n", "\u00a0a"])
    def test_a_training_row_behind_a_trim_is_a_leak(self, trimmed: TaskFile, text: str) -> None:
        test = [{"text": "a", "label": "yes"}, {"text": "A", "label": "yes"}]
        found = chosen(trimmed, test, [{"text": text, "label": "yes"}])
        assert ([row.prompt for row in found.rows], found.in_training) == (["A"], 1)

    @pytest.mark.parametrize("prompt", ["{{ text }}", "Word:\n{{ text }}"])
    def test_so_is_one_that_differs_in_space_at_the_prompts_ends(self, make: Make, prompt: str) -> None:
        test = [{"text": "a", "label": "yes"}, {"text": "b", "label": "yes"}]
        found = chosen(make(prompt=prompt), test, [{"text": "a \n", "label": "yes"}])
        assert (len(found.rows), found.in_training) == (1, 1)

    def test_so_is_one_in_decomposed_letters(self, task: TaskFile) -> None:
        test = [{"text": self.NFC, "label": "yes"}, {"text": "other", "label": "yes"}]
        found = chosen(task, test, [{"text": self.NFD, "label": "no"}])
        assert (prompts_of(found), found.in_training) == (["other"], 1)

    def test_twins_are_repeats_and_the_same_one_stays_whatever_the_order(self, trimmed: TaskFile) -> None:
        twins = [(self.NFC, "yes"), (self.NFD, "yes"), (f" {self.NFD} ", " yes"), (self.NFC, "yes ")]
        rows = [{"text": text, "label": label} for text, label in twins]
        found = chosen(trimmed, rows)
        assert (len(found.rows), found.repeated) == (1, 3)
        assert chosen(trimmed, rows[::-1]) == found

    def test_right_answers_in_another_order_are_the_same(self, make: Make) -> None:
        file = make(references="answers")
        rows = [{"text": "a", "label": "x", "answers": answers} for answers in (["x", "y"], ["y", "x"], ["x"])]
        assert (len(chosen(file, rows).rows), chosen(file, rows).repeated) == (2, 1)

    def test_the_same_query_on_another_table_is_another_row(self, make: Make) -> None:
        file = make(
            prompt="{{ text }} {{ grid.header | join }}",
            answer={"type": "sql", "table": "grid"},
            metrics=["exact_match"],
        )
        rows = [{"text": "a", "label": "b", "grid": {"header": ["x"], "rows": [[n]]}} for n in (1, 2, 2)]
        assert (len(chosen(file, rows).rows), chosen(file, rows).repeated) == (2, 1)

    def test_the_prompt_itself_is_asked_as_it_is_written(self, task: TaskFile) -> None:
        assert prompts_of(chosen(task, [{"text": self.NFD, "label": "yes"}])) == [self.NFD]

    def test_borrowed_training_rows_are_none_that_ask_the_same(self, trimmed: TaskFile) -> None:
        rows = [{"text": text, "label": label} for text, label in (("a", "yes"), (" a", "no"), ("b", "yes"))]
        for n in (1, 2):
            found = chosen(trimmed, rows, rows=n)
            prompts, _ = training_rows(trimmed, compiled(trimmed), origin_of(rows), ids(found))
            assert set(prompts) == {"a", "b"} - {row.prompt for row in found.rows}

    def test_a_training_row_that_cannot_be_rendered_asks_nothing(self, task: TaskFile) -> None:
        rows = [{"text": "a", "label": "yes"}]
        assert chosen(task, rows, [{"text": None, "label": "yes"}]).in_training == 0

    def test_a_column_may_have_the_name_of_a_function(self, make: Make) -> None:
        file = make(prompt="{{ range }} {{ lipsum }}", target="{{ dict }}")
        rows = [{"range": n % 2, "lipsum": 1, "dict": n % 2} for n in range(4)]
        found = chosen(file, rows)
        assert {(row.prompt, row.references) for row in found.rows} == {("0 1", ("0",)), ("1 1", ("1",))}


class TestTrainingRows:
    def test_are_dropped_and_counted(self, task: TaskFile) -> None:
        found = chosen(task, ROWS, ROWS[:15])
        assert (len(found.rows), found.total, found.in_training) == (45, 60, 15)
        assert not {row["text"] for row in ROWS[:15]} & set(prompts_of(found))

    def test_are_told_by_what_the_prompt_shows_whatever_their_label_and_number(self, task: TaskFile) -> None:
        train = [{"text": row["text"], "label": "other", "idx": -1} for row in ROWS[:15]]
        assert chosen(task, ROWS, train).rows == chosen(task, ROWS, ROWS[:15]).rows

    def test_that_repeat_in_the_split_count_once(self, task: TaskFile) -> None:
        found = chosen(task, [*ROWS, ROWS[0], ROWS[0]], ROWS[:1])
        assert (found.total, found.in_training, found.repeated) == (62, 1, 0)

    @few
    @given(test=drawn_rows, train=drawn_rows)
    def test_are_never_asked(self, task: TaskFile, test: list[Row], train: list[Row]) -> None:
        trained = {row["text"] for row in train}
        held_out = {row["text"] for row in test} - trained
        if held_out:
            assert set(prompts_of(chosen(task, test, train))) == held_out
        else:
            with pytest.raises(SpecError, match="every row is also in the training split"):
                chosen(task, test, train)

    def test_are_known_by_a_fingerprint_that_does_not_hang_on_their_order(self, task: TaskFile) -> None:
        train = [{"text": f"t{n}", "label": "yes"} for n in range(10)]
        one, other = chosen(task, ROWS, train), chosen(task, ROWS, train[::-1])
        assert one.training == other.training
        relabelled = [{**row, "label": "no"} for row in train]
        for changed in (relabelled, train[1:], [*train, train[0]]):
            assert chosen(task, ROWS, changed).training != one.training

    def test_may_be_absent(self, task: TaskFile) -> None:
        found = chosen(task, ROWS)
        assert (found.in_training, found.training, found.borrowed) == (0, None, False)

    def test_in_the_very_split_that_is_evaluated_are_not_held_against_it(self, make: Make) -> None:
        file = make(training={"split": "test"})
        assert chosen(file, ROWS) == chosen(make(training={"split": "absent"}), ROWS)


class TestGroups:
    ROWS = (
        {"meaning": "m1", "text": "m1", "label": "first"},
        {"meaning": "m2", "text": "m2", "label": "only"},
        {"meaning": "m1", "text": "m1", "label": "second"},
        {"meaning": "m1", "text": "m1", "label": "first"},
    )

    def test_become_one_row_with_all_references_each_once(self, grouped: TaskFile) -> None:
        found = chosen(grouped, self.ROWS)
        references = {row.prompt: set(row.references) for row in found.rows}
        assert references == {"Is m1 fine?": {"first", "second"}, "Is m2 fine?": {"only"}}
        assert sorted(len(row.references) for row in found.rows) == [1, 2]
        assert (found.total, found.repeated) == (4, 0)

    def test_have_an_id_that_does_not_hang_on_the_references(self, grouped: TaskFile) -> None:
        assert set(ids(chosen(grouped, self.ROWS[:2]))) == set(ids(chosen(grouped, self.ROWS)))

    def test_go_whole_when_their_prompt_was_trained_on(self, grouped: TaskFile) -> None:
        train = [{"meaning": "other", "text": "m1", "label": "y"}]
        found = chosen(grouped, self.ROWS, train)
        assert (prompts_of(found), found.in_training) == (["m2"], 1)

    def test_with_different_prompts_are_an_error(self, grouped: TaskFile) -> None:
        rows = [*self.ROWS, {"meaning": "m2", "text": "m2 put otherwise", "label": "x"}]
        with pytest.raises(
            SpecError,
            match=r"dataset\.group_by: rows with the value 'm2' have different prompts, so they are not one row",
        ):
            chosen(grouped, rows)

    @pytest.mark.parametrize("null", [None, float("nan")])
    def test_are_not_made_of_rows_without_a_value(self, grouped: TaskFile, null: object) -> None:
        rows = [{"meaning": null, "text": text, "label": text} for text in ("a", "b", "c", "c")]
        found = chosen(grouped, [*self.ROWS, *rows])
        references = {row.prompt: set(row.references) for row in found.rows}
        assert references == {
            "Is m1 fine?": {"first", "second"}, "Is m2 fine?": {"only"},
            "Is a fine?": {"a"}, "Is b fine?": {"b"}, "Is c fine?": {"c"},
        }  # fmt: skip
        assert found.repeated == 1

    def test_that_ask_the_same_are_asked_once(self, grouped: TaskFile) -> None:
        rows = [{"meaning": key, "text": "same", "label": key} for key in ("m1", "m1 ", "m2")]
        found = chosen(grouped, rows)
        assert (len(found.rows), found.repeated) == (1, 2)
        assert chosen(grouped, rows[::-1]) == found

    def test_of_a_column_that_is_not_there_are_an_error(self, grouped: TaskFile) -> None:
        with pytest.raises(
            SpecError, match=r"dataset\.group_by: no column 'meaning' in the rows \(did you mean 'meanin'"
        ):
            chosen(grouped, [{"meanin": "m", "text": "a", "label": "b"}])


class TestReferences:
    def test_are_all_that_the_expression_gives_each_once(self, make: Make) -> None:
        file = make(references="answers")
        (row,) = chosen(file, [{"text": "a", "label": "x", "answers": ["x", "y", "x "]}]).rows
        assert row.references == ("x", "y")

    def test_are_the_target_otherwise(self, task: TaskFile) -> None:
        (row,) = chosen(task, ROWS[:1]).rows
        assert row.references == ("no",)


class TestFields:
    def test_are_the_columns_of_the_slices_only(self, make: Make) -> None:
        (row,) = chosen(make(slices=["topic", "idx"]), ROWS[3:4]).rows
        assert row.fields == {"idx": 3, "topic": 1}
        (row,) = chosen(make(), ROWS[3:4]).rows
        assert row.fields == {}

    def test_are_the_table_of_an_sql_answer(self, make: Make) -> None:
        file = make(answer={"type": "sql", "table": "grid"}, metrics=["exact_match"])
        (row,) = chosen(file, [{"text": "a", "label": "b", "grid": {"header": ["x"], "rows": []}}]).rows
        assert row.fields == {"grid": {"header": ["x"], "rows": []}}

    def test_are_what_the_program_that_tests_an_answer_uses(self, make: Make) -> None:
        answer = {"type": "code", "program": "{{ completion }}\n{{ tests | join }}\n{{ entry }}"}
        file = make(answer=answer, metrics=["exact_match"])
        (row,) = chosen(file, [{"text": "a", "label": "b", "tests": ["t"], "entry": "f", "more": 1}]).rows
        assert row.fields == {"tests": ["t"], "entry": "f"}

    def test_do_not_change_a_rows_id(self, make: Make, task: TaskFile) -> None:
        assert ids(chosen(make(slices=["topic"]), ROWS)) == ids(chosen(task, ROWS))


class TestErrors:
    def test_a_split_without_rows(self, make: Make) -> None:
        file = make(evaluation={"split": "test"})
        with pytest.raises(SpecError) as found:
            choose(file, Prompts(file), Origin("mirror", {"test": Split(("text", "label"), lambda wanted: iter([]))}))
        assert str(found.value) == (
            f"{file.source.path}:9: evaluation.split: nothing to evaluate in this split: it has no rows"
        )

    def test_a_split_all_of_which_was_trained_on(self, task: TaskFile) -> None:
        with pytest.raises(SpecError, match="every row is also in the training split"):
            chosen(task, ROWS, ROWS)

    def test_columns_that_are_not_there_are_told_all_at_once_with_the_nearest(self, make: Make) -> None:
        file = make(
            target="{{ lable }}", references="[answer]", slices=["topci"],
            answer={"type": "code", "program": "{{ completion }}{{ test }}"}, metrics=["exact_match"],
        )  # fmt: skip
        rows = [{"txt": "a", "label": "b", "answers": ["b"], "topic": 1, "tests": "c"}]
        with pytest.raises(SpecError) as found:
            chosen(file, rows)
        assert str(found.value).replace(f"{file.source.path}", "small.yaml").splitlines() == [
            "small.yaml:4: prompt: no column 'text' in the rows (did you mean 'txt'?)",
            "small.yaml:5: target: no column 'lable' in the rows (did you mean 'label'?)",
            "small.yaml:9: references: no column 'answer' in the rows (did you mean 'answers'?)",
            "small.yaml:10: slices: no column 'topci' in the rows (did you mean 'topic'?)",
            "small.yaml:6: answer: no column 'test' in the rows (did you mean 'tests'?)",
        ]

    def test_a_row_that_a_template_fails_on(self, make: Make) -> None:
        file = make(target="{{ label.name }}")
        with pytest.raises(SpecError, match=r"small.yaml:5: target: cannot be rendered: 'str object' has no"):
            chosen(file, ROWS)

    def test_all_that_is_wrong_with_rows_is_told_at_once_with_how_many(self, make: Make) -> None:
        file = make(target="{{ ['no', 'yes'][label] }}")
        texts_and_labels = [("a", 0), (None, 1), ("b", None), ("c", -1), ("d", -1), ("e", 1)]
        rows = [{"text": text, "label": label} for text, label in texts_and_labels]
        with pytest.raises(SpecError) as error:
            chosen(file, rows)
        found = sorted(line.partition(": ")[2] for line in str(error.value).splitlines())
        assert [line.partition(", first")[0] for line in found] == [
            "prompt: cannot be rendered: column 'text' is null (1 row",
            "target: cannot be rendered: column 'label' is null (1 row",
            "target: cannot be rendered: column 'label': -1 is no place in a list (a row without a label?) (2 rows",
        ]
        assert len(chosen(file, [rows[0], rows[5]]).rows) == 2

    def test_what_is_wrong_with_rows_that_are_not_asked_is_no_error(self, make: Make) -> None:
        rows = [{"text": "a", "label": "yes"}, {"text": None, "label": "yes"}, {"text": "b", "label": None}]
        first = chosen(make(), rows[:1])
        bad = [n for n in range(20) if ids_of_seed(make(), rows, n)[0] == first.rows[0].id]
        assert bad
        assert chosen(make(), rows, seed=bad[0], rows=1).rows == first.rows


class TestTrainingFor:
    """Prompts and targets for those who learn from the training split."""

    def test_are_the_rendered_rows(self, task: TaskFile) -> None:
        train = [{"text": "a", "label": "yes"}, {"text": "b", "label": "no"}]
        prompts, targets = training_rows(task, compiled(task), origin_of([], train))
        assert set(zip(prompts, targets, strict=True)) == {("Is a fine?", "yes"), ("Is b fine?", "no")}

    def test_are_capped_and_the_same_whatever_the_order(self, task: TaskFile, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(training, "TRAINING_ROWS", 20)
        found = [training_rows(task, compiled(task), origin_of([], rows)) for rows in (ROWS, ROWS[::-1])]
        assert found[0] == found[1]
        assert [len(part) for part in found[0]] == [20, 20]
        assert len(set(found[0][0])) == 20

    def test_are_at_most_twenty_thousand(self) -> None:
        assert training.TRAINING_ROWS == 20_000

    @pytest.mark.parametrize("split", ["train", "test"])
    def test_are_without_a_training_split_the_rows_that_are_not_asked(self, make: Make, split: str) -> None:
        file = make(training={"split": split})
        found = chosen(file, ROWS, rows=20)
        prompts, _ = training_rows(file, compiled(file), origin_of(ROWS), ids(found))
        assert found.borrowed
        assert {row.prompt for row in found.rows}.isdisjoint(prompts)
        assert len(prompts) == 40

    @few
    @given(rows=drawn_rows, n=st.integers(1, 4))
    def test_never_show_a_prompt_that_is_asked_not_even_with_another_answer(
        self, task: TaskFile, rows: list[Row], n: int
    ) -> None:
        found = chosen(task, rows, rows=n)
        prompts, _ = training_rows(task, compiled(task), origin_of(rows), ids(found))
        assert {row.prompt for row in found.rows}.isdisjoint(prompts)

    def test_never_show_a_group_that_is_asked(self, grouped: TaskFile) -> None:
        found = chosen(grouped, TestGroups.ROWS, rows=1)
        prompts, _ = training_rows(grouped, Prompts(grouped), origin_of(TestGroups.ROWS), ids(found))
        assert set(prompts) == {"Is m1 fine?", "Is m2 fine?"} - {found.rows[0].prompt}

    def test_are_known_by_a_fingerprint_when_they_are_borrowed(self, task: TaskFile) -> None:
        found = [chosen(task, rows, rows=n) for rows, n in ((ROWS, 20), (ROWS[::-1], 20), (ROWS, 21))]
        assert found[0].training == found[1].training != found[2].training


class TestPreamble:
    """The system prompt and the examples in front of every row."""

    TRAIN = tuple({"text": f"t{n}", "label": "yes" if n % 2 else "no"} for n in range(30))

    @staticmethod
    def shots(row: EvaluationRow) -> list[tuple[str, str]]:
        """The examples that a row's messages hold."""
        told = [message.content for message in row.messages if message.role != "system"][:-1]
        return list(zip(told[::2], told[1::2], strict=True))

    def test_a_task_without_one_has_no_messages(self, task: TaskFile) -> None:
        assert {row.messages for row in chosen(task, ROWS).rows} == {()}

    def test_is_the_same_for_every_row_whichever_and_however_many_are_asked(self, make: Make) -> None:
        file = make(system="Be brief.", shots={"n": 3})
        found = [chosen(file, ROWS, self.TRAIN, **options) for options in ({}, {"rows": 2}, {"seed": 5})]
        found.append(chosen(file, ROWS[::-1], self.TRAIN[::-1]))
        assert len({tuple(self.shots(row)) for subset in found for row in subset.rows}) == 1
        row = found[0].rows[0]
        assert len(self.shots(row)) == 3
        assert dict(self.shots(row)).items() <= {(f"Is {r['text']} fine?", r["label"]) for r in self.TRAIN}
        assert row.messages[0] == Message("system", "Be brief.")
        first, *_, last = row.prompt.split("\n\n")
        assert (first, last) == ("Be brief.", row.messages[-1].content)
        assert " ".join(self.shots(row)[0]) in row.prompt

    def test_another_seed_shows_others(self, make: Make) -> None:
        one, other = (chosen(make(shots={"n": 3, "seed": seed}), ROWS, self.TRAIN).rows[0] for seed in (0, 1))
        assert self.shots(one) != self.shots(other)

    def test_does_not_change_which_rows_are_asked(self, make: Make, task: TaskFile) -> None:
        with_shots = chosen(make(shots={"n": 2}, system="s"), ROWS, self.TRAIN)
        plain = chosen(task, ROWS, self.TRAIN)
        assert (ids(with_shots), with_shots.fingerprint) == (ids(plain), plain.fingerprint)

    @few
    @given(test=drawn_rows, train=drawn_rows, n=st.integers(1, 3))
    def test_never_shows_a_row_of_the_evaluated_split(
        self, shown: TaskFile, test: list[Row], train: list[Row], n: int
    ) -> None:
        try:
            found = chosen(shown, test, train, rows=n)
        except SpecError:
            return  # too few rows are left
        for row in found.rows:
            ((example, _),) = self.shots(row)
            assert question_hash(example) not in {question_hash(f"Is {r['text']} fine?") for r in test}

    def test_shows_no_prompt_twice_and_none_without_an_answer(self, make: Make) -> None:
        train = [
            {"text": text, "label": label} for text, label in (("a", "yes"), ("a ", "no"), ("b", ""), (None, "no"))
        ]
        rows = chosen(make(prompt="{{ text | trim }}", shots={"n": 1}), ROWS, train).rows
        assert {prompt for row in rows for prompt, _ in self.shots(row)} == {"a"}
        with pytest.raises(SpecError, match=r"shots\.n: split 'train' has only 1 rows that are not evaluated, 2 are"):
            chosen(make(prompt="{{ text | trim }}", shots={"n": 2}), ROWS, train)

    def test_from_a_split_that_is_not_there_is_an_error(self, make: Make) -> None:
        with pytest.raises(SpecError, match=r"shots\.split: there are no rows of split 'train'"):
            chosen(make(shots={"n": 2}), ROWS)

    def test_is_in_front_of_training_rows_too_and_no_example_is_learned(self, make: Make) -> None:
        file = make(system="Be brief.", shots={"n": 3})
        row = chosen(file, ROWS, self.TRAIN).rows[0]
        prompts, _ = training_rows(file, compiled(file), origin_of(ROWS, self.TRAIN))
        before = row.prompt.removesuffix(row.messages[-1].content)
        examples = {prompt for prompt, _ in self.shots(row)}
        assert set(prompts) == {f"{before}Is {r['text']} fine?" for r in self.TRAIN} - {before + e for e in examples}

    def test_earlier_messages_of_a_row_are_sent_as_such_and_belong_to_what_is_asked(self, make: Make) -> None:
        file = make(messages="turns", prompt="{{ text }}")
        turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
        rows = [{"turns": turns, "text": "Bye", "label": "yes"}, {"turns": [], "text": "Bye", "label": "yes"}]
        long, short = sorted(chosen(file, rows).rows, key=lambda row: -len(row.prompt))
        assert [(m.role, m.content) for m in long.messages] == [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]
        assert long.prompt == "User: Hi\n\nAssistant: Hello\n\nUser: Bye\n\nAssistant:"
        assert (short.prompt, short.messages) == ("User: Bye\n\nAssistant:", ())
        assert [row.prompt for row in chosen(file, rows, [rows[0]]).rows] == [short.prompt]

    @pytest.mark.parametrize("turns", ["x", [1], [{"role": "user"}], [{"role": "system", "content": "s"}], None])
    def test_earlier_messages_of_another_form_are_an_error(self, make: Make, turns: object) -> None:
        with pytest.raises(SpecError, match=r"small.yaml:\d+: messages: "):
            chosen(make(messages="turns"), [{"text": "a", "label": "yes", "turns": turns}])


def ids_of_seed(file: TaskFile, rows: Rows, seed: int) -> Sequence[str]:
    """The ids that a seed chooses, without a row rendered."""
    return select(file, compiled(file), origin_of(rows), seed)[1]


class TestIdentity:
    @few
    @given(st.dictionaries(st.sampled_from("abcd"), st.none() | st.integers() | st.text()))
    def test_a_rows_id_hangs_on_its_content_alone(self, row: Row) -> None:
        backwards = dict(reversed(row.items()))
        assert row_id(row, "abc") == row_id(backwards, "cab") == row_id({**row, "other": 1}, "abc")

    def test_and_tells_apart_what_looks_alike(self) -> None:
        values = [1, "1", 1.5, "1.5", None, "None", "", [], ["a", "b"], ["a, b"], {"a": 1}, True, "true"]
        assert len({row_id({"a": value}, "a") for value in values}) == len(values)

    def test_a_digest_stands_for_texts_and_their_order(self) -> None:
        assert len({digest("a", "b"), digest("b", "a"), digest("ab"), digest("a"), digest()}) == 5
        assert all(len(digest(text)) == 16 for text in ("", "für", "\ud800"))


@pytest.mark.parametrize("name", ["jigsaw", "conllpp", "e2e_nlg", "gsm8k", "wikisql", "mbpp"])
def test_shipped_sample_rows_can_be_asked(name: str) -> None:
    file = load_task(Path(__file__).parents[2] / "tasks", name)
    found = choose(file, Prompts(file), locate(file, "sample"))
    assert (found.in_training, found.repeated) == (0, 0)
    assert all(row.prompt and all(row.references) for row in found.rows)


def test_a_cluster_stays_with_its_row_and_changes_nothing_else(make: Make) -> None:
    """The hash of the column, so that a long document is not stored a second time."""
    plain, grouped = make(), make(evaluation={"split": "test", "rows": 40, "cluster": "topic"})
    before = choose(plain, Prompts(plain), origin_of(ROWS), rows=40).rows
    after = choose(grouped, Prompts(grouped), origin_of(ROWS), rows=40).rows
    assert [replace(row, cluster=None) for row in after] == list(before)
    assert {row.cluster for row in before} == {None}
    assert {row.cluster for row in after} == {row_id({"topic": topic}, ["topic"]) for topic in (0, 1)}


def test_a_cluster_column_that_is_not_there_is_named(make: Make) -> None:
    file = make(evaluation={"split": "test", "rows": 40, "cluster": "topik"})
    with pytest.raises(
        SpecError, match=r"evaluation.cluster: no column 'topik' in the rows \(did you mean 'topic'\?\)"
    ):
        choose(file, Prompts(file), origin_of(ROWS))
