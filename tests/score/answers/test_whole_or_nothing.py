"""An answer is read whole or not at all, and the same whatever characters it is written in."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.folding import fold, unwrapped
from harness.models.entry import Thinking
from harness.score.answers import read, read_gold, text_of
from tests.score.metrics.rows import spec

NUMBER = spec("number")
FOUR = spec("label", labels=["A", "B", "C", "D"])
TEN = spec("label", labels=list("ABCDEFGHIJ"))
TOXIC = spec("label", labels=["non-toxic", "toxic"])
CHINESE = spec("label", labels=["正面", "负面"])
KOREAN = spec("label", labels=["긍정", "부정"])
TOPICS = spec("label", labels=["sport", "music", "food, drink", "arts and crafts", "R&B; soul"], many=True)

VALUES: dict[str, list[tuple[str, Any]]] = {
    "exponents": [("5e-3", "0.005"), ("It is 1.5E+03.", 1500), ("about 2e-7 m", "0.0000002"), ("1e5", 100000)],
    "powers": [
        ("10^2", 100), ("10²", 100), ("10^{-3}", "0.001"), ("2**10", 1024), ("5×10^3", 5000), ("5 x 10^-3", "0.005"),
        (r"5 \times 10^{3}", 5000), ("5 × 10³", 5000), (r"90^\circ", 90),
    ],
    "grouped digits": [
        ("1,234,567", 1234567), ("1 000 000", 1000000), ("5 000", 5000), ("1'000", 1000), ("1’000", 1000),
        ("1_000", 1000), ("12,34,567", 1234567), ("1.000.000", 1000000), ("1.000,50", "1000.5"), ("1,234.50", "1234.5"),
        ("costs 12\N{NARROW NO-BREAK SPACE}000 euros", 12000), ("1{,}234", 1234), (r"1\,234", 1234),
    ],
    "decimal commas": [("0,5", "0.5"), ("3,14", "3.14"), ("−5,13 %", "-5.13"), ("1234,567", "1234.567")],
    "magnitudes": [
        ("1.2 million", 1200000), ("$3.5M", 3500000), ("5k", 5000), ("2 billion", 2 * 10**9), ("£2bn", 2 * 10**9),
        ("$5m", 5000000), ("5m", 5), ("3,5 Mio. Euro", 3500000), ("3万", 30000), ("1.2億", 120000000), ("2 dozen", 24),
        ("5 hundred thousand", 500000), ("3万亿", 3 * 10**12), ("3千克", 3), ("5 Billionen", 5 * 10**12),
        ("2 Dozen", 24),
    ],
    "fractions": [
        ("1/2", "1/2"), ("10 / 2", 5), ("1 1/2 cups", "3/2"), ("1½", "3/2"), ("½", "1/2"), (r"\frac{3}{4}", "3/4"),
        (r"$-\frac{1}{2}$", "-1/2"), (r"1\frac{1}{2}", "3/2"), (r"\dfrac12", "1/2"), ("-1 1/2", "-3/2"),
    ],
    "signs": [
        ("\N{NON-BREAKING HYPHEN}5", -5), ("\N{FULLWIDTH HYPHEN-MINUS}5", -5), ("\N{SMALL HYPHEN-MINUS}5", -5),
        ("\N{EN DASH}5", -5), ("\N{EM DASH}5", -5), ("minus 5", -5), ("negative 5", -5),
        ("x = -5", -5), ("(-5)", -5), ("-$5", -5), ("$-5", -5), ("+5", 5), ("x = - 5", -5), (r"$x = -\,5$", -5),
        ("It fell to \N{MINUS SIGN}\N{NARROW NO-BREAK SPACE}5 °C", -5), ("- 5", 5), ("Total \N{EN DASH} 5", 5),
    ],
    "other scripts": [("１２３", 123), ("٤٢", 42), ("४२", 42), ("答案是42", 42), ("٣٫٥", "3.5")],
    "markup": [("**5**", 5), (r"\$1,000", 1000), (r"45\%", 45), ("USD 5", 5), ("5 km/h", 5), ("5 m²", 5)],
    "size": [("9007199254740993", 9007199254740993), ("9" * 3000, int("9" * 3000))],
}  # fmt: skip


@pytest.mark.parametrize(("text", "value"), [pair for pairs in VALUES.values() for pair in pairs])
def test_every_form_of_the_table_has_its_value(text: str, value: int | str) -> None:
    assert read(text, NUMBER) == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-15", "12/31/2024", "15.01.2024", "January 15, 2024", "15 January 2024", "on May 5", "at 3:45", "3 pm",
        "12:30:15", "2024-01-15T10:00:00", "10h30", "0x1F", "v1.2.3", "192.168.0.1", "555-1234", "3-4 hours", "2:1",
        "5 ± 2", "(3,4)", "[1,2]", "5'10\"", "2√3", "2π", r"\sqrt{2}", "x^2", "5x", "2^2^2", "1,234.5.6", "3.141 592",
        "1 000 00", "12 345 6", "5..10", "1.5e3x", "1e-99999", "1e400", "1/0", "3万5千", "1 million 200 thousand",
        "3.5 out of 5", "$5M-$10M", "5 feet 10 inches", "2 hours and 30 minutes", "5 and a half", "5 and 1/2", "5 B",
        "10 - 5", "10 minus 5", "3 + 4", "2 x 3", "2*3", "10 ÷ 2", "$3 + $4", "12 = 3 x 4", r"3 \times 4",
        "10 divided by 2", "5 or 6", "5 to 6", "between 5 and 6", "5 dollars and 20 cents", "$5 and 20 cents",
        "5 euros 20 cents", "2 days and 3 hours", "2 weeks 3 days", "1 kg 500 g", "1 m 80 cm",
        "GPT-4", "COVID-19", "H2O", "9" * 5000,
        "-(5)", r"-\left(5\right)", "-(-5)", "--5", "x - 3", "5 plus or minus 2", "5 mod 7",
        r"0.6\overline{6}", r"0.\dot{6}", "0.(3)", "0.3\u0305", r"7 \over 5", "(1/2)^2", "(-2)^2",
        r"\left(2/3\right)^{3}", r"{7 \over 5}",
        "(3)/(4)", "3(5)", "(3)(5)", "2(x+1)", "2a+3", "5a", "7! / 2", "$7!$", r"5 \cdot \sqrt{2}", "5 squared",
        "5 factorial", "2 pi",
        "5 млн", "5 тысяч", "5 milyon", "5 juta", "5 quadrillion", "$5MM", "5 grand", "5‰", "5 hundredths", "3 fourths",
        "5' 10\"", "2 tons 300 kg", "1 gallon 2 quarts", "5 dollars 20", "5 euros and 20", "5 degrees below zero",
    ],
)  # fmt: skip
def test_what_is_no_number_of_the_table_is_unparsed_and_never_a_piece_of_it(text: str) -> None:
    assert read(text, NUMBER) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("She has 12 apples.\n#### I don't know", None),
        ("3 + 4 = 7, of which\n#### 5/6", "5/6"),
        ("The answer is 3 x 4 = 12.", 12),
        ("The answer is 10 - 5.", None),
        ("x = 3 or x = 5", None),
        ("So $x = 3$ or $x = 5$", None),
        ("If x = 3 or x = 5, the sum is 8", 8),
        ("The answer is 5 or 6.", None),
        ("The answer is between 5 and 6.", None),
        ("It rose from 20 to 25", 25),
        ("In 2 weeks 14 apples", 14),
        ("I have $5 and 20 apples", 20),
        ("at least 5 or so", 5),
        ("The answer is 3 + 4 + 5 = 12 apples, not 13", 12),
        ("The answer is unclear. Maybe 5.", None),
        ("The answer is 7, not 8.", 7),
        (r"so \boxed{\frac{1}{2}} and 3", "1/2"),
        ("<answer>5</answer> from 3 and 2", 5),
        ("#### Step 2: the total\n5 * 3 = 15", 15),  # a heading marks nothing
        ("If the answer is 5, then x = 3", 3),
        ("答案是5，不是6。", 5),
        ("The answer is - 5", -5),
        ("#### - 5", -5),
        ("<answer>- 5</answer>", -5),
        ("Answer:\n- 5", None),  # a bullet or a sign
        ("The answer is 1, 2, and 3.", None),
        ("Answer: 3 and 5", None),
        ("#### 3 apples and 5 pears", None),
        ("The answer is (3, 5)", None),
        ("<answer>x = 3, y = 5</answer>", None),
        ("The answer is 3 < x < 5", None),
        ("Answer: 10% of 50 = 5", None),
        ("The answer is 3, since 1 + 2 = 3", 3),
        ("The answer is 3, 1 + 2 = 3.", 3),
        ("The answer is 8 puppies, 3 of which are black.", 8),
        ("The answer is 18 dollars, and he has 3 left.", 18),
        ("The answer is 12, 12 apples", 12),
        ("The answer is 1,234.", 1234),
        ("The answer is 42!", 42),
        ("She has 12 apples, 3 of them red", 3),
        ("It is 40 cm and 50 cm", 50),
        ("5 grand pianos", 5),
        ("5 billiard balls", 5),
    ],
)
def test_what_is_marked_is_the_number_also_where_it_cannot_be_read(text: str, value: int | str | None) -> None:
    assert read(text, NUMBER) == (None if value is None else Fraction(value))


@pytest.mark.parametrize(
    ("box", "value"),
    [
        ("5", 5), ("- 5", -5), (r"-\,5", -5), ("+5", 5), (r"5\text{ cm}", 5), (r"5\ \mathrm{m/s}", 5),
        (r"5\text{ m}^{2}", 5),
        ("5km", 5), ("5 apples", 5), (r"\text{Ann makes \$18 a day}", 18), (r"\$1{,}234.50", "1234.5"), (r"12\%", 12),
        (r"90^\circ", 90), (r"90^{\circ}\text{C}", 90), ("x = 5", 5), ("x_1 = 5", 5), (r"P(A) = \frac{1}{2}", "1/2"),
        (r"\frac{1}{2} = 0.5", "1/2"), (r"x \approx 5.2", "5.2"), (r"x = 3 \times 4 = 12", 12), (r"\left(5\right)", 5),
        (r"\textbf{(C)}\ 12", 12), (r"\mathbf{12}", 12), (r"-2\frac{1}{2}\text{ cups}", "-5/2"), ("5 (five)", 5),
    ],
)  # fmt: skip
def test_a_box_holds_one_number_beside_its_unit_words_and_a_left_side(box: str, value: int | str) -> None:
    assert read(rf"It was 7, so \boxed{{{box}}} and not 3", NUMBER) == Fraction(value)


@pytest.mark.parametrize(
    "box",
    [
        "1, 2, 3", r"3 \text{ or } 5", "[3, 5]", r"\{3, 5\}", "x = 3, y = 5", "3 < x < 5", "x > 3", "5, 5",
        r"\begin{pmatrix}1\\2\end{pmatrix}", r"0.\overline{6}", r"0.6\overline{6}", r"0.\dot{6}", r"7 \over 5",
        r"\left(\frac{2}{3}\right)^{3}", "7!", "2^{100}-1", "2a+3", "5a", "5ab", "5 x", "2(x+1)", "3(5)",
        r"\sqrt[3]{5}",
        r"\log_2 8", r"\sin 30", r"5 \cdot \sqrt{2}", "x - 3", "5 - x", "x + y = 5", "x^2 = 4", "2x = 10", "f(2) = 5",
        "-(5)", "|-5|", "7:5", r"3 \mod 7", r"\text{minus } 5", r"\text{not } 5", "10/3 = 3.33",
    ],
)  # fmt: skip
def test_a_box_that_holds_more_than_one_number_is_unparsed(box: str) -> None:
    assert read(rf"It was 7, so \boxed{{{box}}} and not 3", NUMBER) is None


@pytest.mark.parametrize(
    ("answer", "text", "label"),
    [
        (TEN, "I don't know", None),
        (TEN, "I cannot determine the answer.", None),
        (TEN, "I'm not sure", None),
        (TEN, "I would go with B", "B"),
        (TEN, "I", "I"),
        (TEN, "The answer is I.", "I"),
        (TEN, "(I)", "I"),
        (FOUR, "answer: b", "B"),
        (FOUR, "The answer is b.", "B"),
        (FOUR, '{"answer": "b"}', "B"),
        (FOUR, "b. 4 apples", "B"),
        (FOUR, "the correct choice is d", "D"),
        (FOUR, "The answer is (B). Option A is wrong.", "B"),
        (FOUR, "The answer is (B), because A is wrong.", "B"),
        (FOUR, "The answer is A or B.", None),
        (FOUR, "The answer is not B.", None),
        (FOUR, "The answer is unclear. It may be B.", None),
        (FOUR, "B. Option A is wrong.", None),
        (FOUR, "The answer is a dog", None),
        (FOUR, "Ｂ", "B"),
        (FOUR, "答案：Ｃ", "C"),
        (FOUR, "I do not think A. The answer: \\boxed{D}", "D"),
        (TOXIC, "non\N{EN DASH}toxic", "non-toxic"),
        (TOXIC, "This is non\N{NON-BREAKING HYPHEN}toxic.", "non-toxic"),
        (spec("label", labels=["toxic", "safe"]), "non\N{EN DASH}toxic", None),
        (spec("label", labels=["café", "bar"]), "CAFE\u0301", "café"),
        (spec("label", labels=["snake_case", "camel"]), r"snake\_case", "snake_case"),
        (CHINESE, "这条评论是负面的。", "负面"),
        (CHINESE, "情感：**正面**", "正面"),
        (CHINESE, "不是正面", None),
        (KOREAN, "긍정입니다", "긍정"),
        (KOREAN, "답은 부정이다", "부정"),
        (KOREAN, "부정확", None),
        (KOREAN, "긍정이 아니다", None),
        (spec("label", labels=["yes", "no"]), "yes<|im_end|>\n<|im_start|>user\nno", "yes"),
    ],
)
def test_labels(answer: Any, text: str, label: str | None) -> None:
    assert read(text, answer) == label


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("food, drink; sport", ("food, drink", "sport")),
        ("arts and crafts and music", ("arts and crafts", "music")),
        ("R&B; soul, sport", ("R&B; soul", "sport")),
        ("Topics: sport and music. Both are named.", ("music", "sport")),
        ("It fits these:\n- sport\n- food, drink", ("food, drink", "sport")),
        ("sport, politics", None),
        ("food", None),
    ],
)
def test_a_set_is_a_list_of_nothing_but_labels(text: str, labels: tuple[str, ...] | None) -> None:
    assert read(text, TOPICS) == labels


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("[THINK]no[/THINK]yes", "yes"),
        ("<reasoning>no</reasoning>yes", "yes"),
        ("<thought>no</thought>yes", "yes"),
        ("<|begin_of_thought|>no<|end_of_thought|><|begin_of_solution|>yes<|end_of_solution|>", "yes"),
        ("◁think▷no◁/think▷yes", "yes"),
        ("<|channel>thought\nno\n<channel|>yes", "yes"),
        ("<unused94>thought\nno<unused95>yes", "yes"),
        ("<|thinking|>no<|/thinking|>yes", "yes"),
        ("<longcat_think>no</longcat_think>yes", "yes"),
        ("no<｜end▁of▁thinking｜>yes", "yes"),
        ("<|channel>thought\ncut off, no", ""),
        ("<|channel|>analysis<|message|>no<|end|><|start|>assistant<|channel|>final<|message|>yes<|return|>", "yes"),
        ("analysisCould be no.assistantfinalyes", "yes"),
        ("<|channel|>analysis<|message|>cut off, no", ""),
        ("analysisWe were cut off, no", ""),
        ("yes</s>", "yes"),
        ("<|im_start|>assistant\nyes<|im_end|>\n", "\nyes"),
    ],
)
def test_thinking_and_template_tokens_are_no_part_of_the_text(completion: str, text: str) -> None:
    assert text_of(completion) == text


@pytest.mark.parametrize(
    "end",
    [
        "<eos>", "</s><s>", "</s>\n<s>", "<|EOT|>", "<｜User｜>", "<|user|>\n", "<end_of_turn>", "<|eot_id|>",
        "<|im_start|>user\n", "<start_of_turn>user\n", "<｜end▁of▁sentence｜>",
    ],
)  # fmt: skip
def test_what_follows_the_end_of_a_turn_is_no_part_of_the_answer(end: str) -> None:
    assert read(f"yes{end}no", spec("label", labels=["yes", "no"])) == "yes"
    assert read(f"5{end}6", NUMBER) == 5


def test_a_word_that_is_struck_out_is_no_answer() -> None:
    assert read("<s>no</s> yes", spec("label", labels=["yes", "no"])) is None


def test_a_models_own_thinking_markers_are_known_by_its_entry() -> None:
    completion = "{{no}}yes"
    assert text_of(completion) == completion
    assert text_of(completion, Thinking(open="{{", close="}}")) == "yes"
    assert text_of("no, then}}yes", Thinking(close="}}")) == "yes"


def test_a_text_behind_a_marker_ends_without_the_full_stop_of_its_sentence() -> None:
    answer = spec("text", after="answer is")
    assert read("The answer is Paris.", answer) == read_gold("Paris", answer) == "Paris"
    assert read("The answer is the U.S.", answer) == "the U.S."
    assert read("The answer is 3.5.", answer) == read_gold("3.5", answer) == "3.5"
    assert read("It is Paris.", spec("text")) == "It is Paris."


def test_a_pattern_finds_what_it_is_written_for_in_either_form() -> None:
    assert read("答案：５", spec("regex", pattern=r"答案：(\d)")) == "5"
    assert read("−5", spec("regex", pattern=r"-?\d+")) == "-5"


@pytest.mark.parametrize(
    ("answer", "gold", "message"),
    [
        (NUMBER, "12 apples", "expected one number and nothing else"),
        (NUMBER, "2024-01-15", "expected one number"),
        (NUMBER, "7!", "expected one number"),
        (NUMBER, "5 -", "expected one number"),
        (NUMBER, "> 5", "expected one number"),
        (NUMBER, "(1/2)^2", "expected one number"),
        (spec("number", maximum=5), "7", "outside the scale"),
        (FOUR, "B because", "not one of the labels"),
        (TOPICS, "sport; sprot", r"'sprot' is not one of the labels \(did you mean 'sport'\?\)"),
        (spec("text"), " ", "empty"),
        (spec("text", first_line=True), "one\ntwo", "only the first is read"),
        (spec("regex", pattern="the answer is (.*)"), "Paris", "finds nothing"),
        (spec("label_and_explanation", labels=["World", "Sports"]), "Sport\nExplanation: x", "did you mean 'Sports'"),
        (spec("json"), "{", "not a JSON value"),
    ],
)
def test_a_right_answer_is_read_strictly(answer: Any, gold: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_gold(gold, answer)


def test_right_answers_may_have_a_marker_and_an_exponent() -> None:
    assert read_gold("2 + 2\n#### 4", spec("number", after="####")) == 4
    assert read_gold("1e-05", NUMBER) == Fraction(1, 100_000)


@pytest.mark.parametrize("gold", ["- 5", "−\u202f5", "#### - 5", "- $5", r"\boxed{-\,5}", "(- 5)"])
def test_a_minus_with_a_space_is_the_sign_of_a_right_answer(gold: str) -> None:
    assert read_gold(gold, NUMBER) == -5
    assert (
        read_gold("x #### - 5", spec("number", after="####")) == read("x #### - 5", spec("number", after="####")) == -5
    )


WORDS_AROUND = [
    "I", "think", "the", "result", "of", "course", "so", "a", "x", "v", "e", "st", "May", "about", "and", "or", "not",
    "is", "total", "kg", "apples",
]  # fmt: skip
PROSE = st.lists(st.sampled_from(WORDS_AROUND), max_size=5).map(" ".join)
OPENINGS = [
    "",
    " ",
    "(",
    '"',
    "**",
    "$",
    "= ",
    ": ",
    "~",
    "\n",
    "\\(",
    "€ ",
    "<b>",
    "'",
    "`",
    "[",
    "| ",
    "- ",
    "#",
    "≈",
    "_",
    "{",
]
CLOSINGS = [
    "", " ", ")", '"', "**", "%", ".", ", ", ": ", "!", "?", "\n", "\\)", " €", "</b>", "...", "'", "`", "]", " |",
    "kg", " km", "°", "th", "-day", "/day", ";", "_", "}",
]  # fmt: skip
OPENING, CLOSING = st.sampled_from(OPENINGS), st.sampled_from(CLOSINGS)
FORMS = st.sampled_from(["{}", "{:,}", "{:.2f}", "{:,.3f}", "{:e}", "{:.1E}", "{:_}"])


@given(PROSE, OPENING, st.integers(-(10**9), 10**9), FORMS, CLOSING, PROSE)
def test_a_number_in_chatter_is_itself_or_unparsed(
    before: str, opening: str, value: int, form: str, closing: str, after: str
) -> None:
    written = form.format(value)
    found = read(f"{before}{opening}{written}{closing} {after}", NUMBER)
    assert found in (Fraction(written.replace(",", "")), None)


@given(PROSE, st.integers(0, 10**6), PROSE, st.sampled_from(["{}", "{:,}", "{:.2f}"]))
def test_of_two_numbers_in_chatter_the_last_one_is_read(before: str, value: int, after: str, form: str) -> None:
    assert read(f"{before} 17, then {form.format(value)}. {after}", NUMBER) in (
        Fraction(form.format(value).replace(",", "")),
        None,
    )


WORDS = st.lists(st.sampled_from(["it", "seems", "to", "me", "that", "this", "is", "fine", "(", ")", "."]), max_size=5)


@given(WORDS, WORDS, st.sampled_from(["B", "C", "D"]))
def test_a_label_in_chatter_is_itself_or_unparsed(before: list[str], after: list[str], label: str) -> None:
    assert read(" ".join([*before, label, *after]), FOUR) in (label, None)


@given(st.text(st.characters(max_codepoint=127, exclude_characters="\\<")))
def test_folding_leaves_plain_ascii_text_as_it_is(text: str) -> None:
    assert fold(text) == text
    assert unwrapped(text) == text or "[" in text  # [INST] and the like


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    once = fold(text.replace("\\", ""))
    assert fold(once.replace("\\", "")) == once.replace("\\", "") or not once.isascii()


TYPOGRAPHY = {"-": "\N{NON-BREAKING HYPHEN}", "'": "\N{RIGHT SINGLE QUOTATION MARK}", " ": "\N{NO-BREAK SPACE}"}


@given(st.integers(-(10**9), 10**9), st.sampled_from(["{}", "{:,}", "The answer is {}.", "**{}**"]))
def test_typography_does_not_change_a_number(value: int, form: str) -> None:
    plain = form.format(value)
    dressed = plain.translate(str.maketrans(TYPOGRAPHY))
    wide = "".join(chr(ord(char) + 0xFEE0) if char.isdigit() else char for char in plain)
    assert read(plain, NUMBER) == read(dressed, NUMBER) == read(wide, NUMBER) == value
