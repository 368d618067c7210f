"""The 25 checks of IFEval: whether a text follows an instruction that a program can verify.

Each check takes the text and, by name, the arguments of the instruction, spelt as in google/IFEval; their types are
what `harness.score.answers.instructions` accepts of a row. They decide as the authors' program does, its leniency
included, so that scores can be compared with published ones (J. Zhou et al., Instruction-Following Evaluation for Large
Language Models, 2023). What differs:

- Sentences are found by NLTK's Punkt without the English model that the authors use, which would be a download: the
  abbreviations it knows are those below. "The U.S. Army" is two sentences here. On 1,097 English texts of several data
  sets, 5 % have another number of sentences, and 0.4 % of the decisions on google/IFEval's 52 instructions differ.
- Keywords are plain texts, where the authors read them as regular expressions. No keyword of google/IFEval differs.
- `letter_frequency` counts the character that is given. The authors count a letter drawn at random where it is none,
  which is the case for two rows of google/IFEval.
- A line that holds nothing but `*` is no bullet point; there it is one unless it is the last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from harness.errors import UserError

if TYPE_CHECKING:
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktSentenceTokenizer

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1)]
Letter = Annotated[str, Field(min_length=1, max_length=1)]
Count = Annotated[int, Field(ge=1)]
Relation = Literal["at least", "less than"]
Language = Literal[  # those that langdetect knows
    "af", "ar", "bg", "bn", "ca", "cs", "cy", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "gu", "he", "hi",
    "hr", "hu", "id", "it", "ja", "kn", "ko", "lt", "lv", "mk", "ml", "mr", "ne", "nl", "no", "pa", "pl", "pt", "ro",
    "ru", "sk", "sl", "so", "sq", "sv", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "vi", "zh-cn", "zh-tw",
]  # fmt: skip
_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_POSTSCRIPTS = {"P.S.": re.compile(r"p\.\s?s\."), "P.P.S": re.compile(r"p\.\s?p\.\s?s")}
_FENCE = re.compile(r"```(?:json|JSON|Json)?")
_PLACEHOLDER = re.compile(r"\[[^\[\]\n]*\]")
_HIGHLIGHTS = (re.compile(r"\*([^*\n]*)\*"), re.compile(r"\*\*([^*\n]*)\*\*"))
# Abbreviations that stand in front of something and end no sentence.
_ABBREVIATIONS = frozenset({"mr", "mrs", "ms", "dr", "prof", "st", "vs", "e.g", "i.e"})


def _compares(count: int, relation: Relation, threshold: int) -> bool:
    return count < threshold if relation == "less than" else count >= threshold


def _occurs(text: str, phrase: str) -> int:
    """How often a phrase is in a text, in any case, also within words."""
    return len(re.findall(re.escape(phrase), text, re.IGNORECASE))


def existence(text: str, *, keywords: Texts) -> bool:
    """Every keyword is in the text, in any case, also within words."""
    return all(_occurs(text, keyword) for keyword in keywords)


def frequency(text: str, *, keyword: Text, frequency: Count, relation: Relation) -> bool:
    """The keyword is in the text at least, or less than, so many times, in any case, also within words."""
    return _compares(_occurs(text, keyword), relation, frequency)


def forbidden_words(text: str, *, forbidden_words: Texts) -> bool:
    """None of the words is in the text, in any case; as a part of another word it may be."""
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(text: str, *, letter: Letter, let_frequency: Count, let_relation: Relation) -> bool:
    """The letter is in the text at least, or less than, so many times, in any case."""
    return _compares(text.lower().count(letter.lower()), let_relation, let_frequency)


def response_language(text: str, *, language: Language) -> bool:
    """The text is in this language (ISO 639-1); a text without any letters counts as such, as with the authors."""
    return _language(text) in (language, None)


def number_sentences(text: str, *, num_sentences: Count, relation: Relation) -> bool:
    """The text has at least, or less than, so many sentences."""
    return _compares(len(_sentences().tokenize(text)), relation, num_sentences)


def number_paragraphs(text: str, *, num_paragraphs: Count) -> bool:
    """The text has exactly so many paragraphs with `***` between them, none of them empty."""
    parts = [part.strip() for part in text.split("***")]
    return all(parts[1:-1]) and sum(map(bool, parts)) == num_paragraphs


def number_words(text: str, *, num_words: Count, relation: Relation) -> bool:
    """The text has at least, or less than, so many words: runs of letters, digits and underscores."""
    return _compares(sum(1 for _ in re.finditer(r"\w+", text)), relation, num_words)


def nth_paragraph_first_word(text: str, *, num_paragraphs: Count, nth_paragraph: Count, first_word: Text) -> bool:
    """The text has so many paragraphs with a blank line between them, and the nth begins with this word, in any case.

    Paragraphs without text are not counted, but are places: the nth may not be one of them.
    """
    paragraphs = [part.strip() for part in text.split("\n\n")]
    if sum(map(bool, paragraphs)) != num_paragraphs or nth_paragraph > num_paragraphs:
        return False
    words = paragraphs[nth_paragraph - 1].split(maxsplit=1)
    word = words[0].lstrip("'").lstrip('"') if words else ""
    return bool(words) and re.split("[.,?!'\"]", word, maxsplit=1)[0].lower() == first_word.lower()


def number_placeholders(text: str, *, num_placeholders: Count) -> bool:
    """The text has at least so many placeholders in square brackets."""
    return len(_PLACEHOLDER.findall(text)) >= num_placeholders


def postscript(text: str, *, postscript_marker: Text) -> bool:
    """The text has a postscript: its marker stands somewhere, in any case, with or without spaces in "P.P.S"."""
    known = _POSTSCRIPTS.get(postscript_marker.strip())
    lower = text.lower()
    return known.search(lower) is not None if known else postscript_marker.strip().lower() in lower


def number_bullet_lists(text: str, *, num_bullets: Count) -> bool:
    """The text has exactly so many lines that begin with `-`, or with one `*` and something behind it."""
    lines = [line.lstrip() for line in text.split("\n")]
    return sum(line[:1] == "-" or (line[:1] == "*" and line[1:2] not in ("", "*")) for line in lines) == num_bullets


def constrained_response(text: str) -> bool:
    """The text has one of the three answers "My answer is yes.", "… no." and "… maybe."."""
    return any(option in text for option in _OPTIONS)


def number_highlighted_sections(text: str, *, num_highlights: Count) -> bool:
    """The text has at least so many passages within a line in `*` or `**`."""
    return sum(bool(inner.strip()) for one in _HIGHLIGHTS for inner in one.findall(text)) >= num_highlights


def multiple_sections(text: str, *, section_spliter: Text, num_sections: Count) -> bool:
    """The text has at least so many section heads: this word, as it is written here, and a number."""
    return len(re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", text)) >= num_sections


def json_format(text: str) -> bool:
    """The text is JSON, alone or in one fence."""
    bare = text.strip()
    if fence := _FENCE.match(bare):
        bare = bare[fence.end() :]
    try:
        json.loads(bare.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(text: str) -> bool:
    """A line of the text has a title in double angular brackets."""
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end and line[start:end].lstrip("<").rstrip(">").strip():
            return True
    return False


def two_responses(text: str) -> bool:
    """The text has two different responses with `******` between them."""
    parts = [part.strip() for part in text.split("******")]
    found = [part for part in parts if part]
    return all(parts[1:-1]) and len(found) == 2 and found[0] != found[1]


def repeat_prompt(text: str, *, prompt_to_repeat: Text) -> bool:
    """The text begins with the request, in any case."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def end_checker(text: str, *, end_phrase: Text) -> bool:
    """The text ends with this phrase, in any case; quotation marks around the text do not count."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def capital_word_frequency(text: str, *, capital_frequency: Count, capital_relation: Relation) -> bool:
    """At least, or less than, so many words of the text are in capital letters; "WELL-KNOWN" is one word."""
    return _compares(sum(word.isupper() for word in _words().tokenize(text)), capital_relation, capital_frequency)


def english_capital(text: str) -> bool:
    """The text is English and has no small letter."""
    return text.isupper() and response_language(text, language="en")


def english_lowercase(text: str) -> bool:
    """The text is English and has no capital letter."""
    return text.islower() and response_language(text, language="en")


def no_comma(text: str) -> bool:
    """The text has no comma."""
    return "," not in text


def quotation(text: str) -> bool:
    """The text stands in double quotation marks (`"`)."""
    bare = text.strip()
    return len(bare) > 1 and bare[0] == bare[-1] == '"'


@lru_cache(maxsize=4096)
def _language(text: str) -> str | None:
    """The language of a text, None for one without any letters; the same in every process.

    Raises:
        UserError: langdetect is not installed.
    """
    try:
        from langdetect import DetectorFactory, LangDetectException, detect
    except ImportError:
        raise UserError("languages are checked with langdetect: pip install langdetect (the extra `ifeval`)") from None
    DetectorFactory.seed = 0
    try:
        return str(detect(text))
    except LangDetectException:
        return None


@lru_cache(maxsize=1)
def _sentences() -> PunktSentenceTokenizer:
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    parameters = PunktParameters()
    parameters.abbrev_types.update(_ABBREVIATIONS)
    return PunktSentenceTokenizer(parameters)


@lru_cache(maxsize=1)
def _words() -> NLTKWordTokenizer:
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()


_GROUPS: Mapping[str, Sequence[Callable[..., bool]]] = {
    "change_case": [capital_word_frequency, english_capital, english_lowercase],
    "combination": [repeat_prompt, two_responses],
    "detectable_content": [number_placeholders, postscript],
    "detectable_format": [
        constrained_response, json_format, multiple_sections, number_bullet_lists, number_highlighted_sections, title,
    ],
    "keywords": [existence, forbidden_words, frequency, letter_frequency],
    "language": [response_language],
    "length_constraints": [nth_paragraph_first_word, number_paragraphs, number_sentences, number_words],
    "punctuation": [no_comma],
    "startend": [end_checker, quotation],
}  # fmt: skip
CHECKS = {f"{group}:{check.__name__}": check for group, checks in _GROUPS.items() for check in checks}
"""The checks by the names of instructions, spelt as in google/IFEval."""
