"""From a teacher's answers to the rows that a student learns: seven steps, each with what it left out and why."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import UserError
from harness.hashing import digest
from harness.rows.evaluation import choose
from harness.rows.explained import ANSWERS
from harness.rows.origin import locate
from harness.rows.overlap import Evaluated, OwnText, near_duplicates, own_text
from harness.tasks.catalog import TaskFile
from harness.tasks.prompts import Prompts, question_hash
from harness.tasks.pruning import Prune, frame
from harness.teach.answers import TeacherAnswer, read

FRAME = "frame"


@dataclass(frozen=True, slots=True)
class DistillOptions:
    """What a user asks of `harness distill`.

    `human` keeps only answers that are right by the data, `repeats` only rows whose answers agree with each other by
    this share. `prune` is `frame`, or a file with a text, or a JSON list of texts, to take out of every prompt;
    `validation` the share of rows that are held out.
    """

    folders: tuple[Path, ...]
    human: bool = False
    repeats: float | None = None
    balance: bool = False
    prune: str | None = None
    validation: float = 0.1


@dataclass(frozen=True, slots=True)
class Dropped:
    """An answer that was left out, at which step, and why."""

    answer: TeacherAnswer
    step: str
    why: str


@dataclass(frozen=True, slots=True)
class Distilled:
    """The rows to learn and to validate on, and what was left out; `steps` has the name and what is left after each."""

    read: int
    steps: tuple[tuple[str, int], ...]
    train: tuple[TeacherAnswer, ...]
    validation: tuple[TeacherAnswer, ...]
    dropped: tuple[Dropped, ...]
    prune: Prune | None


Own = Callable[[TeacherAnswer], OwnText]
Judged = Iterator[tuple[TeacherAnswer, str | None]]
"""Answers, each with why it is left out, or None."""


def distill(file: TaskFile, data: str | None, options: DistillOptions) -> Distilled:
    """Choose what a student learns from folders of answers. The evaluated rows of the task are read, and kept out.

    Raises:
        UserError: a folder or a file of it cannot be used, an option does not fit the task, or nothing is left.
    """
    answers = [answer for folder in options.folders for answer in read(folder, file)]
    _one_prompt_for_each_row(answers)
    evaluated = [row.prompt for row in choose(file, Prompts(file), locate(file, data)).rows]
    prune = _prune(options.prune, [*(answer.prompt for answer in answers if answer.prompt), *evaluated])
    own = _own_texts(answers, evaluated)
    asked = Counter(_group(answer) for answer in answers)
    steps: list[tuple[str, Callable[[list[TeacherAnswer]], Iterable[tuple[TeacherAnswer, str | None]]]]] = [
        ("valid answers", _valid),
        ("agreement with the human label", _right if options.human else _all),
        ("the teacher's agreement with itself", lambda left: _agreeing(left, asked, options.repeats)),
        ("duplicates", lambda left: _distinct(left, own)),
        ("evaluated rows", lambda left: _not_evaluated(left, own, evaluated)),
        ("balance", _balanced if options.balance else _all),
    ]
    left, counts, dropped = answers, [], []
    for name, judge in steps:
        judged = list(judge(left))
        dropped += [Dropped(answer, name, why) for answer, why in judged if why is not None]
        left = [answer for answer, why in judged if why is None]
        counts.append((name, len(left)))
    if not left:
        after = "; ".join(f"{left:,} after {name}" for name, left in counts)
        raise UserError(f"no answer is left to learn from: {len(answers):,} read; {after}")
    held = _held_out(left, options.validation)  # by the whole prompts: the same rows with and without --prune
    parts: dict[bool, list[TeacherAnswer]] = {False: [], True: []}
    for answer in left:
        parts[answer.prompt in held].append(_pruned(answer, prune) if prune else answer)
    if not parts[False]:
        raise UserError(
            f"--validation {options.validation:g} would hold out all {len(left):,} rows; name a smaller share"
        )
    return Distilled(len(answers), tuple(counts), tuple(parts[False]), tuple(parts[True]), tuple(dropped), prune)


def _one_prompt_for_each_row(answers: Sequence[TeacherAnswer]) -> None:
    """Collected answers name their row, so one row under two prompts is from two versions of the task.

    Raises:
        UserError: there is such a row.
    """
    seen: dict[str, TeacherAnswer] = {}
    for answer in answers:
        other = seen.setdefault(answer.id, answer)
        if other.prompt != answer.prompt:
            raise UserError(
                f"{answer.place}: row {answer.id} was answered under another prompt in {other.place}; the task has "
                "changed between them: collect the older one again, or leave it out"
            )


def _prune(given: str | None, prompts: Sequence[str]) -> Prune | None:
    """What is to be taken out of all these prompts.

    Raises:
        UserError: the file cannot be read, or a prompt does not hold the text.
    """
    if given is None:
        return None
    if given == FRAME:
        found = frame(prompts)
        if not (found.start or found.end):
            raise UserError(
                "--prune frame: the prompts, with those of the evaluated rows, begin and end with nothing in common"
            )
    else:
        found = Prune(texts=_texts(Path(given)))
    for prompt in prompts:
        try:
            found(prompt)
        except ValueError as error:
            raise UserError(f"--prune {given}: {error}; the prompt begins {prompt[:60]!r}") from None
    return found


def _texts(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--prune {path}: expected 'frame' or a file of UTF-8 text: {error}") from None
    try:
        listed = json.loads(text)
    except ValueError:
        listed = [text]
    if not (isinstance(listed, list) and listed and all(isinstance(one, str) and one for one in listed)):
        raise UserError(f"--prune {path}: expected a text, or a JSON list of texts")
    return tuple(listed)


def _own_texts(answers: Sequence[TeacherAnswer], evaluated: Sequence[str]) -> Own:
    """Return what gives an answer's prompt without what all prompts share, of the task or of an application."""
    by_folder = defaultdict(list)
    for answer in filter(lambda answer: answer.prompt, answers):
        by_folder[answer.folder].append(answer.prompt)
    ours = [folder for folder in by_folder if (Path(folder) / ANSWERS).is_file()]
    of_task = own_text([*evaluated, *(prompt for folder in ours for prompt in by_folder[folder])])
    cut = {folder: of_task if folder in ours else own_text(prompts) for folder, prompts in by_folder.items()}
    texts: dict[tuple[str, str], OwnText] = {}  # so that their words are gone through once

    def own(answer: TeacherAnswer) -> OwnText:
        key = answer.folder, answer.prompt
        if key not in texts:
            texts[key] = cut[answer.folder](answer.prompt)
        return texts[key]

    return own


def _group(answer: TeacherAnswer) -> tuple[str, str]:
    """What the answers of one teacher to one prompt share."""
    return answer.folder, question_hash(answer.prompt)


def _all(answers: list[TeacherAnswer]) -> Judged:
    return ((answer, None) for answer in answers)


def _valid(answers: list[TeacherAnswer]) -> Judged:
    for answer in answers:
        valid = answer.status == "ok" and answer.text
        yield answer, None if valid else f"{answer.status}{': ' if answer.error else ''}{answer.error}"


def _right(answers: list[TeacherAnswer]) -> Judged:
    for answer in answers:
        why = {True: None, False: "it is not the right answer of the data", None: "the data has no right answer to it"}
        yield answer, why[answer.right]


def _agreeing(answers: list[TeacherAnswer], asked: Counter[tuple[str, str]], share: float | None) -> Judged:
    """Keep of each row the first answer with its most frequent reading, where so many of all that were asked have it.

    Raises:
        UserError: a row was asked once only, so that nothing can be said of it.
    """
    if share is None:
        yield from _all(answers)
        return
    if asked and max(asked.values()) == 1:
        raise UserError("--agree repeats needs several answers to a row; collect with --repeat and --temperature")
    votes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for answer in answers:
        votes[_group(answer)][answer.reading] += 1
    taken = set()
    for answer in answers:
        group = _group(answer)
        (reading, count), *_ = votes[group].most_common(1)
        if count < share * asked[group] - 1e-9:
            yield answer, f"{count} of {asked[group]} answers to it agree"
        elif answer.reading != reading or group in taken:
            yield answer, "another answer to the same prompt is kept"
        else:
            taken.add(group)
            yield answer, None


def _distinct(answers: list[TeacherAnswer], own: Own) -> Judged:
    first: dict[str, TeacherAnswer] = {}
    unique = []
    for answer in answers:
        other = first.setdefault(question_hash(answer.prompt), answer)
        if other is answer:
            unique.append(answer)
        else:
            yield answer, f"the same prompt as {other.place}"
    for answer, place in zip(unique, near_duplicates(map(own, unique)), strict=True):
        yield answer, None if place is None else f"nearly the same as {unique[place].place}"


def _not_evaluated(answers: list[TeacherAnswer], own: Own, evaluated: Sequence[str]) -> Judged:
    guard = Evaluated(evaluated, (answer.prompt for answer in answers))
    return ((answer, guard.why(answer.prompt, own(answer))) for answer in answers)


def _balanced(answers: list[TeacherAnswer]) -> Judged:
    """Keep as many rows of each class as the rarest has, by the hash of their prompts.

    Raises:
        UserError: the task has no classes.
    """
    classes = Counter(answer.label for answer in answers)
    if "" in classes:
        raise UserError("--balance needs a task whose answers are labels")
    least = min(classes.values(), default=0)
    kept: set[str] = set()
    for label in classes:
        ranked = sorted((_rank("balance", one), one.prompt) for one in answers if one.label == label)
        kept |= {prompt for _, prompt in ranked[:least]}
    for answer in answers:
        yield answer, None if answer.prompt in kept else f"more than {least} rows are '{answer.label}'"


def _pruned(answer: TeacherAnswer, prune: Prune) -> TeacherAnswer:
    """An answer to the question without the fixed text, which is one message of the user's."""
    prompt = prune(answer.prompt)
    return replace(answer, prompt=prompt, messages=({"role": "user", "content": prompt},))


def _held_out(answers: Sequence[TeacherAnswer], share: float) -> set[str]:
    """The prompts of the validation rows: those whose hash is below the share, at least one where a share is asked."""
    if share == 0 or len(answers) < 2:
        return set()
    ranks = {answer.prompt: int(_rank("validation", answer), 16) / 16**16 for answer in answers}
    return {prompt for prompt, rank in ranks.items() if rank < share} or {min(ranks, key=ranks.__getitem__)}


def _rank(purpose: str, answer: TeacherAnswer) -> str:
    return digest(purpose, answer.prompt)
