"""Where an answer ends, which answers there may be, and that a row's answer does not depend on those beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers

from harness.models.engines.decoding import DecodedAnswer, PromptTooLong, Query, after, answer, continuations
from harness.tasks.messages import as_continuation
from tests.models.engines.engine import END, Scripted, tokenizer

TEXT = st.text(min_size=0, max_size=12)


def one(text: str, **query: object) -> DecodedAnswer:
    settings = {"prompt": "p", "max_tokens": 40, **query}
    [found] = answer(Scripted({"p": text}), None, [Query(**settings)])  # type: ignore[arg-type]
    assert isinstance(found, DecodedAnswer)
    return found


class TestTheEnd:
    def test_an_end_token_ends_it(self) -> None:
        assert one("yes") == DecodedAnswer("yes", "stop", input_tokens=1, output_tokens=4)

    def test_an_answer_may_be_empty(self) -> None:
        assert one("") == DecodedAnswer("", "stop", 1, 1), "the end is a token, too"

    def test_a_limit_cuts_it(self) -> None:
        assert one("a long story", max_tokens=6) == DecodedAnswer("a long", "length", 1, 6)

    def test_the_context_is_a_limit_too(self) -> None:
        [found] = answer(Scripted({"prompt": "story"}, context=9), None, [Query("prompt", 40)])
        assert found == DecodedAnswer("sto", "length", 6, 3)

    @pytest.mark.parametrize(
        ("said", "stop", "text"),
        [
            ("yes\nno", ("\n",), "yes"),
            ("yes. no", (" no", "."), "yes"),
            ("\nyes", ("\n",), ""),
            ("a###b", ("####", "##"), "a"),
            ("naïve – oui", ("–",), "naïve "),
        ],
    )
    def test_a_stop_string_ends_it_and_is_no_part_of_it(self, said: str, stop: tuple[str, ...], text: str) -> None:
        found = one(said, stop=stop)
        assert (found.text, found.finish) == (text, "stop")

    def test_nothing_is_generated_behind_a_stop_string(self) -> None:
        assert one("ab\ncdefgh", stop=("\n",)).output_tokens == 3

    @given(TEXT, st.lists(st.text(min_size=1, max_size=3), max_size=3))
    def test_it_is_what_precedes_the_first_stop_string(self, said: str, stops: list[str]) -> None:
        found = one(said, max_tokens=63, stop=tuple(stops))
        places = [said.find(stop) for stop in stops if stop in said]
        assert found.text == said[: min(places, default=len(said))]


class TestBatches:
    @given(
        st.lists(
            st.tuples(TEXT.filter(bool), TEXT, st.integers(1, 20)), min_size=1, max_size=6, unique_by=lambda x: x[0]
        )
    )
    def test_a_rows_answer_does_not_depend_on_those_beside_it(self, rows: list[tuple[str, str, int]]) -> None:
        engine = Scripted({prompt: text for prompt, text, _ in rows}, context=48)
        queries = [Query(prompt, most, ("x",)) for prompt, _, most in rows]
        together = answer(engine, None, queries)
        alone = [answer(engine, None, [query])[0] for query in queries]
        assert list(map(str, together)) == list(map(str, alone))

    def test_a_long_prompt_does_not_cut_the_answers_beside_it(self) -> None:
        engine = Scripted({"short": "a long answer", "x" * 60: "tail"}, context=64)
        found = answer(engine, None, [Query("short", 40), Query("x" * 60, 40)])
        assert [each.text for each in found if isinstance(each, DecodedAnswer)] == ["a long answer", "tail"]
        assert len(engine.calls) == 2

    def test_rows_that_fit_beside_each_other_are_read_at_once(self) -> None:
        engine = Scripted({"a": "1", "bb": "2"})
        answer(engine, "some/adapter", [Query("a", 4), Query("bb", 4)])
        assert engine.calls == [("some/adapter", ["a", "bb"])]

    def test_a_prompt_that_is_too_long_is_an_error_in_its_place(self) -> None:
        engine = Scripted({"a": "1"}, context=8)
        long, short = answer(engine, None, [Query("x" * 8, 4), Query("a", 4)])
        assert isinstance(long, PromptTooLong)
        assert str(long) == "the prompt has 8 tokens, and the model reads 7 at most"
        assert short == DecodedAnswer("1", "stop", 1, 2)

    def test_without_a_prompt_that_fits_nothing_is_read(self) -> None:
        engine = Scripted(context=4)
        answer(engine, None, [Query("x" * 9, 4)])
        assert engine.calls == []


class TestLabels:
    def test_an_answer_is_one_of_them_whatever_the_model_would_say(self) -> None:
        assert one("maybe", labels=("yes", "no")).text == " no"

    def test_the_models_choice_among_them_counts(self) -> None:
        assert one(" yes", labels=("yes", "no")).text == " yes"

    def test_one_may_be_the_beginning_of_another(self) -> None:
        labels = ("in", "into")
        assert one(" in", labels=labels).text == " in"
        assert one(" into", labels=labels).text == " into"

    def test_nothing_is_generated_behind_one_that_none_continues(self) -> None:
        assert one(" yes and no", labels=("yes",)) == DecodedAnswer(" yes", "stop", 1, 4)

    def test_they_stand_right_behind_a_prompt_that_ends_with_white_space(self) -> None:
        [found] = answer(Scripted(), None, [Query("p\n", 4, labels=("yes",))])
        assert isinstance(found, DecodedAnswer)
        assert found.text == "yes"

    def test_rows_of_a_batch_have_labels_of_their_own(self) -> None:
        queries = [Query("a", 4, labels=("yes", "no")), Query("b", 4, labels=("entailment",))]
        found = answer(Scripted({"a": " yes"}), None, queries)
        assert [each.text for each in found if isinstance(each, DecodedAnswer)] == [" yes", " entailment"]

    @given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=5), TEXT)
    def test_any_answer_is_one_of_them(self, labels: list[str], said: str) -> None:
        assert one(said, labels=tuple(labels)).text in {" " + label for label in labels}

    def test_the_tokens_that_may_follow(self) -> None:
        engine = Scripted()
        ids = engine.tokenizer.encode(" ab").ids
        found = continuations(engine, Query("p", 4, labels=("a", "ab")))
        assert found == {
            (): {ids[0]}, (ids[0],): {ids[1]}, tuple(ids[:2]): {ids[2], END}, tuple(ids): {END},
        }  # fmt: skip


class TestBehindAPrompt:
    @pytest.mark.parametrize(("prompt", "text"), [("Answer:", " yes"), ("Answer:\n", "yes"), ("Answer: ", "yes")])
    def test_a_space_stands_between_unless_there_is_one(self, prompt: str, text: str) -> None:
        assert as_continuation(prompt, "yes") == text

    @given(TEXT, TEXT)
    def test_the_tokens_are_those_of_the_text(self, prompt: str, text: str) -> None:
        words = tokenizer()
        assert words.decode(after(words, prompt, text)) == text

    def test_no_mark_of_a_beginning_stands_before_an_answer(self) -> None:
        pieces = [("<unk>", 0.0), ("▁", -2.0), ("▁yes", -1.0), (":", -1.0), ("▁:", -1.0)]
        words = Tokenizer(models.Unigram(pieces, unk_id=0))
        words.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        assert words.encode(" yes").tokens == ["▁", "▁yes"]
        assert after(words, "Answer:", " yes") == [words.token_to_id("▁yes")]
