"""Fractions out of a text, as exact values.

A number is read whole or not at all. Wherever digits stand, everything that belongs to them is taken together and
then either has a value by the table in docs/task-files.md or is unreadable; no part of it is ever a number by itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

from harness.folding import fold
from harness.score.answers.markers import marked, sentence
from harness.score.answers.text import MOST_CANDIDATES, after_marker
from harness.tasks.task import NumberAnswer

LONGEST = 4_000
"""More digits than this are no number."""
_LARGEST_EXPONENT = 308

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|(?-i:Mar(?:ch)?)|apr(?:il)?|(?-i:May)|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_MONEY = r"(?:(?:US|A|C|HK)?\$|[€£¥₹₩₽]|(?:USD|EUR|GBP|Rs\.?))"
# Of an amount in two units: five feet ten, two hours and thirty minutes.
_LARGER_UNIT = r"(?:feet|foot|ft|hours?|hrs?|h|minutes?|mins?|pounds?|lbs?|years?|yrs?)\b[.,]?"
# Letters of scripts that put spaces between words; a number may follow the others directly.
_LETTER = r"[^\W\d_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff]"

_RUN = re.compile(r"(?:[0-9]|\.[0-9])(?:[0-9]|[.,'_:/-](?=[0-9])| (?=[0-9]{3}(?![0-9])))*+")
_FORMS = re.compile(
    r"(?P<plain>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"|(?P<comma>[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]+)?)"
    r"|(?P<mark>[0-9]{1,3}(?:'[0-9]{3})+(?:\.[0-9]+)?|[0-9]{1,3}(?:_[0-9]{3})+(?:\.[0-9]+)?)"
    r"|(?P<space>[0-9]{1,3}(?: [0-9]{3})+(?:[.,][0-9]+)?)"
    r"|(?P<point>[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+|[0-9]{1,3}(?:\.[0-9]{3}){2,})"
    r"|(?P<decimal>[0-9]+,[0-9]+)"
    r"|(?P<ratio>[0-9]+(?:\.[0-9]+)?/[0-9]+(?:\.[0-9]+)?)"
)

# What may follow the digits. Each is tried once, where they end.
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]{1,4})(?![0-9A-Za-z]|\.[0-9])")
_POWER = re.compile(
    r"\s?(?:\^|\*\*)\s?(?:\{\s?([+-]?[0-9]{1,4})\s?\}|\(([+-]?[0-9]{1,4})\)|([+-]?[0-9]{1,4}))(?![0-9]|[.,/][0-9])"
)
_TIMES_TEN = re.compile(r"\s?(?:[×xX*·⋅]|\\times|\\cdot)\s?10(?=\s?(?:\^|\*\*)|[⁺⁻]?[⁰¹²³⁴-⁹])")
_OVER = re.compile(r"\s{0,2}/\s{0,2}([0-9]+(?:\.[0-9]+)?)(?!\s{0,2}/|[0-9.,]*[0-9])")
_AND_A_PART = re.compile(r"\s([0-9]{1,4})/([0-9]{1,4})(?![0-9/.,])")
_PERCENT = re.compile(r"\s?(?:%|percent\b)")
_MAGNITUDE = re.compile(
    r"[ -]?(?:(?P<word>hundred|thousand|million|billion|trillion|lakh|crore|dozen)s?(?![A-Za-z])"
    r"|(?P<foreign>tausend|mille|mil|millionen|mio|millones|millón|milhões|milhão|milioni|milione|milliarden|milliards?"
    r"|mrd|miliardi|billionen|billones|trillionen)(?!\w)|(?P<short>mn|mln|bn|tn)(?!\w)"
    r"|(?P<native>千(?![克米瓦卡])|[百万萬亿億兆백천만억조]))|(?-i:(?P<letter>[kKMB]))(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_MONEY_MAGNITUDE = re.compile(r" ?(?P<letter>[kKmMbBtT])(?![A-Za-z0-9])")
_MAGNITUDES = {
    "hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12, "lakh": 5, "crore": 7,
    "tausend": 3, "mille": 3, "mil": 3, "millionen": 6, "mio": 6, "millones": 6, "millón": 6, "milhões": 6,
    "milhão": 6, "milioni": 6, "milione": 6, "milliarden": 9, "milliard": 9, "milliards": 9, "mrd": 9, "miliardi": 9,
    "billionen": 12, "billones": 12, "trillionen": 18,
    "mn": 6, "mln": 6, "bn": 9, "tn": 12, "k": 3, "m": 6, "b": 9, "t": 12, "百": 2, "백": 2, "千": 3, "천": 3,
    "万": 4, "萬": 4, "만": 4, "亿": 8, "億": 8, "억": 8, "兆": 12, "조": 12,
}  # fmt: skip
# Words that multiply and have no value by the table.
_OTHER_MAGNITUDE = (
    r"(?:\w{1,9}illi(?:ons?|ó|árd|arden?)|mil[iy]on\w*|mil[iy]a\w*|bilyon|milj\w+|mila|milioane|juta|ribu|bin|tusen|tusind"
    r"|duizend|tisíc\w*|tys|tysi\w+|mld|тыс|тысяч\w?|млн|млрд|миллион\w*|миллиард\w*|тис|мільйон\w*|мільярд\w*"
    r"|χιλιάδες|εκατομμύρια|nghìn|ngàn|triệu|tỷ|ألف|مليون|مليار|हज़ार|हजार|लाख|करोड़|(?-i:MM)|grand(?!\s\w{5}))(?!\w)|พัน|หมื่น|แสน|ล้าน"
)
_LETTER_BEHIND_SPACE = re.compile(r" [kKMB](?![A-Za-z0-9])|b(?![A-Za-z])")
# With one of these behind it, what was read is a piece: of a hexadecimal number, a term, a time, a date, a tolerance,
# a repeating decimal, a fraction in words.
_GOES_ON = re.compile(
    r"[xbo][0-9a-f]|[a-z]+[0-9]|e[+-]?[0-9]|(?:[xyzni]|(?-i:a))(?![a-z])|[a-z]\s?\+\s?[0-9]"
    r"|\s?(?:[π√±]|\+/-)|[.,]{2,}[0-9]|\s?\^(?!\{?\\?(?:circ|°))|\s?(?:[ap]\.?m\b|o'clock|uhr\b)|\s?/\s?[0-9]|[⁰¹²³⁴-⁹‰‱\u0300-\u036f]"
    r"|[.\s]?\\(?:(?:pi|sqrt|pm|[dtc]?frac|over(?:line)?|bar|d?dot|binom|sin|cos|tan|log|ln|[bp]?mod)(?![a-z])\s?\{?"
    r"|(?:times|cdot|div)\s?\\?[a-z(])|\.?\([+-]?(?:[0-9]|[a-z]\s?[-)+*/^])"
    r"|\s?(?:\\right\s?)?\)(?:\s?(?:\^|\*\*|/\s?\(?[0-9])|[⁰¹²³⁴-⁹]|\([+-]?)|!(?:\s?[-+*/×·^]\s?[0-9(\\]|\s?=|\$)"
    rf"|[\s-]?{_OTHER_MAGNITUDE}|'\s?[0-9]"
    r"|\s(?:squared|cubed|factorial|pi|per\smil(?:le)?|plus\sor\sminus|to\sthe\spower)\b"
    r"|[\s-](?:third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|hundredth|thousandth|millionth|billionth)(?:s\b|\sof\b)"
    r"|(?:\s?°\s?[cf]?|\s\w{1,12}){0,2}\sbelow\szero\b"
    rf"|(?:st|nd|rd|th)?[\s-](?:of\s)?{_MONTH}\b|\s?{_LARGER_UNIT}\s(?:and\s)?[0-9]"
    r"|\sand\s(?:a\s)?(?:half|third|quarter)\b",
    re.IGNORECASE,
)
_TOLERANCE = re.compile(r"\s?(?:±|\\pm|\+/-)|\splus\sor\sminus\b", re.IGNORECASE)
# Between two numbers that make one expression; only on one line, where what follows is no item of a list.
_OPERATOR = re.compile(
    r"(?:[ \t]{0,2}(?:[+*×·⋅÷]|\\(?:times|cdot|div)\b)[ \t]{0,2}|[ \t]{1,2}[-xX][ \t]{1,2}"
    r"|[ \t]{1,2}(?:plus|minus|times|or|to|mod|(?:multiplied|divided)[ \t]by)[ \t]{1,2}"
    r"|[ \t$]{1,3}or[ \t$]{1,3}[^\W\d_]{1,3}[ \t]{0,2}=[ \t]{0,2})"  # x = 3 or x = 5
    rf"[({{]?[+-]?{_MONEY}?\.?[0-9]",
    re.IGNORECASE,
)
_RESULT = re.compile(r"[)}\]]{0,2}[ \t]{0,2}=[ \t]{0,2}[({$€£¥+-]{0,2}[0-9]")
_MORE = re.compile(r"\s?(?:and\s)?[0-9]")
_FROM = re.compile(r"\bfrom\s$", re.IGNORECASE)
_MEASURE = (
    r"(?:months?|weeks?|days?|hours?|hrs?|h|min(?:ute)?s?|sec(?:ond)?s?|s|tons?|tonnes?|kgs?|kilograms?|grams?|g|lbs?|pounds?"
    r"|ounces?|oz|gallons?|quarts?|pints?|cups?|tablespoons?|teaspoons?|lit(?:er|re)s?|ml|(?:kilo|centi|milli)?met(?:er|re)s?"
    r"|kms?|cm|mm|m|miles?|yards?|yds?|feet|foot|ft|inch(?:es)?)\b"
)
# The rest of an amount: and 1/2, 5 dollars and 20 cents, 5 dollars 20, 2 days 3 hours, 1 kg 500 g.
_AND_A_REST = re.compile(
    r"\sand\s[0-9]{1,4}/[0-9]"
    r"|(?:\s(?:dollars?|euros?|pounds?|bucks?|rupees?|francs?),?(?:\sand)?|\sand)\s[0-9]{1,2}\s?(?:cents?\b|pence\b|¢)"
    r"|\s(?:dollars?|euros?|bucks?|rupees?|francs?)(?:\sand)?\s[0-9]{1,2}(?![0-9]|[.,][0-9]|[\s%-]{0,2}[^\W\d_]|\s?%)"
    rf"|\s?(?P<unit>{_MEASURE}),?(?:\sand)?\s[0-9]{{1,4}}(?:\.[0-9]{{1,4}})?\s?(?!(?P=unit)){_MEASURE}",
    re.IGNORECASE,
)
_SUPERSCRIPT = re.compile(r"[⁺⁻]?[⁰¹²³⁴-⁹]{1,4}")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")

# What may stand in front of them.
_NAME = re.compile(rf"(?:{_LETTER}[_+-]?|\^\s?[{{(]?\s?[+-]?|[\w)\]]\s?\*\*\s?[({{]?[+-]?)$")
_MONEY_END = re.compile(rf"(?:^|[^A-Za-z]){_MONEY}\s?$")
_ARGUMENT = re.compile(
    r"(?:\\(?!boxed|fbox|text|math|d?frac)[A-Za-z]+|[}\]_])\{[+-]?$|\\[dt]?frac\{[+-]?$|√$|\\sqrt\s?$"
)
_BELONGS_BEFORE = re.compile(
    rf"(?:±|\\pm|\+/-|\bplus\sor\sminus)\s?$|-(?:\\left\s?)?\([+-]?$|--$"
    rf"|(?:^|[\s(=$*])(?-i:[b-z])\s[-+*/]\s$|(?:[)\]%.}}]|\w_)-$|\bout\sof\s$|\bbetween\s(?:[^\s]{{1,12}}\sand\s)?$"
    rf"|[\w%]-{_MONEY}$|[0-9]\s?{_LARGER_UNIT}\s(?:and\s)?$|[\w)\]}}]\s?/\s?\(?$|[0-9][.,'_:/]+$|\b{_MONTH}\.?,?\s$"
    rf"|\b{_MONTH}\.?\s[0-9]{{1,2}}(?:st|nd|rd|th)?,?\s$",
    re.IGNORECASE,
)
_SIGN = re.compile(rf"(?:(?<![\w)\]%.}}])|(?<=_)(?<![^\W_]_))(?:[-—―](?:{_MONEY}\s?)?|{_MONEY}\s?[-—―])$")
_SAID_MINUS = re.compile(rf"(?<![\w])(?:minus|negative)\s{{1,2}}(?:{_MONEY}\s?)?$", re.IGNORECASE)
# A minus with a space behind it is a sign where nothing can stand that something is taken from; elsewhere it is a dash.
_SPACED_MINUS = re.compile(
    r"((?:[=:≈<({[#$]|\w>|\b(?:is|are|was|be|equals?|to|of|or|and|than|about|gives?|get|makes?)\b)[ \t]{0,3}\$?)"
    rf"-(?:[ \t~]|\\[,;:! ]){{1,3}}(?={_MONEY}?\.?[0-9])",
    re.IGNORECASE,
)
_MINUS_FIRST = re.compile(rf"\A([ \t]*+)-\s{{1,3}}(?={_MONEY}?\.?[0-9])")
_OPERAND = re.compile(r"[0-9)%]\s{0,2}$")
_UNGROUPED = re.compile(r"(?:^|[:=\n#{])[\s*_`\"'(\[$€£¥₹+-]{0,8}$")
_ZEROS = re.compile(r"[0-9] $")
_FEW_RUNS = 16
_NARROW = 5
_WIDE = 40
"""Characters on either side of the digits that are looked at."""

_JOINED = re.compile(
    r"(?<=[0-9])[\u00a0\u2007\u2009\u202f](?=[0-9]{3}(?![0-9]))|(?<=[0-9])(?:\{,\}|\\,|,\\!)(?=[0-9]{3})"
)
_VULGAR = re.compile(r" ?[¼-¾⅐-⅞]")
_CANDIDATE = re.compile(r"\d++|[¼-¾⅐-⅞]")
_FRAC = re.compile(
    r"\\[dt]?frac\s?(?:\{\s?([+-]?[0-9]{1,40})\s?\}\s?\{\s?([0-9]{1,40})\s?\}|([0-9])\s?([0-9])(?![0-9]))"
)
# What leaves a right answer more than one number when it stands around it.
_MORE_THAN_A_NUMBER = re.compile(r"[^\W_]|[-\\()\[\]{}^!+/<>~|≈≤≥≠¬×÷]")
_PAIRS, _SOFT, _DEEPEST = ("()", "[]", "{}"), " \t\n*_`\"'$", 4
# Between a marked number and the next: they are one list, a share, or both ends of an interval.
_LISTED = re.compile(
    r"(?:\sof|[\s$*_`\"')\]}]{0,6}(?:[^\W\d_]{1,15}|\\text\s?\{[^{}]{1,20}\})?[\s$*_`\"')\]}]{0,6}"
    r"(?:[,;&<>≤≥]|\\\\|\\(?:leq?|geq?|lt|gt)\b|\\text\s?\{|\b(?:and|or)\b)\s?(?:(?:and|or)\b)?)"
    r"[\s$*_`\"'(\[{}]{0,6}(?:[^\W\d]{1,12}\s?(?:=|[<≤]|\\leq?)\s?\$?)?",
    re.IGNORECASE,
)
# Behind the next number: it says something of the marked one and is no second answer: 8 puppies, 3 of which are black.
_RELATIVE = re.compile(r"\s(?:of|more|less|fewer|times)\b", re.IGNORECASE)

# What may stand in a box beside its number: how it is set, a unit, words, what the number is of.
_TYPESET = re.compile(
    r"\^\s?\{?\s?(?:\\circ|°)\s?\}?|\\(?:text(?:bf|rm|it|sf|tt|normal)?|math(?:rm|bf|it|sf|tt)|mbox|rm|bf|left|right|q?quad"
    r"|displaystyle|circ|degree)(?![A-Za-z])|\\[,;:! ]|[{}$€£¥₹%°~\"'`\s]"
)
_UNIT = (
    r"(?:[cdkmnµμ]?m|[kmµμ]?g|m?[lL]|[kM]?[WJNV]|Hz|Pa|[kMG]B|ft|in|yd|mi|mph|lbs?|oz|hr?s?|m?s|th|st|nd|rd|[CFKA])"
    r"(?![^\W\d_])"
)
_BOX_AFTER = re.compile(
    rf"(?!(?!{_UNIT})[A-Za-z]{{1,2}}(?![^\W\d_]))\s*+[/-]?\s*+"
    rf"(?:(?:[^\W\d_]{{2,}}+|{_UNIT}|a(?=\s+\w\w))(?:\s*\^\s*-?[1-4])?\s*+[/·.,-]?\s*+)*+[.,;:]?\s*+"
    r"(?:(?<=\s)\(\s*[^\W\d_]{3}[^()\d+^*=\\]*\)\s*+)?"  # (five)
)
_BOX_BEFORE = re.compile(
    r"(?:(?:[^\d_+^*,;<>=-]|_\s*\d?)*+=)?"  # a name
    r"(?:(?:[^A-Za-z\\,;<>=]|,(?=\d{3})|\\(?:times|cdot|div)\b)*+=)*+\s*+(?:\(?[A-E]\))?\s*+"  # a term, an option
    r"(?:(?!(?:(?:arc)?(?:sin|cos|tan)|log|ln|exp|sqrt|mod|gcd|lcm|not|max|min|minus|negative)\b)"
    r"(?:[^\W\d_]{2,}+|[aI]\b)\s*+[:,]?\s*+)*+"
)


@dataclass(frozen=True, slots=True)
class _Found:
    """Digits with all that belongs to them; `value` is None where they are no number by the table."""

    start: int
    end: int
    value: Fraction | None


def read_number(text: str, spec: NumberAnswer) -> Fraction | None:
    """Return the number in a text; None when there is none, or the one that counts cannot be read whole.

    It is the first one of the sentence behind the last match of `after`, else behind the text's own last marker (such
    as `####` or "the answer is"; with `pick: first` its first), else the last or first of all. A number outside
    `minimum` and `maximum` is None.
    """
    if next(islice(_CANDIDATE.finditer(text), MOST_CANDIDATES, None), None) is not None:
        return None
    behind = after_marker(_joined(text), spec.after)
    value = _chosen(_prepared(text), spec) if behind is None else _stated(sentence(_signed_first(_prepared(behind))))
    return value if value is not None and _on_scale(value, spec) else None


def _on_scale(value: Fraction, spec: NumberAnswer) -> bool:
    return (spec.minimum is None or value >= exact(spec.minimum)) and (
        spec.maximum is None or value <= exact(spec.maximum)
    )


def gold_number(reference: str, spec: NumberAnswer) -> Fraction:
    """Return the number that a right answer is, behind its marker if it has one.

    Raises:
        ValueError: more or something else stands there than one number of the table, or one off the scale.
    """
    behind = after_marker(_joined(reference), spec.after)
    text = _prepared(reference if behind is None else behind)
    if behind is None and spec.after is None and (own := marked(text)) is not None:
        text = own.text
    value = _alone(_signed_first(text.strip()))
    if value is None:
        raise ValueError("expected one number and nothing else; the forms that have a value are in docs/task-files.md")
    if not _on_scale(value, spec):
        raise ValueError(f"it is outside the scale from {spec.minimum} to {spec.maximum}")
    return value


def exact(value: float) -> Fraction:
    """Return a float of a task file as the decimal number that it was written as."""
    return Fraction(repr(value))


def _chosen(text: str, spec: NumberAnswer) -> Fraction | None:
    first = spec.pick == "first"
    if first and (alone := _alone(text.strip().split("\n", 1)[0])) is not None:
        return alone
    if (own := marked(text, first=first)) is not None:
        return _boxed(own.text) if own.boxed else _stated(own.text)
    return _first(text) if first else _last(text)


def _last(text: str) -> Fraction | None:
    """The value of the last number, read from a few numbers in front of it, for one may consist of several."""
    runs = [run.start() for run in _RUN.finditer(text)]
    for count in dict.fromkeys((min(_FEW_RUNS, len(runs)), len(runs))):
        found = list(_numbers(text, runs[-count] if count else len(text)))
        if found:
            return found[-1].value
    return None


def _first(text: str) -> Fraction | None:
    found = next(_numbers(text), None)
    return None if found is None else found.value


def _stated(text: str) -> Fraction | None:
    """The first number of what a marker marks, if it is neither a bullet's nor the first of several."""
    found = list(islice(_numbers(text), 2))
    if not found or _MINUS_FIRST.match(text):
        return None
    if len(found) == 2 and found[0].value != found[1].value and not _RELATIVE.match(text, found[1].end):
        return None if _LISTED.fullmatch(text, found[0].end, found[1].start) else found[0].value
    return found[0].value


def _alone(text: str) -> Fraction | None:
    """The number that a text is, units of money, percent and punctuation aside."""
    found = list(islice(_numbers(text), 2))
    if len(found) != 1:
        return None
    (only,) = found
    around = " ".join(_unbracketed(text[: only.start], text[only.end :]))
    return None if _MORE_THAN_A_NUMBER.search(around) else only.value


def _boxed(text: str) -> Fraction | None:
    """The number that a box of LaTeX holds beside its unit, words and a left side: `x = 5\\text{ cm}`."""
    found = list(islice(_numbers(text), 4))
    if len({one.value for one in found}) != 1:
        return None
    only = found[-1]
    before, after = _unbracketed(*(_TYPESET.sub(" ", part) for part in (text[: only.start], text[only.end :])))
    left = before.replace("\\approx", "=").replace("≈", "=")
    return only.value if _BOX_BEFORE.fullmatch(left) and _BOX_AFTER.fullmatch(after) else None


def _unbracketed(before: str, after: str) -> tuple[str, str]:
    """What stands around a number without its plus and the brackets and quotes that close around it."""
    before = before.removesuffix("+")
    for _ in range(_DEEPEST):
        opening, closing = before.rstrip(_SOFT), after.lstrip(_SOFT)
        if opening[-1:] + closing[:1] not in _PAIRS:
            break
        before, after = opening[:-1], closing[1:]
    return before, after


def _joined(text: str) -> str:
    """Digits grouped by a space that does not break, or as LaTeX does it, with a comma between the groups."""
    return _JOINED.sub(",", text)


def _prepared(text: str) -> str:
    """The folded text with every way to write a fraction as `a/b`."""
    text = fold(_joined(text)).replace("\N{FRACTION SLASH}", "/").replace("\N{DIVISION SLASH}", "/")
    if "frac" in text:
        text = _FRAC.sub(lambda match: _apart(match, f"{match[1] or match[3]}/{match[2] or match[4]}"), text)
    if not text.isascii():
        text = _VULGAR.sub(lambda match: _apart(match, unicodedata.normalize("NFKC", match[0].strip())), text)
        text = text.replace("\N{FRACTION SLASH}", "/")
    return _SPACED_MINUS.sub(r"\1-", text)


def _signed_first(text: str) -> str:
    """A text with the minus that it begins with next to its digits: no bullet behind a marker or in a right answer."""
    return _MINUS_FIRST.sub(r"\1-", text)


def _apart(match: re.Match[str], fraction: str) -> str:
    """A fraction with a space in front where a whole number stands there."""
    before = match.string[match.start() - 1 : match.start()]
    return (" " if before.isdigit() or match[0][0] == " " else "") + fraction


def _numbers(text: str, place: int = 0) -> Iterator[_Found]:
    """Everything from `place` on in a prepared text that has digits of its own; a name's (GPT-4) are left out."""
    tied, term = False, list[_Found]()
    while (run := _RUN.search(text, place)) is not None:
        begin = run.start()
        if text[begin] == "." and text[begin - 1 : begin].isalnum():
            begin += 1  # a full stop without a space behind it
        if _NAME.search(text[max(0, begin - _NARROW) : begin]) and not _MONEY_END.search(
            text[max(0, begin - _NARROW) : begin]
        ):
            place, tied = run.end(), False
            continue
        before = ("…" if begin > _WIDE else "") + text[max(0, begin - _WIDE) : begin]
        value, end, more = _value(text, begin, run.end(), before)
        zeros = text[begin] == "0" and text[begin + 1 : begin + 2].isdigit() and _ZEROS.search(before)
        if tied or zeros or _BELONGS_BEFORE.search(before) or _ARGUMENT.search(before):
            value = None
        operand = _OPERATOR.match(text, end) is not None and not _FROM.search(before)
        tied = more or operand or _TOLERANCE.match(text, end) is not None
        sign, length = _sign(before)
        known = None if value is None or more or operand else sign * value
        term.append(_Found(begin - length, end, known))
        place = max(end, run.end())
        if not operand:
            # A term whose result is stated is no number itself: 3 x 4 = 12.
            yield from [] if len(term) > 1 and _RESULT.match(text, end) else term
            term = []
    yield from term


def _value(text: str, begin: int, end: int, before: str) -> tuple[Fraction | None, int, bool]:
    """The value without its sign of the digits from `begin` to `end`, where it ends, whether more belongs to it."""
    digits = text[begin:end]
    form = _FORMS.fullmatch(digits) if len(digits) <= LONGEST else None
    if form is None or not _fits(form, before, text, end):
        return None, end, " " in digits and _MORE.match(text, end) is not None
    value = _of_form(form)
    if value is not None and form.lastgroup in ("plain", "comma"):
        value, end = _scientific(value, text, end)
    if value is None:
        return None, end, False
    if (percent := _PERCENT.match(text, end)) is not None:
        end = percent.end()
    else:
        factor, behind = _magnitude(text, end, money=_MONEY_END.search(before) is not None)
        if factor != 1 and _MORE.match(text, behind):
            return None, behind, True  # one million two hundred: the second part is no number of its own
        if factor == 1 and _LETTER_BEHIND_SPACE.match(text, end):
            return None, end, False
        value, end = value * factor, behind
    goes_on = _GOES_ON.match(text, end)
    more = _AND_A_REST.match(text, end) is not None or (goes_on is not None and _with_digits(text, goes_on.end()))
    return (None if goes_on else value), end, more


def _with_digits(text: str, end: int) -> bool:
    """Whether the digits that stand at this place, or just ended, belong to what is in front: 0.(3), (3)/(4)."""
    place = end - text[end - 1].isdigit()
    return text[place : place + 1].isdigit() and not text[place - 1].isalnum()


def _magnitude(text: str, end: int, *, money: bool) -> tuple[int, int]:
    """What the words behind a number multiply it by, "hundred thousand" by both, and where they end."""
    factor = 1
    found = (_MONEY_MAGNITUDE.match(text, end) if money else None) or _MAGNITUDE.match(text, end)
    while found is not None and factor < 10**_LARGEST_EXPONENT:
        word = str(found[str(found.lastgroup)]).lower()
        factor, end = factor * (12 if word == "dozen" else 10 ** _MAGNITUDES[word]), found.end()
        found = _MAGNITUDE.match(text, end)
    return factor, end


def _fits(form: re.Match[str], before: str, text: str, end: int) -> bool:
    """Whether the form means one number here: what also is a list or a pair does only where nothing else can be."""
    if form.lastgroup == "decimal":
        return not (before[-1:] in ("(", "[", "{") and text[end : end + 1] in (")", "]", "}"))
    if form.lastgroup == "space":
        return _UNGROUPED.search(before) is not None and not text[end + 1 : end + 2].isdigit()
    return True


def _of_form(form: re.Match[str]) -> Fraction | None:
    kind, digits = str(form.lastgroup), form[0]
    if kind == "ratio":
        above, below = (Fraction(part) for part in digits.split("/"))
        return above / below if below else None
    if kind == "decimal":
        digits = digits.replace(",", ".")
    elif kind == "point":
        digits = digits.replace(".", "").replace(",", ".")
    elif kind == "space":
        digits = digits.replace(" ", "").replace(",", ".")
    return Fraction(re.sub("[,'_]", "", digits))


def _scientific(value: Fraction, text: str, end: int) -> tuple[Fraction | None, int]:
    """The value with its exponent, power, denominator or the part behind a whole number."""
    if (exponent := _EXPONENT.match(text, end)) is not None:
        return _power_of_ten(value, int(exponent[1])), exponent.end()
    if (ten := _TIMES_TEN.match(text, end)) is not None and (raised := _raised(text, ten.end())) is not None:
        return _power_of_ten(value, raised[0]), raised[1]
    if (raised := _raised(text, end)) is not None:
        return _power(value, raised[0]), raised[1]
    if (part := _AND_A_PART.match(text, end)) is not None and value == int(value) and int(part[1]) < int(part[2]):
        return value + Fraction(int(part[1]), int(part[2])), part.end()
    if (over := _OVER.match(text, end)) is not None:
        return (value / Fraction(over[1]) if Fraction(over[1]) else None), over.end()
    return value, end


def _raised(text: str, place: int) -> tuple[int, int] | None:
    """The exponent of a power that stands here, and where it ends."""
    if (power := _POWER.match(text, place)) is not None:
        return int(power[1] or power[2] or power[3]), power.end()
    if (power := _SUPERSCRIPT.match(text, place)) is not None:
        return int(power[0].translate(_SUPERSCRIPTS)), power.end()
    return None


def _power_of_ten(value: Fraction, exponent: int) -> Fraction | None:
    return value * Fraction(10) ** exponent if abs(exponent) <= _LARGEST_EXPONENT else None


def _power(value: Fraction, exponent: int) -> Fraction | None:
    digits = len(str(abs(value.numerator))) + len(str(value.denominator))
    if digits * abs(exponent) > LONGEST or (value == 0 and exponent < 0):
        return None
    return Fraction(value**exponent)


def _sign(before: str) -> tuple[int, int]:
    """-1 or 1 for the sign in front of digits, and how many characters it and a currency take there."""
    for pattern in (_SAID_MINUS, _SIGN, _MONEY_END):
        if (found := pattern.search(before)) is not None:
            positive = pattern is _MONEY_END or (
                pattern is _SAID_MINUS and _OPERAND.search(before, 0, found.start()) is not None
            )
            return (1 if positive else -1), len(before) - found.start()
    return 1, 0
