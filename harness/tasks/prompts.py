"""Rendering: a row's columns through the task's templates, once."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jinja2
from rapidfuzz.distance import Postfix, Prefix

from harness.errors import SpecError, nearest
from harness.hashing import digest
from harness.tasks.catalog import TaskFile
from harness.tasks.messages import Message, transcript
from harness.tasks.tags import Scheme, spans
from harness.tasks.templates import RowEnvironment, check_addresses, to_json

Columns = Mapping[str, Any]
EXPRESSIONS = ("references", "messages")


# What a template may raise on a row whose columns are not as its author thought.
_COMPILING = (jinja2.TemplateError, SyntaxError, RecursionError, ValueError, ArithmeticError, MemoryError)
_RENDERING = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
    MemoryError,
)


def entities(
    tokens: Sequence[str], tags: Sequence[int], names: Sequence[str], scheme: Scheme = "conlleval"
) -> dict[str, list[str]]:
    """Return the entities of a tagged sentence, by type, in order of appearance.

    `tags` holds for each token an index into `names`, which are `O`, `B-<type>` or `I-<type>`; `scheme` says what an
    `I-` tag is that continues no entity (`harness.tasks.tags.spans`). Every type is a key, found or not.

    Raises:
        ValueError: a tag is negative, or there are more or fewer than tokens.
        IndexError: a tag is beyond `names`.
    """
    if min(tags, default=0) < 0:
        raise ValueError(f"{min(tags)} is no tag (a row without labels?)")
    found: dict[str, list[str]] = {name[2:]: [] for name in names if name != "O"}
    marked = [names[tag] for _, tag in zip(tokens, tags, strict=True)]
    for kind, start, end in spans(marked, scheme):
        found[kind].append(" ".join(tokens[start:end]))
    return found


def question_hash(prompt: str) -> str:
    """Return a hash that two prompts share when they ask the same: outer space and Unicode's form aside."""
    return digest(unicodedata.normalize("NFC", prompt.strip()))


class Prompts:
    """The compiled templates of one task.

    `prompt_columns` are the columns that the prompt shows, `answer_columns` those of target and references, `columns`
    both.

    Raises:
        SpecError: a template is not valid Jinja (on construction), or uses a column that a row lacks.
    """

    def __init__(self, file: TaskFile) -> None:
        self._file = file
        self._environment = RowEnvironment()
        self._environment.filters["entities"] = entities
        task = file.task
        self._prompt = self._compile("prompt", task.prompt)
        self._target = self._compile("target", task.target)
        self._references = self._compile("references", task.references)
        self._messages = self._compile("messages", task.messages)
        self._question = self._compile("teacher.prompt", task.teacher.prompt if task.teacher else None)
        before = self.names(f"{{{{ {task.messages} }}}}") if task.messages else frozenset()
        self.prompt_columns = self.names(task.prompt) | before
        expression = f"{{{{ {task.references} }}}}" if task.references else ""
        self.answer_columns = self.names(task.target) | self.names(expression)
        self.columns = self.prompt_columns | self.answer_columns
        self.teacher_columns = self._of_teacher()

    def prompt(self, row: Columns) -> str:
        """Render the prompt of a row, with its earlier messages as a transcript."""
        if self._messages is None:
            return self._render("prompt", self._prompt, row)
        return transcript(self.messages(row))

    def _of_teacher(self) -> frozenset[str]:
        """The columns that the teacher's question shows, and those that the right answer has beside what it writes.

        Raises:
            SpecError: what it writes is no part of the right answer, or is shown in a question.
        """
        teacher = self._file.task.teacher
        if teacher is None:
            return frozenset()
        where, column = self._file.source.problem, teacher.answer
        if column not in self.answer_columns:
            raise SpecError(
                where(["teacher", "answer"], f"the target shows no '{column}'{nearest(column, self.answer_columns)}")
            )
        shown = self.names(teacher.prompt)
        if column in shown | self.prompt_columns:
            raise SpecError(where(["teacher", "answer"], f"a prompt shows '{column}', which the teacher is to write"))
        return shown | self.answer_columns - {column}

    def question(self, row: Columns) -> str:
        """Render what a teacher is asked for the column that the data lacks.

        Raises:
            ValueError: the task has no teacher.
        """
        if self._question is None:
            raise ValueError("the task asks nothing of a teacher")
        return self._render("teacher.prompt", self._question, row)

    def messages(self, row: Columns) -> tuple[Message, ...]:
        """Return what a chat model is sent of a row: its earlier messages, and the prompt as the last one."""
        asked = Message("user", self._render("prompt", self._prompt, row))
        return (*self._earlier(row), asked)

    def _earlier(self, row: Columns) -> list[Message]:
        if self._messages is None:
            return []
        try:
            found = self._environment.evaluate(self._messages, row)
            if not isinstance(found, list | tuple):
                str(found)  # says which column is missing or null
            turns = [Message(turn["role"], turn["content"]) for turn in found]
            for turn in turns:
                check_addresses(str(turn.content), row, str(self._file.task.messages))
        except _RENDERING as error:
            raise self._error("messages", row, error) from None
        if not all(turn.role in ("user", "assistant") and isinstance(turn.content, str) for turn in turns):
            problem = "expected a list of {role: user or assistant, content: text}"
            raise SpecError(self._file.source.problem(["messages"], problem))
        return turns

    def target(self, row: Columns) -> str:
        """Render the right answer of a row."""
        return self._render("target", self._target, row).strip()

    def references(self, row: Columns) -> list[str]:
        """Return all right answers of a row, at least one."""
        if self._references is None:
            return [self.target(row)]
        try:
            found = self._environment.evaluate(self._references, row)
            for item in found if isinstance(found, list | tuple) else [found]:
                check_addresses(str(item), row, str(self._file.task.references))
            texts = isinstance(found, list | tuple) and bool(found) and all(isinstance(item, str) for item in found)
            shown = "" if texts else to_json(found)
        except _RENDERING as error:
            raise self._error("references", row, error) from None
        if not texts:
            raise SpecError(
                self._file.source.problem(["references"], f"expected a list of one or more texts, got {shown:.80}")
            )
        return [str(item).strip() for item in found]

    def names(self, template: str) -> frozenset[str]:
        """The columns that a template uses."""
        return self._environment.columns(template)

    def _compile(self, key: str, text: str | None) -> Any:
        """The template, or the expression, under a key of the task file; None for None."""
        try:
            if text is None:
                return None
            if key in EXPRESSIONS:
                return self._environment.compile_expression(text, undefined_to_none=False)
            return self._environment.from_string(text)
        except _COMPILING as error:
            raise SpecError(self._syntax(key, error)) from None

    def _syntax(self, key: str, error: Exception) -> str:
        if isinstance(error, jinja2.TemplateSyntaxError):
            return self._file.source.problem(key.split("."), f"template line {error.lineno}: {error.message}")
        return self._file.source.problem(key.split("."), f"the template is nested too deeply or too large ({error})")

    def _render(self, key: str, template: jinja2.Template, row: Columns) -> str:
        try:
            text = self._environment.render(template, row)
            check_addresses(text, row, self._template(key))
            return text
        except _RENDERING as error:
            raise self._error(key, row, error) from None

    def _template(self, key: str) -> str:
        teacher = self._file.task.teacher
        return teacher.prompt if teacher and key == "teacher.prompt" else str(getattr(self._file.task, key))

    def _error(self, key: str, row: Columns, error: Exception) -> SpecError:
        missing = sorted(self.names(self._template(key)) - set(row)) if key not in EXPRESSIONS else []
        if missing:
            message = "; ".join(f"no column '{name}' in the rows{nearest(name, row)}" for name in missing)
        else:
            message = f"cannot be rendered: {error}"
        return SpecError(self._file.source.problem(key.split("."), message))


def without_frame(prompts: Iterable[str]) -> Callable[[str], str]:
    """Return a function that cuts off what all prompts begin and end with: a task's instructions, its examples."""
    start, end = frame_of(prompts)
    return lambda prompt: prompt.removeprefix(start).removesuffix(end)


def frame_of(prompts: Iterable[str]) -> tuple[str, str]:
    """Return what all prompts begin with, and what they end with behind that; they are read once, one at a time."""
    start, end, shortest = None, "", 0
    for prompt in prompts:
        if start is None:
            start, end, shortest = prompt, prompt, len(prompt)
        start = start[: Prefix.similarity(start, prompt)]
        end = end[len(end) - Postfix.similarity(end, prompt) :]
        shortest = min(shortest, len(prompt))
    behind = shortest - len(start or "")
    return start or "", end[max(0, len(end) - behind) :]
