"""Labels out of a text.

A label counts where it stands as whole words, in any case, whatever punctuation, quotes or markup is around it. The
longest label at a place wins ("not toxic" is no mention of "toxic"). "unknown" does not hold "no", nor "10" a "1";
"non-toxic" does not hold "toxic", and "not toxic" does not either where only "toxic" is a label; nor does "C++" hold
"C", or ">1" a "1". An answer that denies a label from further away ("it does not contain toxic content") is not read.
Scripts without spaces have no word boundaries; Korean endings may follow a label.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.errors import nearest
from harness.folding import core, fold, label_core
from harness.score.answers.markers import Marked, marked, sentence
from harness.score.answers.text import MOST_CANDIDATES, after_marker
from harness.tasks.task import LabelAnswer

_LEAD_IN = re.compile(
    r"\W*(?:(?:so|thus|therefore|hence)\W+)?(?:the\s+|my\s+)?(?:final\s+|correct\s+|best\s+|predicted\s+)?"
    r"(?:answer|label|class|category|classification|sentiment|topic|type|output|response|prediction)s?"
    r"(?:\W*[:=]\W*|\s+(?:is|are|would\s+be)\W+)",
    re.IGNORECASE,
)
_DENYING = frozenset({"not", "never", "neither", "nor", "non", "cannot", "ليس", "غير"})
_BETWEEN = frozenset({"a", "an", "the", "really", "clearly", "necessarily", "be"})
_DENYING_PREFIX = ("不是", "並非", "并非", "不", "非", "没有", "沒有", "没", "沒", "ไม่")
_WINDOW = 60
"""Characters in front of a label in which a "not" is looked for."""
_DENYING_WINDOW = 16
"""The same for a label that denies itself: "not offensive and not toxic" says the second "not" again."""
_DENIES_ITSELF = re.compile(r"(?:no|not|non|never)\b", re.IGNORECASE)
_DENIAL = re.compile(
    r"(?:n't|\b(?:not(?!\s(?:only|just|merely)\b)|no(?!\s(?:doubt|question|wonder)\b)|non|never|neither|nor|cannot"
    r"|(?:is|are|was|do|does|did|ca|wo)nt|nothing|hardly|barely|scarcely|unlikely|lack(?:s|ing)?|except|excluding"
    r"|without(?!\s(?:an?y?\s)?(?:doubt|question)\b)|rather\sthan|instead\sof|far\sfrom|free\s(?:of|from)"
    r"|(?:all|anything|everything)\sbut|nicht|kein\w{0,2}|ohne|pas|não|не))\b",
    re.IGNORECASE,
)
_DENIAL_BEHIND = re.compile(
    r"[\"'`*_)\]]{0,4}\s(?:is|are|was|would\sbe|seems)(?:n't\b|\s(?:not|also\snot|clearly\snot|incorrect|wrong)\b)",
    re.I,
)
_CLAUSE_END = re.compile(
    r"[,;.:!?\n()\u2014]|\s-\s|\b(?<!all\s)(?<!anything\s)(?<!everything\s)but\b"
    r"|\b(?:so|because|since|thus|therefore|hence|however|although|while|and\s(?:is|it|this|that|the|I|we))\b",
    re.IGNORECASE,
)
# "The one that is not a mammal is B" denies another thing.
_OTHER_SUBJECT = re.compile(r"\b(?:that|which|who)\s(?:\w+\s)?\w*$", re.IGNORECASE)
_VERB_IN_FRONT = re.compile(r"\b(?:is|are)(?:\s(?:option|choice|letter))?$", re.IGNORECASE)
_DENYING_PART = re.compile(r"\b(?:non|not)[^\w\s]{1,4}\s?$", re.IGNORECASE)
_DENIED_BEHIND = re.compile(r"(?:이|가|은|는|적이지)?\s?(?:아니|아닙|않)|(?:では|じゃ)\s?(?:ない|なく|あり?ません)")
# Between the marker of an answer and the label.
_FILLER = re.compile(
    r"(?:[\s\"'`*_(\[{:]{1,8}|(?:option|choice|letter|label|the|clearly|definitely|simply|indeed)\s){0,8}", re.I
)
_OR = re.compile(
    r"[\"'`*_)\]}]{0,4}(?:\s?,?\s?(?:or|and|and/or|plus|as\swell\sas),?\s"
    r"(?:(?:\w{1,12}ly|also|maybe|perhaps|even|then),?\s)?|\s?[&/|+]\s?)",
    re.IGNORECASE,
)
_LISTED = re.compile(r"[\"'`*_)\]}]{0,4}(?:[,;]\s?|\s|(?<=[)\]}])(?=[(\[{]))")
_LIST_END = re.compile(r"[\W_]*+(?:$|(?:or|and|because|since|as|both)\b)", re.IGNORECASE)
_OPTION = re.compile(r"[\W_]{0,4}([^\W\d_])[.):\]](?=\s|$)")
# The article, which begins many sentences, unless a word follows that can only follow the label.
_NO_ARTICLE = r"(?!\s+(?!(?:is|as|and|or|because|since|seems|would|makes|then|plus|not)\b)[a-z])"
_NO_PRONOUN = r"(?!\s+(?!is\b)[a-z]|,\s)"
_NO_CONTRACTION = r"(?!'[a-z])"
_NO_INITIAL = r"(?!\.(?:[a-z]|[A-Z](?![\w\s])))"
_NO_DETERMINER = r"(?!\s(?:idea|clue|answer|one|doubt|question|problem)\b|\.[0-9])"
# What makes another thing of a label that it touches. An arrow ("->", "=>") in front of a number does not.
_TIED_BEFORE = re.compile(r"[°&+¬~±≤≥≈≠]$")
_TIED_BEFORE_LETTER = re.compile(r"\b[A-Za-z]\.$")
_TIED_BEFORE_NUMBER = re.compile(r"(?:[-\u2014$€£¥₹<]|(?<![-=])>|\b(?:minus|negative)\s)$", re.IGNORECASE)
_TIED_BEHIND = re.compile(r"[+#%‰°^&]")
_MAGNITUDE = re.compile(r"\s?(?:hundred|thousand|million|billion|trillion|dozen)", re.IGNORECASE)
_REACH = 10
"""Characters before and behind a label in which such a thing is looked for."""
_SIGNED_NUMBER = re.compile(r"[-\u2014+<>≤≥≈~±]\s{0,2}[0-9]")
_PAIRS = ("<>", "$$", "||")
_NO_PUNCTUATION = frozenset("#%‰&@/\\")

_UNSPACED = (
    r"\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_HANGUL = r"\uac00-\ud7a3"
_ENDINGS = "이가은는을를의에로으와과도만적입인임예하라다요네죠였합함"
# Marks that go on with a word: combining ones, and the vowel signs of Hebrew, Arabic and the scripts of India.
_MARKS = (
    r"\u0300-\u036f\u0591-\u05bd\u064b-\u0652\u0901-\u0903\u093a-\u094f\u0981-\u0983\u09bc-\u09d7\u0a3c-\u0a51"
    r"\u0abc-\u0acd\u0b3c-\u0b57\u0bbe-\u0bd7\u0c3e-\u0c56\u0cbc-\u0cd6\u0d3e-\u0d57"
)
# These scripts have one case; ignoring it would have each pattern's compilation fold 150,000 characters one by one.
_WORDS = {"": rf"(?-i:[^\W_{_UNSPACED}{_HANGUL}])", "hangul": rf"(?-i:[^\W_{_UNSPACED}])"}

_SEPARATOR = re.compile(r"[^\S\n]*+(?:[,;|\n/&]|(?:and|or)\b)[\s,]*+(?:(?:and|or|&)\s++)?", re.IGNORECASE)
_AROUND_ITEM = re.compile(r"[ \t\r\"'`*_\[\](){}•.]++|-")
_BULLET = re.compile(r"\s*+(?:[-*•]|\d{1,3}[.)])\s")
# What sets the lines behind a list of labels apart from it.
_APART = re.compile(
    r"[^\S\n]*+(?:\n|$|[*_]{0,2}(?:explanation|reason|rationale|because|note|justification))", re.IGNORECASE
)


@dataclass(frozen=True)
class _Reader:
    """Compiled patterns of a label set; group i of a pattern is the i-th spelling, which means `meanings[i]`.

    `mention` finds labels in running text, `head` matches one where a label is expected; `cores` has the spellings by
    what is left of them without the punctuation at their ends.
    """

    mention: re.Pattern[str]
    head: re.Pattern[str]
    meanings: tuple[str, ...]
    cores: dict[str, tuple[tuple[str, str], ...]]

    def exact(self, text: str, *, strict: bool = False) -> str | None:
        """The label that the text is, apart from punctuation and markup around it.

        `strict` refuses all else around it: a list's dash, a heading's "#", an emoji.
        """
        before, inner, after = core(text)
        for spelling, label in self.cores.get(label_core(inner), ()):
            left, right = before, after
            if inner:
                lead, _, tail = core(spelling)
                if lead:
                    left = left.rstrip()
                if tail:
                    right = right.lstrip()
                if not (left.endswith(lead) and right.startswith(tail)):
                    continue
                left, right = left.removesuffix(lead), right.removeprefix(tail)
            else:
                left, found, right = text.partition(spelling)
                if not found or not _punctuation(left + right):
                    continue
            if not _part(left[-_REACH:], spelling, right[:_REACH]) and (not strict or _punctuation(left + right)):
                return label
        return None

    def mentions(self, text: str, *, backwards: bool = False) -> Iterator[str | None]:
        """The labels in the text, in their order, without those that are denied; None where that is unclear."""
        found = self.mention.finditer(text)
        denials: list[int] = []
        for count, match in enumerate(reversed(list(found)) if backwards else found):
            if count == MOST_CANDIDATES:
                yield None
                return
            denials = denials if count else [denial.end() for denial in _DENIAL.finditer(text)]
            if not _denied(text, match):
                yield None if self.torn(match) or _doubted(text, match, denials) else self.meaning(match)

    def torn(self, match: re.Match[str]) -> bool:
        """Whether what a pattern has found is only a part of what stands there."""
        start, end = match.span()
        return _part(match.string[max(0, start - _REACH) : start], match[0], match.string[end : end + _REACH])

    def meaning(self, match: re.Match[str]) -> str:
        """The label that a match of one of the patterns means."""
        return self.meanings[int(match.lastindex or 1) - 1]


def read_label(text: str, spec: LabelAnswer) -> str | tuple[str, ...] | None:
    """Return the label, with `many` the sorted tuple of labels; None when there is none or no single one.

    An answer that is exactly a label counts, and so does a first line that is one: models often answer "yes" and then
    explain why there is "no doubt". Otherwise what is marked counts, by `after` or by the text's own marker; without
    one, every label that is mentioned, of which several are no answer unless `pick` says which.
    """
    reader = label_reader(tuple(spec.labels), tuple(spec.aliases.items()))
    behind = after_marker(text, spec.after)
    text = (fold(text) if behind is None else behind).strip()
    if spec.many:
        return _set(text, reader)
    if (exact := reader.exact(text)) is not None:
        return exact
    if behind is not None and (stated := _stated(sentence(text), reader, spec)) is not None:
        return stated
    first_line = text.split("\n", 1)[0]
    first = reader.exact(first_line)
    if first is not None and spec.pick != "last":
        mark = marked(text, first=spec.pick == "first")
        return first if mark is None or mark.cue or spec.pick == "first" else _stated(mark.text, reader, spec)
    if (mark := marked(text, first=spec.pick == "first")) is not None:
        return _stated(mark.text, reader, spec)
    if (lead_in := _LEAD_IN.match(first_line)) is not None:
        stated = _stated(sentence(first_line[lead_in.end() :]), reader, spec)
        if stated is not None:
            return stated
    return _only(reader, text, spec)


def gold_label(reference: str, spec: LabelAnswer) -> str | tuple[str, ...]:
    """Return the label that a right answer is, all of it; with `many` the sorted tuple of its labels.

    Raises:
        ValueError: a part of it is no label.
    """
    reader = label_reader(tuple(spec.labels), tuple(spec.aliases.items()))
    behind = after_marker(reference, spec.after)
    text = (fold(reference) if behind is None else behind).strip()
    if not spec.many:
        label = reader.exact(text, strict=True)
        if label is None:
            raise ValueError(f"it is not one of the labels{nearest(text[:100], spec.labels)}")
        return label
    found, rest = _items(text, reader)
    if rest:
        part = re.split(r"[,;|\n]", rest, maxsplit=1)[0].strip()
        raise ValueError(f"'{part:.60}' is not one of the labels{nearest(part[:100], spec.labels)}")
    if not found:
        raise ValueError("it names no label")
    return tuple(sorted(found))


def _denied(text: str, label: re.Match[str]) -> bool:
    """Whether a "not" stands in front of a label, or behind it in Korean and Japanese."""
    before = text[max(0, label.start() - _WINDOW) : label.start()].rstrip("\"'*(")
    if before.rstrip().endswith(_DENYING_PREFIX) or _DENIED_BEHIND.match(text, label.end()):
        return True
    if not before[-1:].isspace():
        return False
    for word in reversed(before.split()):
        word = word.lstrip("\"'*(_[").lower()
        if word not in _BETWEEN:
            return word in _DENYING or word.endswith("n't")
    return False


def _doubted(text: str, label: re.Match[str], denials: Sequence[int]) -> bool:
    """Whether a word that denies (they end at `denials`) stands in the clause of a label, or "is wrong" behind it.

    A word further away than the window in front of the label does not count.
    """
    if _DENIAL_BEHIND.match(text, label.end()):
        return True
    window = _DENYING_WINDOW if _DENIES_ITSELF.match(label[0]) else _WINDOW
    start = max(0, label.start() - window)
    place = bisect_right(denials, label.start())
    if not place or denials[place - 1] <= start:
        return False
    before = text[start : label.start()]
    if _DENYING_PART.search(before):
        return True
    clause = _CLAUSE_END.split(before.rstrip("\"'`*_([ "))[-1]
    denial = _DENIAL.search(clause)
    if denial is None:
        return False
    return not (_VERB_IN_FRONT.search(clause) and _OTHER_SUBJECT.search(clause[: denial.start()]))


def _part(before: str, label: str, behind: str) -> bool:
    """Whether a label is only a part of what stands there, by what it touches: "C++", ">1", "minus 1", "A.C.", "°C"."""
    if before[-1:] + behind[:1] in _PAIRS:
        return False
    if label[:1].isdigit():
        tied = _TIED_BEFORE_NUMBER.search(before) or _MAGNITUDE.match(behind)
    else:
        tied = _TIED_BEFORE_LETTER.search(before) if len(label) == 1 else None
    return bool(tied or _TIED_BEFORE.search(before) or _TIED_BEHIND.match(behind))


def _punctuation(text: str) -> bool:
    """Whether a text is nothing but spaces, quotation marks, brackets, markup and the marks of a sentence."""
    return all(
        char.isspace()
        or char == "`"
        or (char not in _NO_PUNCTUATION and (kind := unicodedata.category(char))[0] == "P" and kind != "Pd")
        for char in text
    )


def _only(reader: _Reader, text: str, spec: LabelAnswer) -> str | None:
    """The single label mentioned in a text, or the one of several that `pick` names."""
    if spec.pick == "last" and (last := next(reader.mentions(text, backwards=True), "")) != "":
        return last
    found: list[str | None] = []
    start = _OPTION.match(text)
    if start is not None and start[1].islower() and (label := reader.exact(start[1])) is not None:
        found.append(label)  # "b. 4 apples": a small letter counts at the start, as it does alone
    for label in reader.mentions(text):
        found.append(label)
        if spec.pick == "first" or label is None or label != found[0]:
            break
    return found[0] if found and found[-1] == found[0] else None


def _stated(text: str, reader: _Reader, spec: LabelAnswer) -> str | None:
    """The label that a marked text begins with, else the single one that its sentence mentions."""
    begin = _over_filler(text, 0)
    match = reader.head.match(text, begin)
    if match is None and _SIGNED_NUMBER.match(text, begin):
        return reader.exact(text, strict=True)
    if match is None or _DENIED_BEHIND.match(text, match.end()) or _DENIAL_BEHIND.match(text, match.end()):
        return reader.exact(text) or _only(reader, text, spec)
    if reader.torn(match):
        return None
    if spec.pick == "only":
        also = _OR.match(text, match.end())
        joint = also or _LISTED.match(text, match.end())
        other = reader.head.match(text, _over_filler(text, joint.end())) if joint else None
        if other and reader.meaning(other) != reader.meaning(match) and (also or _LIST_END.match(text, other.end())):
            return None
    return reader.meaning(match)


def _over_filler(text: str, place: int) -> int:
    filler = _FILLER.match(text, place)
    return filler.end() if filler else place


def _set(text: str, reader: _Reader) -> tuple[str, ...] | None:
    """The labels of a list of nothing but labels: the text, its marked part, its first or last line, its bullets.

    A list that names anything else is not read, for what it names is a part of the answer.
    """
    for reading in _readings(text, reader):
        found, rest = _items(reading, reader)
        if found and not rest:
            return tuple(sorted(found))
    return None


def _readings(text: str, reader: _Reader) -> Iterator[str]:
    """Where a list of labels may stand in an answer, the most explicit place first."""
    yield text
    mark: Marked | None = marked(text)
    if mark is not None:
        yield mark.text
        return
    lead_in = _LEAD_IN.match(text)
    if lead_in is not None:
        yield text[lead_in.end() :]
        yield sentence(text[lead_in.end() :])
    bullets = [line for line in text.split("\n") if _BULLET.match(line)]
    if bullets:
        yield "\n".join(bullets)
        return
    for line in _ends(text, reader):
        yield line
        yield re.split(r":|\b(?:are|is)\b", line, maxsplit=1)[-1]


def _ends(text: str, reader: _Reader) -> Iterator[str]:
    """The first line of a text and its last, unless the lines next to them name labels, too."""
    first, _, rest = text.partition("\n")
    if _APART.match(rest) or not reader.mention.search(rest):
        yield first
    rest, _, last = text.rstrip().rpartition("\n")
    if not rest or rest.endswith("\n") or not reader.mention.search(rest):
        yield last


def _items(text: str, reader: _Reader) -> tuple[set[str], str]:
    """The labels of a list, and what is left of it from the first item on that is no label.

    Labels are looked for first, so that a separator within a label is no separator.
    """
    found: set[str] = set()
    place = 0
    fresh = True  # at the beginning of the list, or behind a separator
    for _ in range(MOST_CANDIDATES):
        if place == len(text):
            return found, ""
        if fresh and (bullet := _BULLET.match(text, place)) is not None and not reader.head.match(text, place):
            place = bullet.end()
        elif fresh and (label := reader.head.match(text, place)) is not None:
            found.add(reader.meaning(label))
            place, fresh = label.end(), False
        elif (separator := _SEPARATOR.match(text, place)) is not None:
            place, fresh = separator.end(), True
        elif (junk := _AROUND_ITEM.match(text, place)) is not None:
            place = junk.end()
        else:
            break
    return found, text[place:]


@lru_cache(maxsize=64)
def label_reader(labels: tuple[str, ...], aliases: tuple[tuple[str, str], ...] = ()) -> _Reader:
    """Return the patterns that find these labels and the other spellings that mean them."""
    spellings = {fold(spelling).strip(): label for spelling, label in aliases}
    spellings |= {fold(label).strip(): label for label in labels}
    ordered = sorted(spellings, key=len, reverse=True)
    cores: dict[str, list[tuple[str, str]]] = {}
    for spelling in ordered:
        cores.setdefault(label_core(core(spelling)[1]), []).append((spelling, spellings[spelling]))
    return _Reader(
        re.compile("|".join(f"({_pattern(spelling)})" for spelling in ordered), re.IGNORECASE),
        re.compile("|".join(f"({_pattern(spelling, expected=True)})" for spelling in ordered), re.IGNORECASE),
        tuple(spellings[spelling] for spelling in ordered),
        {key: tuple(found) for key, found in cores.items()},
    )


def _pattern(spelling: str, *, expected: bool = False) -> str:
    """The pattern of one spelling: inner spaces, hyphens and underscores are one; words must not go on at its ends.

    In running text "a" is an article and "I" a pronoun, and a small letter is no label; where a label is `expected`, a
    letter is one in either case, unless a word follows that makes it an article or a pronoun.
    """
    words = re.split(r"(?<=\w)([\s_-]+|\s*/\s*)(?=\w)", spelling)
    body = "".join(
        (r"\s*/\s*" if "/" in part else r"[\s_-]+") if index % 2 else re.escape(part)
        for index, part in enumerate(words)
    )
    if len(spelling) == 1 and spelling.isascii() and spelling.isalpha():
        guard = {"A": _NO_ARTICLE, "I": _NO_PRONOUN}.get(spelling.upper(), "") + _NO_CONTRACTION + _NO_INITIAL
        upper, lower = re.escape(spelling.upper()), re.escape(spelling.lower())
        running = rf"(?:(?-i:{upper}){guard}|(?-i:{lower})(?=\s?\)))"
        body = rf"(?-i:[{upper}{lower}]{guard})" if expected else running
    elif spelling.casefold() == "no":
        body += _NO_DETERMINER
    return _before(spelling) + body + _behind(spelling)


def _before(spelling: str) -> str:
    first = spelling[:1]
    if not first.isalnum() or re.match(f"[{_UNSPACED}]", first):
        return ""
    word = _WORDS["hangul" if re.match(f"[{_HANGUL}]", first) else ""]
    number = r"(?<![0-9][.,/:'])(?<!-)" if first.isdigit() else ""
    return rf"(?<!{word})(?<![^\W_]-)" + number


def _behind(spelling: str) -> str:
    last = spelling[-1:]
    if not last.isalnum() or re.match(f"[{_UNSPACED}]", last):
        return ""
    if re.match(f"[{_HANGUL}]", last):
        return rf"(?=(?-i:[{_ENDINGS}]|[^{_HANGUL}])|$)"
    number = r"(?![.,/:'][0-9])(?! [0-9]{3}(?![0-9]))" if last.isdigit() else ""
    return rf"(?!{_WORDS['']}|(?-i:[{_MARKS}]))(?!-[^\W_])" + number
