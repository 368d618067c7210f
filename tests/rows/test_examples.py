"""Rows to learn from files: their forms, and that none of them gives an evaluated row away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import DataError, UserError
from harness.rows.examples import load_examples
from harness.rows.origin import locate
from harness.rows.training import TrainingExample, TrainingRows
from harness.tasks.catalog import load_task
from harness.tasks.prompts import Prompts
from tests.teach.conftest import LEARNED, Taught, own_text


@pytest.fixture
def taught(tmp_path: Path) -> Taught:
    return Taught(tmp_path)


def load(taught: Taught, *lines: Any) -> TrainingRows:
    path = taught.folder / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return of(taught, path)


def of(taught: Taught, path: Path) -> TrainingRows:
    file = load_task(taught.folder / "tasks", "small")
    return load_examples(file, Prompts(file), locate(file, "sample"), path)


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def test_chats_and_prompts_with_completions_are_rows() -> None:
    from harness.rows.examples import _of_line

    pair = TrainingExample("Is it?", "yes")
    assert _of_line({"prompt": "Is it?", "completion": " yes\n"}) == [pair]
    assert _of_line({"messages": [said("user", "Is it?"), said("assistant", "yes")]}) == [pair]
    assert _of_line({"prompt": [said("user", "Is it?")], "completion": [said("assistant", "yes")]}) == [pair]
    chat = [said("developer", "Be brief."), said("user", "Is it?"), said("assistant", "yes")]
    assert _of_line({"messages": chat}) == [TrainingExample("Be brief.\n\nIs it?", "yes")]
    parts = [{"type": "text", "text": "Is "}, {"type": "text", "text": "it?"}]
    assert _of_line({"messages": [{"role": "user", "content": parts}, said("assistant", "yes")]}) == [pair]


@pytest.mark.parametrize(("weights", "learned"), [((0, None), ["two"]), ((1, 0), ["one"]), ((None, 1), ["one", "two"])])
def test_of_a_chat_the_turns_with_a_weight_are_learned(
    taught: Taught, weights: tuple[int | None, int | None], learned: list[str]
) -> None:
    answers: list[dict[str, Any]] = [said("assistant", "one"), said("assistant", "two")]
    for answer, weight in zip(answers, weights, strict=True):
        answer |= {} if weight is None else {"weight": weight}
    rows = load(taught, {"messages": [said("user", "1?"), answers[0], said("user", "2?"), answers[1]]})
    assert [pair.target for pair in rows.pairs] == learned
    assert (
        rows.pairs[-1].prompt
        == {"one": "1?", "two": "User: 1?\n\nAssistant: one\n\nUser: 2?\n\nAssistant:"}[learned[-1]]
    )


def test_rows_of_a_file_are_read_in_their_order(taught: Taught) -> None:
    lines = [{"prompt": f"Is {own_text(number)} fine?", "completion": "yes"} for number in (3, 1, 2)]
    rows = load(taught, *lines)
    assert [pair.prompt for pair in rows.pairs] == [line["prompt"] for line in lines]
    assert (rows.held, rows.dropped, rows.prune, rows.borrowed_from) == (0, 0, None, None)


def test_no_evaluated_row_is_learned_whatever_stands_around_it(taught: Taught) -> None:
    evaluated = own_text(LEARNED)
    prompts = [
        f"Is {evaluated} fine? Answer with one word.",
        f"Rate this: {evaluated}",
        evaluated,
        f"{own_text(2)} {' '.join(evaluated.split()[4:17])}",
        own_text(1),
    ]
    rows = load(taught, *({"prompt": prompt, "completion": "yes"} for prompt in prompts))
    assert [pair.prompt for pair in rows.pairs] == [own_text(1)]
    assert rows.dropped == 4


def test_rows_of_the_tasks_own_frame_are_not_taken_for_evaluated_ones(taught: Taught) -> None:
    lines = [f"Is {own_text(number)} fine? Answer with one word." for number in range(3)]
    rows = load(taught, *({"prompt": prompt, "completion": "no"} for prompt in [*lines, "Something else?"]))
    assert len(rows.pairs) == 4


def test_nothing_to_learn_is_said(taught: Taught) -> None:
    with pytest.raises(UserError, match="no row is left to learn"):
        load(taught, {"prompt": own_text(LEARNED), "completion": "yes"})
    with pytest.raises(UserError, match=r"rows.jsonl: it holds no rows"):
        load(taught)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"text": "x"}, 'rows.jsonl:2: expected {"prompt": text'),
        ({"messages": [said("user", "x")]}, "rows.jsonl:2: expected"),
        ({"messages": [said("user", "x"), {"role": "assistant", "content": None}]}, "rows.jsonl:2: expected"),
        (
            {"messages": [{"role": "user", "content": [IMAGE]}, said("assistant", "y")]},
            "rows.jsonl:2: expected",
        ),
        ({"prompt": "x", "completion": " "}, "rows.jsonl:2: the completion is empty"),
        ({"messages": [said("user", "x"), {**said("assistant", "y"), "weight": 0}]}, "rows.jsonl:2: every turn of"),
        ([1], "rows.jsonl:2: expected a JSON object"),
    ],
)
def test_a_line_of_another_form_is_named(taught: Taught, line: Any, message: str) -> None:
    with pytest.raises(DataError) as error:
        load(taught, {"prompt": "x", "completion": "y"}, line)
    assert message in str(error.value)


class TestFolders:
    def folder(self, taught: Taught, **about: Any) -> Path:
        folder = taught.folder / "student"
        (folder / "chat").mkdir(parents=True)
        for name, numbers in (("train", (1, 2, 3)), ("validation", (4,))):
            lines = [{"prompt": own_text(number), "completion": "yes"} for number in numbers]
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        prune = {"start": "Is ", "end": " fine? Answer with one word.", "texts": []}
        card = {"task": "small", "rows": {"train": 3, "validation": 1}, "prune": prune, "teachers": ["t"], **about}
        (folder / "distill.json").write_text(json.dumps(card))
        return folder

    def test_validation_rows_come_first_and_the_card_is_inherited(self, taught: Taught) -> None:
        folder = self.folder(taught)
        rows = of(taught, folder)
        assert [pair.prompt for pair in rows.pairs] == [own_text(number) for number in (4, 1, 2, 3)]
        assert (rows.held, rows.teachers) == (1, ("t",))
        assert rows.prune is not None
        assert rows.prune.start == "Is "
        assert of(taught, folder / "train.jsonl").prune == rows.prune, "a file of the folder is of the same prompts"

    def test_a_pruned_evaluated_row_is_not_learned(self, taught: Taught) -> None:
        folder = self.folder(taught, rows={})
        with (folder / "train.jsonl").open("a") as file:
            file.write(json.dumps({"prompt": own_text(LEARNED), "completion": "yes"}) + "\n")
        assert of(taught, folder).dropped == 1

    @pytest.mark.parametrize(
        ("about", "message"),
        [
            ({"task": "other"}, "distilled for other, not for small"),
            ({"rows": {"train": 4}}, "train.jsonl: expected 4 rows, as distill.json says"),
            ({"prune": [1]}, "prune: "),
        ],
    )
    def test_a_folder_that_was_changed_is_refused(self, taught: Taught, about: Any, message: str) -> None:
        with pytest.raises(DataError, match=message):
            of(taught, self.folder(taught, **about))

    def test_an_unfinished_or_missing_folder_is_refused(self, taught: Taught) -> None:
        folder = self.folder(taught)
        (folder / "distill.json").unlink()
        with pytest.raises(DataError, match="not a finished folder"):
            of(taught, folder)
        with pytest.raises(DataError, match="no such file or folder"):
            of(taught, taught.folder / "none")


def test_plain_text_is_a_row_without_a_prompt_in_an_order_of_its_own(taught: Taught) -> None:
    texts = [f"Clause {number}: the parties agree. " for number in range(6)]
    rows = load(taught, *({"text": text, "source": "a.txt", "start": 0, "end": 9} for text in texts))
    assert sorted(pair.target for pair in rows.pairs) == texts
    assert {pair.prompt for pair in rows.pairs} == {""}
    backwards = load(taught, *({"text": text} for text in reversed(texts)))
    assert backwards.pairs == rows.pairs
    assert [pair.target for pair in rows.pairs] != texts


def test_text_that_holds_an_evaluated_row_is_left_out(taught: Taught) -> None:
    rows = load(taught, {"text": f"Before it. {own_text(LEARNED)} After it."}, {"text": "Something else."})
    assert ([pair.target for pair in rows.pairs], rows.dropped) == (["Something else."], 1)


def test_a_folder_of_chunks_is_read(taught: Taught) -> None:
    from harness.rows.chunks import chunked
    from harness.teach.folder import write_chunks

    document = taught.folder / "document.txt"
    document.write_text("The term is two years. The law is that of Utah. ")
    write_chunks(chunked([document], 24), taught.folder / "chunks", {"chars": 24})
    assert len(of(taught, taught.folder / "chunks").pairs) == 2
