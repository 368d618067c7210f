"""A task file (`tasks/<name>.yaml`) as a pydantic model."""

from __future__ import annotations

import codecs
import re
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from harness.errors import nearest
from harness.folding import label_form
from harness.hashing import digest
from harness.plugins import plugins

Category = Literal[
    "classification", "similarity", "reasoning", "knowledge", "reading", "extraction", "generation", "code", "math",
    "instruction following",
]  # fmt: skip


def _compiles(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a valid regular expression: {error}") from None
    return value


def _distinct(labels: list[str]) -> list[str]:
    seen: dict[str, str] = {}
    for label in labels:
        form = label_form(label)
        if not form:
            raise ValueError(f"the label {label!r} is empty")
        if form in seen and seen[form] == label:
            raise ValueError(f"the label '{label}' is listed twice")
        if form in seen:
            raise ValueError(
                f"the labels '{seen[form]}' and '{label}' cannot be separated: case, spaces, hyphens and underscores "
                "do not count, and neither do other forms of the same character"
            )
        seen[form] = label
    return labels


VERSION_DIGITS = 8
"""Hex digits of a task's versions, which people compare by eye."""
Pattern = Annotated[str, AfterValidator(_compiles)]
Labels = Annotated[list[str], AfterValidator(_distinct)]
Prompt = Annotated[str, AfterValidator(lambda text: text.removesuffix("\n"))]


def names_of(union: Any, key: str) -> tuple[str, ...]:
    """Return the values of `key` that choose a member of an annotated union of models."""
    return tuple(get_args(model.model_fields[key].annotation)[0] for model in get_args(get_args(union)[0]))


class Strict(BaseModel):
    """A mapping of the file in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Dataset(Strict):
    """Where the rows are."""

    hub: str | None = Field(None, description="Hugging Face dataset id, such as `google/jigsaw_toxicity_pred`.")
    config: str | None = Field(None, description="Configuration (subset) of the hub dataset.")
    revision: str | None = Field(
        None, description="Commit, tag or branch; `refs/convert/parquet` for the hub's converted Parquet files."
    )
    splits: dict[str, str] = Field(
        default_factory=dict, description="Our split names (train, validation, test) to the hub's split names."
    )
    files: dict[str, str] = Field(
        default_factory=dict,
        description="Our split names to local CSV, TSV, JSONL, JSON or Parquet files, for data you provide.",
    )
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="What divides the fields of CSV files; else the files show it."
    )
    encoding: str | None = Field(
        None, description="Encoding of CSV files, such as `cp1252`; else the byte order mark's, or UTF-8."
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Our column names to those of the data, for names that no template can hold (`Review Text`) or "
        "that should be others.",
    )
    obtain: str | None = Field(None, description="How to get the data by hand, shown when it is missing.")
    group_by: str | None = Field(
        None,
        description="Column whose equal values make one evaluation row with several references "
        "(a dataset that has one line per reference).",
    )

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        try:
            return value if value is None else codecs.lookup(value).name
        except LookupError:
            raise ValueError(f"'{value}' is not a known encoding; expected utf-8, utf-16, cp1252 or another") from None


class LabelAnswer(Strict):
    """One label out of a fixed set."""

    type: Literal["label"]
    labels: Labels = Field(min_length=2, description="The valid labels, as the target writes them.")
    aliases: dict[str, str] = Field(
        default_factory=dict, description="Other spellings a model may use, to the label they mean."
    )
    positive: str | None = Field(None, description="The label whose F1 is `f1`; needed by binary metrics.")
    pick: Literal["only", "first", "last"] = Field(
        "only", description="With several different labels in the answer: none is valid (only), or the first or last."
    )
    after: Pattern | None = Field(
        None, description="Regular expression; only the text after its last match is read (a chain of thought's end)."
    )
    many: bool = Field(False, description="The answer is a set of labels, separated by commas or line breaks.")

    @field_validator("aliases")
    @classmethod
    def _to_labels(cls, value: dict[str, str], seen: ValidationInfo) -> dict[str, str]:
        labels = seen.data.get("labels")
        if labels is None:
            return value  # what is wrong with them is said
        forms = {label_form(label): label for label in labels}
        for alias, label in value.items():
            if label not in labels:
                raise ValueError(
                    f"'{alias}' stands for '{label}', which is not one of the labels{nearest(label, labels)}"
                )
            taken = forms.setdefault(label_form(alias), label)
            if taken != label:
                raise ValueError(f"'{alias}' stands for '{label}', but is read as '{taken}'")
            if alias in labels:
                raise ValueError(f"'{alias}' is a label itself")
        return value

    @field_validator("positive")
    @classmethod
    def _is_a_label(cls, value: str | None, seen: ValidationInfo) -> str | None:
        labels = seen.data.get("labels")
        if value is not None and labels is not None and value not in labels:
            raise ValueError(f"'{value}' is not one of the labels{nearest(value, labels)}")
        return value


class NumberAnswer(Strict):
    """One number."""

    type: Literal["number"]
    pick: Literal["last", "first"] = Field("last", description="Which number of the answer counts.")
    after: Pattern | None = Field(
        None, description="Regular expression; a number after its last match wins over `pick`."
    )
    minimum: float | None = Field(None, description="A smaller number is unparsed.")
    maximum: float | None = Field(None, description="A larger number is unparsed.")


class TextAnswer(Strict):
    """Free text."""

    type: Literal["text"]
    first_line: bool = Field(False, description="Only the first non-empty line counts.")
    after: Pattern | None = Field(None, description="Regular expression; only the text after its last match counts.")


class RegexAnswer(Strict):
    """What a regular expression finds."""

    type: Literal["regex"]
    pattern: Pattern = Field(description="The last match counts; its group `answer`, or group 1, or the whole match.")


class JsonAnswer(Strict):
    """A JSON value, in a fence or bare, or the Python literal models write instead."""

    type: Literal["json"]


class EntitiesAnswer(Strict):
    """A JSON object from entity type to a list of strings."""

    type: Literal["entities"]
    types: list[str] = Field(min_length=1, description="The entity types, as the target writes them.")


class LabelAndExplanationAnswer(Strict):
    """A label, then an explanation."""

    type: Literal["label_and_explanation"]
    labels: Labels | None = Field(None, description="The valid labels; absent when the label is free text.")
    separator: str = Field("Explanation:", description="What stands between the label and the explanation.")


class SqlAnswer(Strict):
    """One SQL query."""

    type: Literal["sql"]
    table: str = Field("table", description="Name of the column that holds the row's table (header, rows, types).")


class CodeAnswer(Strict):
    """Python source, in a fence or bare."""

    type: Literal["code"]
    program: str = Field(
        description="Jinja template of the program that tests the answer: the row's columns and `completion`."
    )


class InstructionsAnswer(Strict):
    """A text that follows verifiable instructions (IFEval), which the target lists as JSON."""

    type: Literal["instructions"]


class CustomAnswer(Strict):
    """An answer type that a plugin adds; the fields of a subclass are its options."""

    type: str

    def read(self, text: str) -> Any | None:
        """Return the answer in a completion whose thinking part was removed, None where it holds no valid one."""
        raise NotImplementedError


AnswerFormat = Annotated[
    LabelAnswer
    | NumberAnswer
    | TextAnswer
    | RegexAnswer
    | JsonAnswer
    | EntitiesAnswer
    | LabelAndExplanationAnswer
    | SqlAnswer
    | CodeAnswer
    | InstructionsAnswer,
    Field(discriminator="type"),
]


ANSWER_TYPES = names_of(AnswerFormat, "type")


class MetricSpec(Strict):
    """A metric by name, with its options: `rouge_l`, `{rouge_l: {stemmer: true}}` or `{evaluate: sacrebleu}`."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and len(value) == 1 and "name" not in value:
            (name, options), *_ = value.items()
            if name == "evaluate" and isinstance(options, str):
                options = {"metric": options}
            return {"name": name, "options": options or {}}
        return value


class Evaluation(Strict):
    """The fixed rows that every model is asked."""

    split: str = Field("test", description="Which of the dataset's splits is evaluated.")
    rows: int = Field(1000, ge=1, description="How many rows; all of the split when it has fewer.")
    cluster: str | None = Field(
        None,
        description="Column whose equal values mark rows that are not independent (of one document, conversation or "
        "subject): they count together in every interval and test.",
    )


class Shots(Strict):
    """Examples in front of every row: prompts and right answers of rows that are not evaluated."""

    n: int = Field(ge=1, le=64, description="How many.")
    split: str = Field("train", description="Which of the dataset's splits they are taken from; not the evaluated one.")
    seed: int = Field(0, description="Another seed takes others.")


class Judging(Strict):
    """What a judge is told of a task before it compares two answers."""

    criteria: str = Field(min_length=1, description="What makes one answer better than another, as plain text.")


class Teacher(Strict):
    """What a teacher writes for the right answers of a task, where the data lacks it (`harness collect`)."""

    prompt: Prompt = Field(
        min_length=1, description="Jinja template over the row's columns that asks for it; it may show the right label."
    )
    answer: str = Field(
        min_length=1, description="The column that the teacher's answer fills, one that the target shows."
    )


class Training(Strict):
    """How an adapter for this task is trained."""

    split: str = Field("train", description="Which of the dataset's splits is trained on.")
    epochs: float = Field(3, gt=0)
    max_length: int | Literal["p95"] = Field(
        "p95", description="Longest training example in tokens, or the 95th percentile of them."
    )


class Task(Strict):
    """One task: rows, prompt, target, answer format, metrics."""

    title: str
    category: Category
    dataset: Dataset = Field(default_factory=lambda: Dataset())
    system: str | None = Field(None, description="System prompt, the same for every row: plain text, no template.")
    shots: Shots | None = Field(None, description="Examples in front of every row, the same for every model.")
    messages: str | None = Field(
        None,
        description="Jinja expression that gives a row's earlier messages, a list of {role, content} with the roles "
        "user and assistant; the prompt is the last message.",
    )
    prompt: Prompt = Field(description="Jinja template over the row's columns.")
    target: Annotated[str, AfterValidator(str.strip)] = Field(
        description="Jinja template of the right answer, as a model should write it."
    )
    references: str | None = Field(
        None, description="Jinja expression that gives the list of all right answers; the target when absent."
    )
    answer: SerializeAsAny[AnswerFormat]
    metrics: list[MetricSpec] = Field(min_length=1, description="The first is the one on the leaderboard.")
    max_tokens: int = Field(ge=1, description="Longest completion in tokens.")
    stop: list[str] = Field(default_factory=list, description="Strings that end a completion.")
    evaluation: Evaluation = Field(default_factory=lambda: Evaluation())
    training: Training = Field(default_factory=lambda: Training())
    teacher: Teacher | None = Field(
        None, description="How a teacher is asked for a column of the right answers that the data lacks."
    )
    judge: Judging | None = Field(None, description="How a judge compares two answers (`harness judge`).")
    slices: list[str] = Field(default_factory=list, description="Columns by whose values scores are also shown.")
    ceiling: float | None = Field(
        None, description="Score of the gold answers where it is not perfect, and why in notes."
    )
    notes: str | None = Field(None, description="What a reader should know: odd data, disagreements between sources.")

    @field_validator("answer", mode="wrap")
    @classmethod
    def _of_plugin(cls, value: Any, built_in: ValidatorFunctionWrapHandler) -> Any:
        name = value.get("type") if isinstance(value, dict) else None
        added = plugins().of("answer type", ANSWER_TYPES).get(str(name))
        return added.made.model_validate(value) if added else built_in(value)

    @field_validator("system")
    @classmethod
    def _fixed(cls, value: str | None) -> str | None:
        if value is not None and ("{{" in value or "{%" in value):
            raise ValueError("the system prompt is the same for every row, so it is plain text and no template")
        return value.strip() or None if value is not None else None

    @model_validator(mode="after")
    def _shots_can_be_shown(self) -> Task:
        if self.shots and self.shots.split == self.evaluation.split:
            raise ValueError(f"shots.split: the split '{self.shots.split}' is the one that is evaluated")
        if self.shots and not self.shows_answer:
            raise ValueError(f"shots: the target of {self.answer.type} is not an answer, so no example can be shown")
        if self.shots and self.teacher:
            raise ValueError("shots: the data lacks what the teacher writes, so no example can be shown")
        return self

    @property
    def shows_answer(self) -> bool:
        """Whether the target is an answer that a model could give, and not what its answer is checked for."""
        return not isinstance(self.answer, InstructionsAnswer)

    @property
    def frame(self) -> str:
        """What decides the messages around a row's prompt; "" for a task whose prompt is all there is."""
        given = {name: getattr(self, name) for name in ("system", "shots", "messages") if getattr(self, name)}
        return repr(given) if given else ""

    @property
    def asking_version(self) -> str:
        """Hash of all that decides what is asked: prompt, what stands in front of it, how long an answer may be."""
        return digest(self.prompt, self.frame, str(self.max_tokens), repr(self.stop))[:VERSION_DIGITS]

    @property
    def answers_version(self) -> str:
        """Hash of what makes the right answers."""
        return digest(self.target, self.references or "")[:VERSION_DIGITS]

    @property
    def scoring_version(self) -> str:
        """Hash of all that decides what an answer scores: how it is read, the right answers, the metrics."""
        rule = [self.answer.model_dump_json(), *(metric.model_dump_json() for metric in self.metrics)]
        return digest(*rule, self.answers_version)[:VERSION_DIGITS]

    def scored_by(self, rule: Task) -> Task:
        """This task, as it was asked, scored by the rule of another version of it."""
        evaluation = self.evaluation.model_copy(update={"cluster": rule.evaluation.cluster})
        taken = {name: getattr(rule, name) for name in ("answer", "metrics", "ceiling")}
        return self.model_copy(update={**taken, "evaluation": evaluation})

    @property
    def choices(self) -> tuple[str, ...]:
        """The labels, where each answer is one of them."""
        return tuple(self.answer.labels) if isinstance(self.answer, LabelAnswer) and not self.answer.many else ()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a task file, with the short forms of metrics that editors should accept."""
    schema = Task.model_json_schema()
    long_form = schema["$defs"]["MetricSpec"]
    schema["$defs"]["MetricSpec"] = {
        "anyOf": [
            {"type": "string", "description": "A metric by name."},
            {"type": "object", "minProperties": 1, "maxProperties": 1, "description": "A metric with its options."},
            long_form,
        ]
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Task", **schema}
