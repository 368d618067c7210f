"""One long document: a model tuned on its chunks, asked questions at every checkpoint, beside passages in the prompt.

What `harness contract` leaves in its folder is a small project: tasks, models, an adapter with its checkpoints, and
results. So every answer is recorded as in any run, a stopped command goes on where it was, and `harness compare` or
`harness judge` read the same answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.ask.run import BenchOptions, bench
from harness.compare.intervals import Estimate, Sample, estimate
from harness.compare.paired import Comparison, RunPair, corrected, paired_tests
from harness.errors import DataError, UserError
from harness.hashing import digest
from harness.models.engines.known_bases import is_gguf
from harness.rows.chunks import Chunk, chunked
from harness.rows.examples import in_order
from harness.rows.files import jsonl
from harness.rows.training import TrainingExample
from harness.score.metrics.base import FloatArray, Metric
from harness.score.scoring import ScoredRun, score_all
from harness.store.atomic import replace_file
from harness.store.results import answered_rows
from harness.train.recipe import Curve, Hyperparameters, Trained

CLOSED, OPEN = "document", "document_passages"
"""The two tasks: a question alone, and a question with passages of the document in front of it."""
PASSAGES = 3
F1, EXACT = "qa_f1", "qa_exact_match"
_ASK = (
    "Answer a question about a document by quoting it. Copy the shortest passage that answers the question, word for "
    "word, without adding anything.\n\n"
)
_TASK = {
    "category": "reading",
    "target": "{{ answers[0] }}",
    "references": "answers",
    "answer": {"type": "text"},
    "metrics": [F1, EXACT],
}
_BASE = "base"


@dataclass(frozen=True, slots=True)
class ContractQuestion:
    """A question on the document, with all its right answers."""

    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContractOptions:
    """What a user asks of `harness contract`; `passages` are those put into a prompt."""

    document: Path
    questions: Path
    base: str
    recipe: Hyperparameters
    out: Path
    chars: int = 512
    overlap: int = 0
    sentences: bool = False
    max_tokens: int = 128
    passages: int = PASSAGES
    usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class ContractLine:
    """How one way of answering did: both scores, words of its answers and of the right ones (means)."""

    name: str
    f1: Estimate
    exact: Estimate
    words: float
    reference_words: float


@dataclass(frozen=True, slots=True)
class Contract:
    """What the study found. `curve` has the losses and `scores` the mean F1 of the checkpoints at its `steps`.

    `chosen` are the steps that each way of choosing takes: one, or for the choice by score one for each question.
    `against` are the tuned lines, each compared with the base with passages by F1, corrected for all of them.
    """

    document: str
    chars: int
    chunks: int
    questions: int
    base: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]
    scores: tuple[float, ...]
    curve: Curve
    chosen: Mapping[str, tuple[int, ...]]
    lines: tuple[ContractLine, ...]
    against: Mapping[str, Comparison]
    hours: float
    usd_per_hour: float | None
    device: str

    @property
    def usd(self) -> float | None:
        """What the training cost."""
        return None if self.usd_per_hour is None else self.hours * self.usd_per_hour


LOSS, SCORE, LAST = "validation loss", "score", "last"
"""The three ways to choose a checkpoint."""


def read_questions(path: Path, document: str, name: str) -> list[ContractQuestion]:
    """Read questions with their answers from a JSONL file, as SQuAD has them or with a list of texts.

    Raises:
        DataError: lines are something else, or a question is listed twice, has no answer, or none that is a passage of
            the document; all of them at once, with file and line.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected JSONL with `question` and `answers`")
    found: dict[str, ContractQuestion] = {}
    problems = []
    whole = _plain(document)
    for number, row in enumerate(jsonl(path), start=1):
        question, answers = row.get("question"), _answers(row)
        if not isinstance(question, str) or not question.strip() or answers is None:
            problems.append(f'{path}:{number}: expected {{"question": text, "answers": [text, …]}}')
        elif not answers:
            problems.append(f"{path}:{number}: the question has no answer; give one or delete the line")
        elif question in found:
            problems.append(f"{path}:{number}: the question is listed twice; give its answers in one line")
        elif not any(_plain(answer) in whole for answer in answers):
            problems.append(f"{path}:{number}: no answer is a passage of {name}; quote it word for word, or delete it")
        else:
            found[question] = ContractQuestion(question, tuple(dict.fromkeys(answers)))
    if not found and not problems:
        problems.append(f"{path}: it holds no question")
    if len(found) == 1 and not problems:
        problems.append(f"{path}: one question cannot choose a checkpoint for another; give two or more")
    if problems:
        raise DataError("\n".join(problems))
    return list(found.values())


def _answers(row: Mapping[str, Any]) -> list[str] | None:
    given = row.get("answers", row.get("answer"))
    if isinstance(given, Mapping):
        given = given.get("text")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return None
    return [text for text in texts if text.strip()]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def best_chunks(chunks: Sequence[Chunk], questions: Sequence[str], most: int) -> list[list[Chunk]]:
    """Return the chunks nearest to each question by TF-IDF (words and word pairs, cosine), in the document's order.

    Raises:
        DataError: the document has no words to find passages by.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    try:
        matrix = vectorizer.fit_transform([chunk.text for chunk in chunks])
    except ValueError:
        raise DataError(f"{chunks[0].source}: it has no word of two letters or more to find passages by") from None
    nearness = (vectorizer.transform(questions) @ matrix.T).toarray()
    return [[chunks[place] for place in sorted(np.argsort(-row, kind="stable")[:most])] for row in nearness]


def study(options: ContractOptions, say: Callable[[str], None]) -> Contract:
    """Tune on the document, ask every checkpoint every question, and compare with retrieval.

    Raises:
        UserError: a file or an option is wrong, or the base cannot be loaded.
        Interrupted: the user stopped it; the same call goes on from there.
    """
    chunks = chunked([options.document], options.chars, options.overlap, sentences=options.sentences)
    document = chunks[0].text + "".join(chunk.text[options.overlap :] for chunk in chunks[1:])
    questions = read_questions(options.questions, document, options.document.name)
    if len(chunks) < 2:
        raise DataError(f"{options.document}: it is one chunk, of which none can be held out; choose fewer --chars")
    passages = best_chunks(chunks, [question.text for question in questions], options.passages)
    trained = _tuned(options, chunks, say)
    steps = options.recipe.kept_steps(trained.steps)
    losses = tuple(trained.curve.validation[trained.curve.steps.index(step)] for step in steps)
    _write_project(options, passages, questions, steps)
    closed = _asked(options, CLOSED, [_BASE, *map(_model, steps)], questions, say)
    table = np.array([closed[_model(step)].stats[F1] for step in steps])
    chosen = {
        LOSS: (steps[int(np.argmin(losses))],) * len(questions),
        SCORE: tuple(steps[place] for place in leave_one_out_choice(table)),
        LAST: (steps[-1],) * len(questions),
    }
    names = dict.fromkeys(_model(step) for taken in chosen.values() for step in taken)
    opened = _asked(options, OPEN, [_BASE, *names], questions, say)
    ways = {"base": closed[_BASE], "base, passages": opened[_BASE]}
    for how, taken in chosen.items():
        ways[f"tuned, by {how}" if how != LAST else "tuned, last"] = _picked(closed, taken)
    for how, taken in chosen.items():
        ways[f"tuned, by {how}, passages" if how != LAST else "tuned, last, passages"] = _picked(opened, taken)
    return Contract(
        document=options.document.name,
        chars=len(document),
        chunks=len(chunks),
        questions=len(questions),
        base=options.base,
        steps=steps,
        losses=losses,
        scores=tuple(float(row.mean()) for row in table),
        curve=trained.curve,
        chosen={how: tuple(dict.fromkeys(taken)) for how, taken in chosen.items()},
        lines=tuple(_line(name, answers) for name, answers in ways.items()),
        against=_against(ways),
        hours=trained.seconds / 3600,
        usd_per_hour=options.usd_per_hour,
        device=trained.device,
    )


def leave_one_out_choice(scores: FloatArray) -> list[int]:
    """For each question the row of the checkpoint with the best mean score over the others, the earliest of equals.

    Args:
        scores: Of checkpoints by questions, shape [checkpoints, questions].
    """
    others = scores.sum(axis=1, keepdims=True) - scores
    return [int(place) for place in np.argmax(others.round(12), axis=0)]


def _model(step: int) -> str:
    return f"step-{step:06}"


def _tuned(options: ContractOptions, chunks: Sequence[Chunk], say: Callable[[str], None]) -> Trained:
    """The training, which is not repeated where the folder holds that of the same chunks, base and recipe."""
    from harness.train import peft

    folder = options.out / "adapter"
    about = folder / "training.json"
    name = digest(options.base, str(options.recipe), *(chunk.text for chunk in chunks))
    if about.is_file():
        saved = json.loads(about.read_text(encoding="utf-8"))
        if saved.pop("name") == name:
            return Trained(**{**saved, "curve": Curve(**saved["curve"])})
        raise UserError(f"{options.out}: it holds the study of another document, base or recipe; name another --out")
    pairs = in_order(TrainingExample("", chunk.text) for chunk in chunks)
    trained = peft.train(options.base, pairs, options.recipe, folder, say)
    if trained.steps < options.recipe.updates(trained.rows):
        raise UserError(f"the training was stopped after step {trained.steps}; run the same command to go on")
    replace_file(about, json.dumps({"name": name, **asdict(trained)}) + "\n")
    return trained


def _write_project(
    options: ContractOptions,
    passages: Sequence[Sequence[Chunk]],
    questions: Sequence[ContractQuestion],
    steps: Sequence[int],
) -> None:
    """Write the tasks, the rows and the models that are asked."""
    folder = options.out / "tasks"
    rows = [
        {"question": one.text, "answers": list(one.answers), "passages": "\n\n".join(chunk.text for chunk in found)}
        for one, found in zip(questions, passages, strict=True)
    ]
    replace_file(folder / "questions.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    for name, title, before in (
        (CLOSED, "Questions on a document", ""),
        (OPEN, "Questions on a document, with passages", "Passages of the document:\n\n{{ passages }}\n\n"),
    ):
        task = {
            "title": title,
            "dataset": {"files": {"test": "questions.jsonl"}},
            "prompt": f"{_ASK}{before}Question: {{{{ question }}}}\nAnswer:",
            "max_tokens": options.max_tokens,
            "evaluation": {"split": "test", "rows": len(questions)},
            **_TASK,
        }
        replace_file(folder / f"{name}.yaml", json.dumps(task, ensure_ascii=False, indent=1) + "\n")
    settings = {"backend": "llamacpp" if is_gguf(options.base) else "local", "model": options.base}
    kept = options.out / "adapter" / "checkpoints"
    tuned = {_model(step): settings | {"adapter": str(kept / _model(step)), "base": _BASE} for step in steps}
    replace_file(options.out / "models.yaml", json.dumps({_BASE: settings, **tuned}, indent=1) + "\n")


@dataclass(frozen=True, slots=True)
class _Answers:
    """One model's answers by question: statistics by metric, shape [n], and words of answer and of right answer."""

    metrics: Mapping[str, Metric]
    stats: Mapping[str, FloatArray]
    words: FloatArray
    reference_words: FloatArray


def _asked(
    options: ContractOptions,
    task: str,
    models: Sequence[str],
    questions: Sequence[ContractQuestion],
    say: Callable[[str], None],
) -> dict[str, _Answers]:
    """Ask models all questions, and return their answers in the order of the questions."""
    results = options.out / "results"
    asked = BenchOptions((task,), tuple(models), options.out / "models.yaml", options.out / "tasks", results)
    runs = score_all(results, bench(asked, say), say)
    found = {run.manifest.model: _in_order(results, run, questions) for run in runs}
    if missing := [name for name in models if name not in found]:
        raise UserError(f"{missing[0]} on {task}: it could not be asked; see above")
    return found


def _in_order(results: Path, run: ScoredRun, questions: Sequence[ContractQuestion]) -> _Answers:
    places = {f"Question: {question.text}\nAnswer:": place for place, question in enumerate(questions)}
    order, words, right = [0] * len(questions), np.zeros(len(questions)), np.zeros(len(questions))
    for number, (row, answers) in enumerate(answered_rows(results, run.manifest)):
        place = next(place for end, place in places.items() if row.prompt.endswith(end))
        order[place] = number
        said = answers[0].completion if answers[0] and answers[0].status != "failed" else ""
        words[place] = len(said.split())
        right[place] = np.mean([len(reference.split()) for reference in row.references])
    stats = {metric.name: run.rows.stats[metric.name][order, 0] for metric in run.metrics}
    return _Answers({metric.name: metric for metric in run.metrics}, stats, words, right)


def _picked(answers: Mapping[str, _Answers], steps: Sequence[int]) -> _Answers:
    """For each question the answer of the checkpoint after this step."""
    by_question = [answers[_model(step)] for step in steps]
    first = by_question[0]

    def taken(values: Callable[[_Answers], FloatArray]) -> FloatArray:
        return np.array([values(one)[place] for place, one in enumerate(by_question)])

    stats = {name: taken(lambda one, name=name: one.stats[name]) for name in first.stats}  # type: ignore[misc]
    return _Answers(first.metrics, stats, taken(lambda one: one.words), first.reference_words)


def _line(name: str, answers: _Answers) -> ContractLine:
    f1, exact = (estimate(answers.metrics[metric], answers.stats[metric][:, None]) for metric in (F1, EXACT))
    return ContractLine(name, f1, exact, float(answers.words.mean()), float(answers.reference_words.mean()))


def _against(ways: Mapping[str, _Answers]) -> dict[str, Comparison]:
    """The tuned model's F1 against that of the base with passages."""
    other = ways["base, passages"]
    tuned = [name for name in ways if name.startswith("tuned")]
    pairs = [
        RunPair(
            Sample(other.metrics[F1], ways[name].stats[F1][:, None]),
            Sample(other.metrics[F1], other.stats[F1][:, None]),
            comparisons=len(tuned),
        )
        for name in tuned
    ]
    return dict(zip(tuned, corrected(paired_tests(pairs)), strict=True))
