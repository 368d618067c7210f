"""A teacher's answers as a student may learn them: collected by us, or recorded from the requests of an application."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from harness.errors import DataError, UserError, nearest
from harness.models.content import text_of as content_text
from harness.rows.evaluation import EvaluationRow
from harness.rows.explained import ANSWERS
from harness.score.answers import read_gold
from harness.score.scoring import Status, reading_of
from harness.store.results import Response, ResponseStatus
from harness.tasks.catalog import TaskFile
from harness.tasks.messages import Message, only_text, plain
from harness.tasks.task import JsonAnswer, LabelAndExplanationAnswer, LabelAnswer, Task

_ENDS: dict[str, ResponseStatus] = {"length": "truncated", "content_filter": "refused"}
_WHAT_TO_DO = "delete the line, or record the application again"


@dataclass(frozen=True, slots=True)
class TeacherAnswer:
    """One answer of a teacher.

    `messages` are what was asked, as a chat server was sent it, and `prompt` the same as plain text, both empty of a
    request that failed and is not known; `tools` holds
    what else of the request decides the answer. `text` is what the student learns, `said` the assistant's message,
    `reading` the answer as it is understood, in a form that can be compared, and `label` the class of a row, where the
    task has classes. `right` says whether it is the right answer of the data, None where that is not known.
    """

    id: str
    place: str
    folder: str
    teacher: str
    prompt: str
    messages: tuple[Mapping[str, Any], ...]
    tools: Mapping[str, Any]
    status: Status
    text: str
    said: Mapping[str, Any]
    reading: str
    label: str
    right: bool | None
    tokens: tuple[int, int]
    error: str = ""


def read(folder: Path, file: TaskFile) -> Iterator[TeacherAnswer]:
    """Yield the answers in a folder of `harness collect` or `harness record`, or in one JSONL file of either.

    Raises:
        DataError: there is no such folder, nothing in it, or a line cannot be used; names file and line.
    """
    if folder.is_file():
        paths = [folder]
    elif (folder / ANSWERS).is_file():
        paths = [folder / ANSWERS]
    elif (folder / "responses.jsonl").is_file():
        raise DataError(f"{folder}: collecting has not ended here; run `harness collect` again to finish it")
    else:
        paths = sorted(folder.glob("*.jsonl"))
    if not paths:
        known = [path.name for path in folder.parent.glob("*/") if path != folder] if folder.parent.is_dir() else []
        raise DataError(f"{folder}: there is no folder of collected or recorded answers{nearest(folder.name, known)}")
    for path in paths:
        for number, line in _lines(path):
            place = f"{path}:{number}"
            if "prediction" in line:
                yield _collected(line, place, str(folder), file)
                continue
            try:
                yield from _recorded(line, place, str(folder), file)
            except (AttributeError, TypeError, ValueError) as error:
                raise DataError(f"{place}: not a recorded request and its answer ({error}); {_WHAT_TO_DO}") from None


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                found = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError) as error:
                torn = "" if line.endswith(b"\n") else "; its writer was stopped in the middle of the line"
                raise DataError(f"{path}:{number}: not valid JSON ({error}){torn}; delete the line") from None
            if found is None:
                continue
            if not isinstance(found, dict):
                raise DataError(f"{path}:{number}: expected a JSON object, found {type(found).__name__}; {_WHAT_TO_DO}")
            yield number, found


def _collected(line: Mapping[str, Any], place: str, folder: str, file: TaskFile) -> TeacherAnswer:
    try:
        if line["status"] not in get_args(Status):
            raise ValueError(f"its status is '{line['status']}'")
        row = EvaluationRow(line["id"], line["prompt"], tuple(line["reference"]), {})
        response = Response("", row.id, line["status"], line["prediction"] or "", error=line.get("error"))
        messages = tuple(dict(message) for message in line.get("messages") or line["request"]["messages"])
        usage = line["usage"]["input_tokens"] or 0, line["usage"]["output_tokens"] or 0
        answer = _answer(file.task, row, response, place, folder, messages, {}, str(line["model"]), usage)
    except (KeyError, TypeError, ValueError, UserError) as error:
        reason = error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise DataError(f"{place}: not a line of `harness collect` for this task ({reason}); collect again") from None
    return replace(answer, right=_right(file.task, answer.reading, row.references))


def _right(task: Task, reading: str, references: tuple[str, ...]) -> bool:
    """Whether an answer is a right one; of a label with its explanation the label counts."""
    golds = [read_gold(reference, task.answer) for reference in references]
    if isinstance(task.answer, LabelAndExplanationAnswer):
        said = json.loads(reading)
        return said is not None and said[0] in [gold[0] for gold in golds]
    return reading in map(_comparable, golds)


def _recorded(line: Mapping[str, Any], place: str, folder: str, file: TaskFile) -> Iterator[TeacherAnswer]:
    asked, output = line.get("input"), line.get("output")
    try:
        messages = _messages(asked, place)
    except DataError:
        if line.get("status", 200) == 200:
            raise
        messages = ()  # a request that failed, perhaps before all of it was sent
    prompt = plain([Message(one["role"], _words(one)) for one in messages]) if messages else ""
    asked = asked if isinstance(asked, Mapping) else {}
    tools = {name: asked[name] for name in ("tools", "parallel_tool_calls") if asked.get(name) is not None}
    output = output if isinstance(output, Mapping) else {}
    model, counts = str(output.get("model") or asked.get("model") or "unknown"), output.get("usage") or {}
    usage = int(counts.get("prompt_tokens") or 0), int(counts.get("completion_tokens") or 0)
    choices = output.get("choices") or []
    if not choices or line.get("status", 200) != 200:
        failed = Response("", place, "failed", error=f"the request failed (status {line.get('status', 'unknown')})")
        row = EvaluationRow(place, prompt, (), {})
        yield _answer(file.task, row, failed, place, folder, messages, tools, model, usage)
    for number, choice in enumerate(choices if line.get("status", 200) == 200 else ()):
        said = choice.get("message") or {"content": choice.get("text")}
        calls = said.get("tool_calls")
        if calls and not isinstance(file.task.answer, JsonAnswer):
            raise DataError(
                f"{place}: the answer is a tool call, but the answers of {file.name} are of type "
                f"{file.task.answer.type}; delete the line, or use a task of type json"
            )
        text = (
            json.dumps([call.get("function") for call in calls]) if calls else content_text(said.get("content")) or ""
        )
        status: ResponseStatus = "refused" if said.get("refusal") else _ENDS.get(str(choice.get("finish_reason")), "ok")
        row = EvaluationRow(place, prompt, (), {})
        response = Response("", place, status, text)
        used = usage if number == 0 else (0, 0)
        made = _answer(file.task, row, response, place, folder, messages, tools, model, used)
        yield replace(made, said={"role": "assistant", "content": None, "tool_calls": calls}) if calls else made


def _messages(asked: Any, place: str) -> tuple[Mapping[str, Any], ...]:
    """The messages of a request, a prompt of the older kind as one of them.

    Raises:
        DataError: there are none.
    """
    if isinstance(asked, Mapping):
        if isinstance(asked.get("prompt"), str):
            return ({"role": "user", "content": asked["prompt"]},)
        found = asked.get("messages")
        roles = ("system", "user", "assistant", "tool", "developer")
        if isinstance(found, list) and found and all(isinstance(m, Mapping) and m.get("role") in roles for m in found):
            if any(one.get("content") and only_text(one["content"]) is None for one in found):
                raise DataError(f"{place}: a message holds more than text, which is not learned; delete the line")
            return tuple({**one, "role": "system"} if one["role"] == "developer" else dict(one) for one in found)
    raise DataError(f"{place}: no input.messages that a model was sent; {_WHAT_TO_DO}")


def _words(message: Mapping[str, Any]) -> str:
    text = content_text(message.get("content")) or ""
    return text or (json.dumps(message["tool_calls"]) if message.get("tool_calls") else "")


def _answer(
    task: Task, row: EvaluationRow, response: Response, place: str, folder: str,
    messages: tuple[Mapping[str, Any], ...], tools: Mapping[str, Any], teacher: str, tokens: tuple[int, int],
) -> TeacherAnswer:  # fmt: skip
    status, text, found = reading_of(task, response, None)
    text = _learned(task, found, text.strip())
    label = text if isinstance(task.answer, LabelAnswer) else ""
    if isinstance(task.answer, LabelAndExplanationAnswer) and task.answer.labels and found is not None:
        label = str(found[0])
    return TeacherAnswer(
        id=row.id, place=place, folder=folder, teacher=teacher, prompt=row.prompt, messages=messages, tools=tools,
        status=status, text=text, said={"role": "assistant", "content": text}, reading=_comparable(found),
        label=label, right=None, tokens=tokens, error=response.error or "",
    )  # fmt: skip


def _learned(task: Task, answer: Any, text: str) -> str:
    """What the student learns to write: a label as the task spells it, unless there is reasoning before it."""
    if answer is None or not isinstance(task.answer, LabelAnswer) or task.answer.after:
        return text
    return ", ".join(answer) if task.answer.many else str(answer)


def _comparable(reading: Any) -> str:
    return json.dumps(reading, sort_keys=True, ensure_ascii=False, default=str)
