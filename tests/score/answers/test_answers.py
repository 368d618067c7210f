"""What counts as the answer in what a model wrote."""

from __future__ import annotations

import string
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.score.answers import read, text_of
from harness.tasks.task import AnswerFormat
from tests.score.metrics.rows import spec

YES_NO = spec("label", labels=["yes", "no"], aliases={"true": "yes", "false": "no"})
TOXIC = spec("label", labels=["toxic", "not toxic"], aliases={"non-toxic": "not toxic", "nontoxic": "not toxic"})
DIGITS = spec("label", labels=["0", "1", "2"])
LETTERS = spec("label", labels=["A", "B", "C", "D"])
TOPICS = spec("label", labels=["World", "Sports", "Business", "Sci/Tech"], aliases={"Tech": "Sci/Tech"})
FIVE = spec("label", labels=["Extremely Negative", "Negative", "Neutral", "Positive", "Extremely Positive"])
SETS = spec("label", labels=["acq", "corn", "corn-oil", "grain", "can", "none"], many=True)
NUMBER = spec("number")
ENTITIES = spec("entities", types=["person", "organization"])


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("plain", "plain"),
        ("<think>no, wait</think>yes", "yes"),
        ("<THINK>\nno\n</THINK>\nyes", "\nyes"),
        ("<thinking>no</thinking> yes", " yes"),
        ("no, wait </think> yes", " yes"),
        ("<think>cut off before the answer: no", ""),
        ("<think>a</think>yes<think>no", "yes"),
        ("<think>a <think>b</think> c</think> yes", " yes"),
        ("I think so", "I think so"),
    ],
)
def test_thinking_is_no_part_of_the_text(completion: str, text: str) -> None:
    assert text_of(completion) == text


@pytest.mark.parametrize(
    ("answer", "completion", "label"),
    [
        (YES_NO, "yes", "yes"),
        (YES_NO, " No.", "no"),
        (YES_NO, "**Yes**", "yes"),
        (YES_NO, '"no"', "no"),
        (YES_NO, "_no_", "no"),
        (YES_NO, "TRUE", "yes"),
        (YES_NO, "Yes, that is true.", "yes"),
        (YES_NO, "The answer is: no", "no"),
        (YES_NO, "<think>no</think>yes", "yes"),
        (YES_NO, "yes\n\nExplanation: there is no doubt about it.", "yes"),
        (YES_NO, "**Answer:** yes\nThere is no doubt.", "yes"),
        (YES_NO, "unknown", None),
        (YES_NO, "I do not know", None),
        (YES_NO, "Nothing to say, none at all", None),
        (YES_NO, "yes or no", None),
        (YES_NO, "It is not true", None),
        (YES_NO, "", None),
        (DIGITS, "1", "1"),
        (DIGITS, "Label: 2.", "2"),
        (DIGITS, "10", None),
        (DIGITS, "-1", None),
        (DIGITS, "1.5", None),
        (DIGITS, "0 1 2", None),
        (DIGITS, "1/2", None),
        (TOXIC, "toxic", "toxic"),
        (TOXIC, "Not toxic.", "not toxic"),
        (TOXIC, "not-toxic", "not toxic"),
        (TOXIC, "This message is not  toxic", "not toxic"),
        (TOXIC, "nontoxic", "not toxic"),
        (TOXIC, "toxic or not toxic", None),
        (TOXIC, "It isn't toxic", None),
        (TOXIC, "detoxic", None),
        (FIVE, "Extremely negative", "Extremely Negative"),
        (FIVE, "I would say negative", "Negative"),
        (FIVE, "Negative, even extremely negative", None),
        (TOPICS, "Sci/Tech", "Sci/Tech"),
        (TOPICS, "sci / tech", "Sci/Tech"),
        (TOPICS, "tech", "Sci/Tech"),
        (TOPICS, "world-class sports", "Sports"),
        (LETTERS, "B", "B"),
        (LETTERS, "b", "B"),
        (LETTERS, "(c)", "C"),
        (LETTERS, "B) a dog", "B"),
        (LETTERS, "A person walks a dog, so the answer is D.", "D"),
        (LETTERS, "A is right", "A"),
        (LETTERS, "A and B", None),
        (LETTERS, "I cannot tell", None),
    ],
)
def test_labels(answer: AnswerFormat, completion: str, label: str | None) -> None:
    assert read(completion, answer) == label


def test_naming_every_label_is_no_answer() -> None:
    reasons = ["order checks", "pay bill", "replace card", "transfer money"]
    assert read(", ".join(reasons), spec("label", labels=reasons)) is None


@pytest.mark.parametrize(("pick", "label"), [("only", None), ("first", "A"), ("last", "C")])
def test_with_several_labels_the_task_says_which_counts(pick: str, label: str | None) -> None:
    answer = spec("label", labels=["A", "B", "C"], pick=pick)
    assert read("A) no, B) no, so: (C)", answer) == label


def test_a_label_is_read_behind_the_last_marker() -> None:
    answer = spec("label", labels=["A", "B"], after=r"(?i)answer is:?")
    assert read("The answer is not A, I think. The answer is: B", answer) == "B"
    assert read("B", answer) == "B"  # without a marker the whole text is the answer


@pytest.mark.parametrize("label", ["C++", "C", "C#", "+", "-", ":)", "e-mail", "ü", "x_y", "1.5"])
def test_a_label_alone_is_itself_whatever_its_characters(label: str) -> None:
    answer = spec("label", labels=["C++", "C", "C#", "+", "-", ":)", "e-mail", "ü", "x_y", "1.5"])
    assert read(label, answer) == label
    assert read(f" **{label}** \n", answer) == label


@pytest.mark.parametrize(
    ("completion", "labels"),
    [
        ("grain", ("grain",)),
        ("grain, acq", ("acq", "grain")),
        ("- grain\n- acq\n- grain", ("acq", "grain")),
        ("1. corn\n2. corn-oil", ("corn", "corn-oil")),
        ("Topics: corn and grain.", ("corn", "grain")),
        ("The topics are grain and corn-oil", ("corn-oil", "grain")),
        ('["grain", "acq"]', ("acq", "grain")),
        ("grain, silver", None),  # what is no label is a part of the answer, too
        ("none", ("none",)),
        ("I can not say", None),
        ("", None),
    ],
)
def test_sets_of_labels(completion: str, labels: tuple[str, ...] | None) -> None:
    assert read(completion, SETS) == labels


@pytest.mark.parametrize(
    ("completion", "number"),
    [
        ("5", 5),
        ("The total is $1,234.50.", 1234.5),
        ("12 apples", 12),
        ("12kg", 12),
        ("-5", -5),
        ("\N{MINUS SIGN}5", -5),
        ("a loss of -$5", -5),
        ("$-5", -5),
        ("10-5", None),  # a range, a subtraction or a part of a longer number
        ("10 - 5", None),
        ("10 - 5 = 5", 5),
        ("- 5 apples", 5),
        ("45%", 45),
        (".5", 0.5),
        ("It is 7.", 7),
        ("It was seven.", None),
        ("1,234,567 people", 1234567),
        ("1, 2, 3", 3),
        ("1,2,3", None),
        ("12\N{NARROW NO-BREAK SPACE}000", 12000),
        (r"\boxed{42}", 42),
        ("1{,}234", 1234),
        ("1e3", 1000),
        ("1e400", None),
        ("1/2", 0.5),
        ("12/31/2024", None),
        ("GPT4", None),
        ("v1.2.3", None),
        ("10 / 2 = 5", 5),
        ("3 boxes of 4 make 12.", 12),
        ("#### 72\nCheck: 2 x 36", 72),
        ("#### $1,000", 1000),
        ("<think>so 3</think>4", 4),
        ("", None),
    ],
)
def test_numbers(completion: str, number: float | None) -> None:
    assert read(completion, NUMBER) == number


def test_the_number_behind_the_marker_wins_over_the_last_one() -> None:
    answer = spec("number", after="answer is")
    assert read("3 + 4 = 7. The answer is 7, not 8.", answer) == 7
    assert read("3 + 4 = 7", answer) == 7
    assert read("3 of 10", spec("number", pick="first")) == 3


def test_a_number_off_the_scale_is_no_answer() -> None:
    scale = spec("number", minimum=0, maximum=5, pick="first")
    assert read("4.2", scale) == Fraction("4.2")
    assert read("1000", scale) is None
    assert read("-3", scale) is None


def test_text() -> None:
    assert read("  two words \n", spec("text")) == "two words"
    assert read("\n first\nsecond", spec("text", first_line=True)) == "first"
    assert read("Summary: long\nSummary: short", spec("text", after="Summary:")) == "short"
    assert read(" \n ", spec("text")) is None


def test_regular_expressions() -> None:
    assert read("id=1 id=22", spec("regex", pattern=r"id=(\d+)")) == "22"
    assert read("id=1, name=x", spec("regex", pattern=r"(id)=(?P<answer>\d+)")) == "1"
    assert read("id=1", spec("regex", pattern=r"\d+")) == "1"
    assert read("none", spec("regex", pattern=r"\d+")) is None


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("```json\n[1, 2]\n```", [1, 2]),
        ("```\n{'a': None}", {"a": None}),
        ("{'a': True, \"b\": null}", {"a": True, "b": None}),
        ("{'it': \"it's\"}", {"it": "it's"}),
        ("{'a': ('x', 'y'),}", {"a": ["x", "y"]}),
        ('Here it is: {"a": "}"} I hope it helps {not json}', {"a": "}"}),
        ("{broken} but [1]", None),  # a footnote
        ("12", 12),
        ("NaN", None),
        ("null", None),
        ("no JSON", None),
        ("{" * 20_000, None),
        ("[" * 20_000 + "]" * 20_000, None),
        ("9" * 10_000, None),
    ],
)
def test_json(completion: str, value: object) -> None:
    assert read(completion, spec("json")) == value


@pytest.mark.parametrize(
    ("completion", "people", "organizations"),
    [
        ('{"person": ["Ann"], "organization": []}', ("Ann",), ()),
        ('{"Person": "Ann", "ORGANIZATION": ["UN", "EU"]}', ("Ann",), ("UN", "EU")),
        ("{'person': ['Ann', 'Ann'], 'organization': None}", ("Ann", "Ann"), ()),
        ('{"person": [" Ann ", ""], "date": ["1999"]}', ("Ann",), ()),
        ("{}", (), ()),
    ],
)
def test_entities(completion: str, people: tuple[str, ...], organizations: tuple[str, ...]) -> None:
    assert read(completion, ENTITIES) == {"person": people, "organization": organizations}


@pytest.mark.parametrize("completion", ["Ann", '["Ann"]', '{"date": ["1999"]}', "", '{"person": ["Ann'])
def test_what_is_no_entity_list(completion: str) -> None:
    assert read(completion, ENTITIES) is None


@pytest.mark.parametrize(
    ("completion", "label", "explanation"),
    [
        ("Sports\nExplanation: It is about a match.", "Sports", "It is about a match."),
        ("sports\n\n**explanation:** It is about a match.", "Sports", "It is about a match."),
        ("Topic: Sports\nExplanation: World records.", "Sports", "World records."),
        ("Sports\nIt is about a match.", "Sports", "It is about a match."),
        ("Sports", "Sports", ""),
    ],
)
def test_label_and_explanation(completion: str, label: str, explanation: str) -> None:
    answer = spec("label_and_explanation", labels=["World", "Sports"])
    assert read(completion, answer) == (label, explanation)


def test_a_free_label_is_what_stands_before_the_explanation() -> None:
    answer = spec("label_and_explanation")
    assert read("Answer: 12 goals\nExplanation: 5 + 7 = 12", answer) == ("12 goals", "5 + 7 = 12")
    assert read("Explanation: no answer", answer) is None
    assert read("Art\nExplanation: x", spec("label_and_explanation", labels=["World", "Sports"])) is None


@pytest.mark.parametrize(
    ("completion", "query"),
    [
        ("SELECT 1;", "SELECT 1"),
        ("```sql\nSELECT a\nFROM t;\n```\nThis query selects a.", "SELECT a\nFROM t"),
        ("```SELECT 1```", "SELECT 1"),
        ("Here is the query: SELECT a FROM t; It selects a.", "SELECT a FROM t"),
        ("SELECT a FROM t\n\nI chose a because you asked to select it.", "SELECT a FROM t"),
        ("SELECT a\n\nFROM t", "SELECT a\nFROM t"),
        ("select a from t where b = 'x; y';", "select a from t where b = 'x; y'"),
        ("SELECT 1; DROP TABLE t", "SELECT 1"),
        ("With pleasure!\nSELECT 1", "SELECT 1"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "WITH x AS (SELECT 1) SELECT * FROM x"),
        ("I cannot do that", None),
        ("", None),
    ],
)
def test_sql(completion: str, query: str | None) -> None:
    assert read(completion, spec("sql")) == query


FUNCTION = "def f(x):\n    return x + 1"


@pytest.mark.parametrize(
    ("completion", "source"),
    [
        (FUNCTION, FUNCTION),
        (f"```python\n{FUNCTION}\n```", FUNCTION),
        (f"```\npip install x\n```\n```python\n{FUNCTION}\n```\nEnjoy!", FUNCTION),
        (f"```python\n{FUNCTION}", FUNCTION),
        (f"Here is the function:\n\n{FUNCTION}\n\nIt adds one to x.", FUNCTION),
        (f"import math\n{FUNCTION}\n", f"import math\n{FUNCTION}"),
        ("    return x + 1\n", "    return x + 1"),
        ("\n    y = x\n    return y", "    y = x\n    return y"),
        ("y = x\n    return y", "y = x\n    return y"),
        ("```python\n    return x\n```", "    return x"),
        ("", None),
    ],
)
def test_code(completion: str, source: str | None) -> None:
    assert read(completion, spec("code", program="{{ completion }}")) == source


EVERY = [
    YES_NO, TOXIC, SETS, LETTERS, NUMBER, ENTITIES, spec("text", first_line=True), spec("regex", pattern=r"\w+"),
    spec("json"), spec("label_and_explanation"), spec("label_and_explanation", labels=["World", "Sports"]), spec("sql"),
    spec("code", program=""), spec("label", labels=["A", "I", "-1", "+"], pick="last", after="is"),
]  # fmt: skip
PIECES = [
    "<think>", "</think>", "```", "```json\n", "{", "}", "[", "]", '"', "'", "####", "yes", "no", "not ", "1", "-", ".",
    ",", "/", "$", "e9", "\n", " ", "select ", ";", "def f():\n", "    return", "Explanation:", "\\", "\x00", "²",
    "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("answer", EVERY, ids=lambda answer: str(answer.type))
@settings(max_examples=50)
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join), st.text(string.printable)))
def test_reading_never_raises(answer: AnswerFormat, completion: str) -> None:
    read(completion, answer)


@pytest.mark.parametrize("answer", EVERY, ids=lambda answer: str(answer.type))
def test_reading_never_raises_on_long_repetitions(answer: AnswerFormat) -> None:
    for piece in PIECES:
        read(piece * (3_000 // len(piece)), answer)


@given(st.sampled_from(["World", "Sports", "Business", "Sci/Tech"]), st.text(" .,!?*\"'`:;()\n", max_size=6))
def test_a_label_alone_survives_any_punctuation(label: str, around: str) -> None:
    assert read(around + label + around, TOPICS) == label


@given(st.floats(-1e12, 1e12).map(lambda value: round(value, 3)))
def test_a_number_is_read_back_as_printed(value: float) -> None:
    exact = Fraction(f"{value:.3f}")
    assert read(f"The answer is {value:,.3f}.", NUMBER) == exact
    assert read(f"{value:.3f} kg", NUMBER) == exact
