"""Baselines: what they answer, that they always answer the same, and that they stay out of the loop's way."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from harness.errors import Rejected
from harness.models.backend import Reply
from harness.models.baseline import MOST_CLASSES, BaselineBackend, Objective, majority, tfidf
from tests.models.asking import request

FRAME = "Decide whether the comment is toxic. Never answer with anything but yes or no.\nComment: {}\nToxic:"
KIND = ["what a lovely day", "thank you for the lovely help", "great work thank you", "a lovely and great idea"]
ACCURACY = Objective("accuracy")
RUDE = ["you stupid fool", "shut up fool", "what a stupid idiot you are", "idiot shut your stupid mouth"]


def framed(*texts: str) -> list[str]:
    """Rendered prompts: the same instructions around each text."""
    return [FRAME.format(text) for text in texts]


def backend(prompts: Sequence[str], targets: Sequence[str]) -> BaselineBackend:
    return BaselineBackend("majority", lambda: (prompts, targets), ACCURACY, "rows-1")


def test_majority_answers_the_most_frequent_target() -> None:
    assert majority(["no", "yes", "no"])("anything") == "no"


some_targets = st.lists(st.sampled_from("abc"), min_size=1)


@given(some_targets.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))))
def test_majority_does_not_depend_on_the_order_of_rows(orders: tuple[list[str], list[str]]) -> None:
    rows, shuffled = orders
    winner = majority(rows)("")
    assert winner == majority(shuffled)("")
    assert rows.count(winner) == max(rows.count(target) for target in rows)


def test_labels_are_learnt_from_words() -> None:
    predict = tfidf(framed(*KIND, *RUDE), ["no"] * 4 + ["yes"] * 4, ACCURACY)
    unseen = framed("lovely work", "stupid fool", "you are an idiot", "thank you")
    assert [predict(prompt) for prompt in unseen] == ["no", "yes", "yes", "no"]


def test_the_instructions_common_to_all_prompts_say_nothing() -> None:
    """With the frame or without it the answers are the same, although it holds words of one class."""
    targets = ["no"] * 4 + ["yes"] * 4
    bare, inside = tfidf(KIND + RUDE, targets, ACCURACY), tfidf(framed(*KIND, *RUDE), targets, ACCURACY)
    for text in ["lovely idiot", "great fool", "mouth", "whether the comment is toxic"]:
        assert bare(text) == inside(FRAME.format(text))


def test_free_text_is_that_of_the_nearest_training_row() -> None:
    prompts = framed("name: The Eagle; food: French", "name: The Mill; food: Chinese", "name: Zizzi; food: Italian")
    predict = tfidf(prompts, ["The Eagle is French.", "The Mill is Chinese.", "Zizzi is Italian."], None)
    assert predict(FRAME.format("name: The Wrestlers; food: Italian")) == "Zizzi is Italian."
    assert predict(FRAME.format("name: The Mill; food: English")) == "The Mill is Chinese."


@pytest.mark.parametrize("objective", [ACCURACY, None])
def test_a_training_row_asked_again_gets_its_own_target(objective: Objective | None) -> None:
    prompts, targets = framed(*KIND, *RUDE), [f"target {n}" for n in range(8)]
    predict = tfidf(prompts, targets, objective)
    assert [predict(prompt) for prompt in prompts] == targets


def test_where_no_word_is_known_the_majority_decides() -> None:
    predict = tfidf(framed(*KIND, *RUDE), ["a", "b", "b", "c", "d", "e", "f", "g"], None)
    assert predict(FRAME.format("zzz")) == "b"


def test_a_single_class_is_answered_without_a_fit() -> None:
    assert tfidf(framed(*KIND), ["no"] * 4, ACCURACY)("anything") == "no"


@pytest.mark.parametrize("texts", [["same", "same", "same"], ["", "", ""], ["?", "!", "…"]])
def test_prompts_without_a_telling_word_fall_back_to_the_majority(texts: list[str]) -> None:
    assert tfidf(framed(*texts), ["no", "yes", "no"], ACCURACY)(FRAME.format("x")) == "no"


def test_more_classes_than_memory_bears_are_looked_up() -> None:
    count = MOST_CLASSES + 1
    texts = [f"word{n} and word{n}" for n in range(count)]
    predict = tfidf(texts, [f"label {n}" for n in range(count)], ACCURACY)
    assert predict("word77") == "label 77"


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=30), st.sampled_from(["a", "b", "c"])), min_size=1, max_size=12), st.text())
def test_any_rows_give_a_known_target_and_always_the_same(rows: list[tuple[str, str]], prompt: str) -> None:
    prompts, targets = [text for text, _ in rows], [target for _, target in rows]
    for objective in (ACCURACY, None):
        first, again = tfidf(prompts, targets, objective)(prompt), tfidf(prompts, targets, objective)(prompt)
        assert first == again
        assert first in targets


def test_the_backend_answers_all_rows_from_one_fit_outside_the_loop() -> None:
    threads: list[str] = []

    def training() -> tuple[list[str], list[str]]:
        threads.append(threading.current_thread().name)
        return framed(*KIND, *RUDE), ["no"] * 4 + ["yes"] * 4

    async def asking() -> list[Reply]:
        opened = BaselineBackend("tfidf", training, ACCURACY, "rows-1")
        asked = [opened.ask(request(prompt)) for prompt in framed("lovely", "stupid", "idiot")]
        replies = await asyncio.gather(*asked)
        await opened.aclose()
        return list(replies)

    assert [reply.completion for reply in asyncio.run(asking())] == ["no", "yes", "yes"]
    assert len(threads) == 1
    assert threads[0] != threading.main_thread().name


def test_a_row_that_gives_up_waiting_does_not_undo_the_fit() -> None:
    calls: list[int] = []

    def training() -> tuple[list[str], list[str]]:
        calls.append(1)
        time.sleep(0.2)
        return framed(*KIND), ["no"] * 4

    async def asking() -> Reply:
        opened = BaselineBackend("majority", training, ACCURACY, "rows-1")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(opened.ask(request()), 0.01)
        return await opened.ask(request())

    assert asyncio.run(asking()) == Reply("no")
    assert calls == [1]


def test_without_training_rows_each_row_is_rejected() -> None:
    async def asking() -> None:
        await backend([], []).ask(request())

    for _ in range(2):
        with pytest.raises(Rejected, match="no training rows"):
            asyncio.run(asking())


def spam(rows: int) -> tuple[list[str], list[str]]:
    """One text in ten is spam, and all the words of spam occur in other texts, too, but less often."""
    draw = random.Random(0)
    targets = ["spam" if n % 10 == 0 else "ham" for n in range(rows)]
    words = {
        "spam": ["win", "cash", "prize", "call", "now", "free", "text"],
        "ham": ["see", "you", "at", "home", "tomorrow", "call", "me", "text"],
    }
    own = {target: words[target] * 2 + words["spam"] + words["ham"] * 2 for target in words}
    return [" ".join(draw.choices(own[target], k=6)) for target in targets], targets


def test_the_regression_is_fitted_for_the_tasks_first_metric() -> None:
    """Where few rows are positive, what is best for accuracy finds few of them; for F1 the classes are weighted."""
    texts, targets = spam(600)
    f1, accuracy = Objective("f1", "spam"), Objective("accuracy")
    asked, gold = texts[400:], targets[400:]
    found = {
        one: [predict(text) for text in asked]
        for one in (f1, accuracy)
        for predict in [tfidf(texts[:400], targets[:400], one)]
    }
    assert f1_score(gold, found[f1], pos_label="spam") > f1_score(gold, found[accuracy], pos_label="spam")
    assert found[f1].count("spam") > found[accuracy].count("spam")


@pytest.mark.parametrize(
    "objective",
    [
        Objective(name)
        for name in ("macro_f1", "weighted_recall", "micro_f1", "mcc", "balanced_accuracy", "f1", "custom")
    ]
    + [Objective(name, "spam") for name in ("f1", "precision", "recall")],
)
def test_any_metric_of_labels_can_be_what_it_is_fitted_for(objective: Objective) -> None:
    texts, targets = spam(60)
    predict = tfidf(texts, targets, objective)
    assert {predict(text) for text in texts} == {"spam", "ham"}


def test_what_it_is_fitted_for_belongs_to_the_answers_identity() -> None:
    one, other = (BaselineBackend("tfidf", lambda: ([], []), Objective(name), "rows-1") for name in ("f1", "accuracy"))
    assert one.identity != other.identity


def test_the_answers_identity_is_method_and_training_rows() -> None:
    opened = backend([], [])
    assert opened.identity == {"backend": "baseline", "method": "majority", "training": "rows-1"}
    assert opened.body(request("Is it?")) == {"prompt": "Is it?"}
