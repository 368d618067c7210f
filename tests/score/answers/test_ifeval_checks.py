"""Each of IFEval's 25 checks with texts that follow its instruction and texts that do not."""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.score.answers import ifeval_checks
from harness.score.answers.ifeval_checks import CHECKS
from harness.score.answers.instructions import gold_instructions

ENGLISH = "the boats are in the harbour and the sailors are having breakfast together"
GERMAN = "Die Boote liegen im Hafen, und die Matrosen frühstücken gemeinsam an Deck."
# Instruction, arguments, texts that follow it, texts that do not.
CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    (
        "change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"},
        ["STOP and LOOK.", "WELL-KNOWN, I say"], ["WELL-KNOWN, he says", "Stop And Look", ""],
    ),
    (
        "change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "less than"},
        ["STOP here", "stop"], ["STOP HERE"],
    ),
    ("change_case:english_capital", {}, [ENGLISH.upper()], [ENGLISH, GERMAN.upper(), ENGLISH.title()]),
    ("change_case:english_lowercase", {}, [ENGLISH], [ENGLISH.capitalize(), GERMAN.lower(), "12"]),
    (
        "combination:repeat_prompt", {"prompt_to_repeat": "Who won? "},
        ["Who won?\nThe goat.", "  WHO WON? A goat"], ["The goat won.", "You ask: Who won?"],
    ),
    (
        "combination:two_responses", {},
        ["One.\n******\nTwo.", "******\nOne.******Two."],
        ["One.", "One.******One.", "One.******", "a******b******c", "a************b"],
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, ["[a] [b]", "[a [b] [c]"], ["[a] b]"]),
    (
        "detectable_content:postscript", {"postscript_marker": "P.S."},
        ["Bye\n\nP.S. Call me", "p. s. me too"], ["PS: no", "P.P.S no"],
    ),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["Bye\nP.P.S. x", "p. p. s"], ["P.S. x"]),
    ("detectable_content:postscript", {"postscript_marker": "N.B."}, ["n.b. x"], ["nb x"]),
    ("detectable_format:constrained_response", {}, ["Well: My answer is no."], ["My answer is no", "no"]),
    (
        "detectable_format:json_format", {},
        ['{"a": [1]}', '```json\n{"a": 1}\n```', "```\n[]\n```"], ["a: 1", 'Here: {"a": 1}', "{'a': 1}", "[" * 100_000],
    ),
    (
        "detectable_format:multiple_sections", {"section_spliter": "PART", "num_sections": 2},
        ["PART 1\na\nPART 2\nb", "PART1 PART2 PART3"], ["PART 1", "Part 1\nPart 2", "PART one PART two"],
    ),
    (
        "detectable_format:number_bullet_lists", {"num_bullets": 2},
        ["* a\n* b", "Some:\n  - a\n* b"], ["* a", "* a\n* b\n* c", "**a**\n**b**", "1. a\n2. b"],
    ),
    (
        "detectable_format:number_highlighted_sections", {"num_highlights": 2},
        ["*a* and *b*", "**a** and *b*"], ["*a*", "*a and\nb* *", "** **\n**"],
    ),
    ("detectable_format:title", {}, ["<<Fog>>\nIt was", "It: << a >>"], ["<Fog>", "<<>>", "<< >>", "<<Fog\n>>"]),
    ("keywords:existence", {"keywords": ["fog", "sea"]}, ["Foggy seas"], ["fog", ""]),
    ("keywords:forbidden_words", {"forbidden_words": ["art", "c++"]}, ["artist"], ["an Art!", "art"]),
    ("keywords:frequency", {"keyword": "fog", "frequency": 2, "relation": "at least"}, ["Foggy fog"], ["fog"]),
    ("keywords:frequency", {"keyword": "a.b", "frequency": 1, "relation": "less than"}, ["acb"], ["A.B"]),
    (
        "keywords:letter_frequency", {"letter": "G", "let_frequency": 2, "let_relation": "at least"},
        ["Going", "gG"], ["go", ""],
    ),
    ("keywords:letter_frequency", {"letter": "#", "let_frequency": 2, "let_relation": "less than"}, ["#a"], ["##"]),
    ("language:response_language", {"language": "de"}, [GERMAN, "1234"], [ENGLISH]),
    (
        "length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"},
        ["a\n\nThen, b", "a\n\n\"then\" b", "a\n\n'Then' b\n\n"],
        ["Then\n\na", "a\n\nThen\n\nb", "a\nThen b", "a\n\n\n\nThen"],
    ),
    (
        "length_constraints:number_paragraphs", {"num_paragraphs": 2},
        ["a\n***\nb", "***\na\n***\nb\n***"], ["a", "a***b***c", "a******b", "a\n\nb"],
    ),
    (
        "length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"},
        ["One. Two!", "Why? Because."], ["Dr. Low met Prof. High.", "It costs 3.5 francs.", ""],
    ),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, ["One."], ["One. Two."]),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, ["a b-c"], ["a, b!", ""]),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, ["a b"], ["a b c"]),
    ("punctuation:no_comma", {}, ["a; b"], ["a, b"]),
    ("startend:end_checker", {"end_phrase": "Good night."}, ["good night.\n", '"Good night."'], ["Good night", "x"]),
    ("startend:quotation", {}, [' "a b"\n'], ['"a b', '"', "'a'", "“a”"]),
]  # fmt: skip


@pytest.mark.parametrize(("instruction", "arguments", "followed", "not_followed"), CASES)
def test_a_text_that_follows_the_instruction_is_separated_from_one_that_does_not(
    instruction: str, arguments: dict[str, Any], followed: list[str], not_followed: list[str]
) -> None:
    check = CHECKS[instruction]
    assert [text for text in followed if not check(text, **arguments)] == []
    assert [text for text in not_followed if check(text, **arguments)] == []


def test_every_instruction_has_a_check_that_takes_its_arguments_and_examples_here() -> None:
    taken = {name: set(inspect.signature(check).parameters) - {"text"} for name, check in CHECKS.items()}
    assert {name: set(arguments) for name, arguments, *_ in CASES} == taken


@given(st.text(st.sampled_from('ab.,?!"*<>[]-`{}1 \n\t\r\u2028'), max_size=40))
def test_any_text_gets_a_verdict(text: str) -> None:
    for name, arguments, *_ in CASES:
        if not name.startswith(("language", "change_case:english")):
            assert CHECKS[name](text, **arguments) in (True, False), name


@given(st.text(st.sampled_from("ab. *\n"), max_size=40), st.integers(1, 5))
def test_at_least_and_less_than_are_opposites(text: str, count: int) -> None:
    for name, counted, relation, rest in [
        ("length_constraints:number_words", "num_words", "relation", {}),
        ("length_constraints:number_sentences", "num_sentences", "relation", {}),
        ("keywords:letter_frequency", "let_frequency", "let_relation", {"letter": "a"}),
        ("keywords:frequency", "frequency", "relation", {"keyword": "ab"}),
    ]:
        verdicts = [CHECKS[name](text, **{counted: count, relation: one}, **rest) for one in ("at least", "less than")]
        assert sorted(verdicts) == [False, True], name


def test_without_langdetect_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    ifeval_checks._language.cache_clear()
    monkeypatch.setitem(sys.modules, "langdetect", None)
    with pytest.raises(UserError, match="languages are checked with langdetect: pip install langdetect"):
        CHECKS["language:response_language"](GERMAN, language="de")


def test_every_example_is_a_valid_right_answer() -> None:
    for name, arguments, *_ in CASES:
        (found,) = gold_instructions(json.dumps({"instruction_id_list": [name], "kwargs": [arguments]}))
        assert (found.id, found.arguments) == (name, arguments)
