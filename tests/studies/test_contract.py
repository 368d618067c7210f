"""Tuning on one document: which checkpoint is chosen without its own question, and what stands beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import DataError
from harness.rows.chunks import Chunk, chunked
from harness.studies.contract import (
    LAST,
    LOSS,
    SCORE,
    Contract,
    ContractOptions,
    best_chunks,
    leave_one_out_choice,
    read_questions,
    study,
)
from harness.studies.contract_page import plot, section, text, verdict, write_page
from harness.train.recipe import Hyperparameters
from tests.commands.conftest import Command, harness
from tests.train import tiny

__all__ = ["harness"]

DOCUMENT = (
    "This agreement is between Alpha and Beta. The term is two years from the date of signing. Either party may "
    "terminate with thirty days notice. The law of Utah governs. Fees are due within ten days of each month."
)
QUESTIONS = [("How long is the term?", "two years"), ("Which law governs?", "The law of Utah"),
             ("When are fees due?", "within ten days")]  # fmt: skip


def asked(folder: Path, *lines: Any) -> Path:
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def questions(folder: Path) -> Path:
    return asked(folder, *({"question": question, "answers": [answer]} for question, answer in QUESTIONS))


def test_no_question_takes_part_in_the_choice_of_its_own_checkpoint() -> None:
    # The first checkpoint is best over all only by its first question, on which the choice for it must not rest.
    scores = np.array([[1.0, 0.0, 0.2], [0.0, 0.4, 0.4]])
    assert leave_one_out_choice(scores) == [1, 0, 0]
    # Chosen with it, it would be the first one for all: the bias of a choice on the questions that are reported.
    assert scores.sum(axis=1).argmax() == 0


def test_of_equal_checkpoints_the_earliest_is_chosen() -> None:
    assert leave_one_out_choice(np.full((3, 4), 0.1)) == [0, 0, 0, 0]


def test_the_chunks_nearest_to_a_question_are_found() -> None:
    pieces = ["The term is two years.", "The law of Utah governs.", "Fees are due monthly.", "Nothing else matters."]
    found = best_chunks([Chunk(text, "a", 0, 0) for text in pieces], ["Which law governs?", "When are fees due?"], 2)
    assert found[0][-1].text == pieces[1] or found[0][0].text == pieces[1]
    assert pieces[2] in [chunk.text for chunk in found[1]]
    assert all(len(chunks) == 2 for chunks in found)


def test_all_forms_of_answers_are_read(tmp_path: Path) -> None:
    squad = {"question": "Law?", "answers": {"text": ["Utah", "Utah"], "answer_start": [1, 1]}}
    path = asked(tmp_path, squad, {"question": "Term?", "answer": "two  YEARS"})
    found = read_questions(path, DOCUMENT, "a.txt")
    assert [one.answers for one in found] == [("Utah",), ("two  YEARS",)]


def test_every_question_that_cannot_be_used_is_named_with_its_line(tmp_path: Path) -> None:
    path = asked(
        tmp_path, {"question": "Law?", "answers": ["Utah"]}, {"question": "Where?", "answers": []},
        {"question": "Who?", "answers": ["Gamma"]}, {"question": "Law?", "answers": ["Utah"]}, {"answers": ["x"]},
    )  # fmt: skip
    with pytest.raises(DataError) as error:
        read_questions(path, DOCUMENT, "a.txt")
    assert str(error.value).splitlines() == [
        f"{path}:2: the question has no answer; give one or delete the line",
        f"{path}:3: no answer is a passage of a.txt; quote it word for word, or delete it",
        f"{path}:4: the question is listed twice; give its answers in one line",
        f'{path}:5: expected {{"question": text, "answers": [text, …]}}',
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [([], "it holds no question"), ([{"question": "Law?", "answers": ["Utah"]}], "one question cannot choose")],
)
def test_too_few_questions_are_a_mistake(tmp_path: Path, lines: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_questions(asked(tmp_path, *lines), DOCUMENT, "a.txt")


def test_questions_without_answers_end_the_command(harness: Command, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(DOCUMENT)
    path = asked(tmp_path, {"question": "Where?", "answers": ["in Ohio"]}, {"question": "Law?", "answers": ["Utah"]})
    code, _, err = harness(
        "contract", str(tmp_path / "a.txt"), "--questions", str(path), "--out", str(tmp_path / "out")
    )
    assert code == 2
    assert f"{path}:1: no answer is a passage of a.txt" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("document", "answers", "message"),
    [
        ("1 2 3 4 5. " * 100, ("1 2", "4 5"), "a.txt: it has no word of two letters or more to find passages by"),
        (DOCUMENT[:400], (DOCUMENT[:5], DOCUMENT[10:15]), "it is one chunk, of which none can be held out"),
    ],
)
def test_a_document_that_cannot_be_studied_is_said_before_anything_is_trained(
    document: str, answers: tuple[str, ...], message: str, harness: Command, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text(document)
    path = asked(tmp_path, *({"question": f"What {answer}?", "answers": [answer]} for answer in answers))
    code, _, err = harness(
        "contract", str(tmp_path / "a.txt"), "--questions", str(path), "--out", str(tmp_path / "out")
    )
    assert (code, message in err) == (2, True), err
    assert not (tmp_path / "out").exists()


@pytest.mark.local
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
class TestAStudy:
    @pytest.fixture(scope="class")
    def options(self, tmp_path_factory: pytest.TempPathFactory) -> ContractOptions:
        folder = tmp_path_factory.mktemp("contract")
        (folder / "a.txt").write_text(DOCUMENT)
        base = tiny.base(folder / "base", context=512, texts=[DOCUMENT])
        recipe = Hyperparameters(
            steps=12, rows_per_update=4, learning_rate=1e-2, validation=0.2, checkpoints=3, dropout=0.0
        )
        return ContractOptions(
            folder / "a.txt", questions(folder), str(base), recipe, folder / "out", chars=40, max_tokens=8,
            usd_per_hour=1.0,
        )  # fmt: skip

    @pytest.fixture(scope="class")
    def found(self, options: ContractOptions) -> Contract:
        return study(options, lambda line: None)

    def test_every_checkpoint_has_loss_and_score(self, found: Contract) -> None:
        assert found.steps == (4, 8, 12)
        assert len(found.losses) == len(found.scores) == 3
        assert found.chosen[LAST] == (12,)
        assert found.chosen[LOSS] == (found.steps[int(np.argmin(found.losses))],)
        assert set(found.chosen[SCORE]) <= set(found.steps)

    def test_every_way_has_both_scores_with_intervals_and_words(self, found: Contract) -> None:
        assert [line.name for line in found.lines] == [
            "base", "base, passages", "tuned, by validation loss", "tuned, by score", "tuned, last",
            "tuned, by validation loss, passages", "tuned, by score, passages", "tuned, last, passages",
        ]  # fmt: skip
        for line in found.lines:
            for score in (line.f1, line.exact):
                assert score.low <= score.value <= score.high
                assert score.n == 3
            assert line.reference_words == pytest.approx((2 + 4 + 3) / 3)

    def test_answers_are_recorded_as_in_any_run(self, found: Contract, options: ContractOptions) -> None:
        results = options.out / "results"
        assert (results / "document" / "step-000004" / "responses.jsonl").is_file()
        assert (results / "document_passages" / "base" / "run.json").is_file()

    def test_the_same_call_trains_and_asks_nothing_again(self, found: Contract, options: ContractOptions) -> None:
        files = sorted((options.out / "results").glob("*/*/responses.jsonl"))
        before = [path.read_bytes() for path in files]
        said: list[str] = []
        again = study(options, said.append)
        assert again.scores == found.scores
        assert again.hours == found.hours
        assert not any("step" in line and "loss" in line for line in said)
        assert [path.read_bytes() for path in files] == before

    def test_what_is_beaten_by_little_is_not_worth_it(self, found: Contract) -> None:
        """A difference beyond chance between two ways that both fail is no reason to tune."""

        def said(f1: float) -> str:
            lines = tuple(replace(line, f1=replace(line.f1, value=f1)) for line in found.lines)
            better = {name: replace(one, verdict="better") for name, one in found.against.items()}
            return verdict(replace(found, lines=lines, against=better))

        assert said(0.2).startswith(
            "Tuning on this document beats passages in the prompt beyond chance here and still is not worth it: "
            "whichever way it is asked, its F1 stays below 0.5."
        )
        assert said(0.6).startswith("Tuning on this document is worth it here: it beats passages")

    def test_page_and_plot_say_what_was_found(self, found: Contract, tmp_path: Path) -> None:
        whole = section(found, "images/contract.svg")
        assert verdict(found) in whole
        assert "US cents" in whole
        assert "| 12" in whole
        assert all(line.name in text(found) for line in found.lines)
        assert [path.suffix for path in plot(found, tmp_path / "contract")] == [".svg", ".png"]
        assert DOCUMENT[:40] not in whole, "the document's own text stays out of the page"

    def test_a_page_holds_one_part_for_each_document_and_the_latest_of_it(
        self, found: Contract, tmp_path: Path
    ) -> None:
        path, other = tmp_path / "contract.md", replace(found, document="other.txt")
        for one in (other, found, replace(other, chars=12_345)):
            write_page(one, path)
        titles = [line for line in path.read_text().splitlines() if line.startswith("#")]
        assert titles == ["# Tuning on one document", "## other.txt", f"## {found.document}"]
        assert path.read_text().count("12,345 characters") == 1
        assert len(list((tmp_path / "images").glob("contract-*.svg"))) == 2


def test_chunks_of_the_document_are_what_is_learned(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(DOCUMENT)
    chunks = chunked([tmp_path / "a.txt"], 40)
    assert "".join(chunk.text for chunk in chunks) == DOCUMENT
