"""A tournament: a judge compares pairs of recorded answers in both orders, until their order is settled.

A judge is a model like any other: its questions are rows of a task of its own, named `_judge`, so asking, limits,
prices, the cap on spending and what is recorded are those of every run. They are in `results/<task>/_judge/<judge>/`,
the votes in `votes.jsonl` there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from harness.ask.budget import Budget, CapReached
from harness.ask.prepare import prepared_again
from harness.ask.run import BenchOptions, ask_pairs
from harness.errors import UserError, nearest
from harness.hashing import digest
from harness.judge.sampling import JudgedPair, Order, Pair, next_rows, order
from harness.judge.verdict import judge_prompt, read_verdict
from harness.judge.votes import FIRST, SECOND, TIE, VERDICTS, Vote, as_lines, verdict_outcome
from harness.models.entry import BaselineModel, ModelEntry, load_models, samples_of
from harness.models.prices import usd_of
from harness.rows.evaluation import EvaluationRow
from harness.score.answers.thinking import without_thinking
from harness.shipped import TaskFolders
from harness.store.atomic import replace_file
from harness.store.results import Manifest, Response, answered_rows, chosen_runs, drop_rows, write_rows
from harness.tasks.catalog import TaskFile, load_task
from harness.tasks.task import Task
from harness.tasks.yaml import Source

JUDGE = "_judge"
"""The task of a judge's questions, in the folder of the task that the answers are of."""
MAX_TOKENS = 1024
ENDED = {False: "the order is settled", True: "the rows are spent"}


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """What a user asks of `harness judge`. With `against`, models are compared with these only.

    `budget` is the most verdicts to ask for, those recorded before included; `confirm` a task that takes no part in
    choosing.
    """

    tasks: tuple[str, ...]
    models: tuple[str, ...]
    judge: str
    models_file: Path
    tasks_folder: TaskFolders
    results: Path
    against: tuple[str, ...] = ()
    reference: bool = False
    budget: int | None = None
    confirm: str | None = None
    allow_self: bool = False
    max_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """What a tournament came to: votes on its tasks and on the one that confirms, and how the sampling ended.

    `asked` verdicts of `possible` ones were asked for, and of these `again` some once more, since they could not be
    read; `ended` says why no more was. `complete`: all that was to be asked has an answer. `finalists` are the winner
    and the runner-up, where the task `confirm` confirms.
    """

    votes: tuple[Vote, ...]
    confirmed: tuple[Vote, ...]
    order: Order
    ended: str
    asked: int
    again: int
    possible: int
    complete: bool
    sample: bool = False
    confirm: str | None = None
    finalists: Pair | None = None


class JudgeQuestion(NamedTuple):
    """A comparison that the judge is asked for, the first time or again."""

    one: JudgedPair
    again: bool


@dataclass(frozen=True)
class Contest:
    """A task with the rows that all contestants have answered, in the order of their hash, and their answers.

    An answer is "" where there is none; such a one loses to any other, unasked.
    """

    run: Manifest
    file: TaskFile
    criteria: str | None
    rows: Mapping[str, EvaluationRow]
    answers: Mapping[str, Mapping[str, str]]
    references: bool

    @property
    def task(self) -> str:
        """Its name."""
        return self.run.task

    def unasked(self, one: JudgedPair) -> float | None:
        """The outcome of a comparison that needs no judge: equal answers, or one that is missing; else None."""
        first, second = (self.answers[model][one.row] for model in (one.first, one.second))
        if first == second:
            return TIE
        return None if first and second else FIRST if first else SECOND

    def question(self, question: JudgeQuestion, judge: str) -> EvaluationRow:
        """The row that asks the judge for a verdict."""
        one, again = question
        row = self.rows[one.row]
        answers = (self.answers[one.first][one.row], self.answers[one.second][one.row])
        reference = row.references[0] if self.references else None
        prompt = judge_prompt(row.prompt, answers, self.criteria, reference, again=again)
        named = f"{one.row}:{one.first}:{one.second}{':again' if again else ''}"
        return EvaluationRow(named, prompt, (), {**one._asdict(), "again": again, "judge": judge})

    def vote(self, one: JudgedPair, judge: str, outcome: float, usd: float | None, *, asked: bool) -> Vote:
        """The vote that a verdict is."""
        lengths = (len(self.answers[one.first][one.row]), len(self.answers[one.second][one.row]))
        cost = math.nan if usd is None else usd
        return Vote(
            one.row, one.first, one.second, outcome, judge, self.task, (lengths[0], lengths[1]), usd=cost, asked=asked
        )


def contest(options: JudgeOptions, task: str) -> Contest:
    """Load a task's recorded answers of all contestants.

    Raises:
        UserError: a contestant has no recorded run of it, they share no row, or were asked a row in different words.
    """
    models = (*options.models, *options.against)
    file = load_task(options.tasks_folder, task)
    if options.reference and not file.task.shows_answer:
        raise UserError(f"--reference: the target of {task} is not an answer that a judge could be shown")
    runs = chosen_runs(options.results, [task], [])
    kind = "benchmark" if any(run.kind == "benchmark" for run in runs if run.model in models) else "sample"
    of_model = {run.model: run for run in runs if run.kind == kind}
    for model in models:
        if model not in of_model:
            raise UserError(f"{model} has no {kind} run of {task} in {options.results}{nearest(model, of_model)}")
    rows: dict[str, EvaluationRow] = {}
    answers: dict[str, dict[str, str]] = {}
    for model in models:
        found = answers.setdefault(model, {})
        for row, several in answered_rows(options.results, of_model[model]):
            same = rows.setdefault(row.id, row)
            if (same.prompt, same.messages) != (row.prompt, row.messages):
                raise UserError(
                    f"{task}: {model} was asked row {row.id} with a different prompt than {models[0]}, so their "
                    "answers cannot be compared; run `harness bench` again for both"
                )
            found[row.id] = _answer(of_model[model], several[0])
    shared = sorted(set.intersection(*(set(found) for found in answers.values())), key=digest)
    if not shared:
        raise UserError(f"{task}: no row was answered by all of {', '.join(models)}; run `harness bench` for them")
    criteria = file.task.judge.criteria if file.task.judge else None
    run = of_model[models[0]]
    return Contest(run, _questions(task, criteria), criteria, {n: rows[n] for n in shared}, answers, options.reference)


def _answer(run: Manifest, response: Response | None) -> str:
    """What is judged of a row: the first answer, of a model that was asked several times for each."""
    if response is None or response.status == "failed":
        return ""
    return without_thinking(response.completion, run.thinking).strip()


def _questions(task: str, criteria: str | None) -> TaskFile:
    """The task of a judge's questions about answers to a task."""
    spec = Task.model_validate(
        {
            "title": f"Pairs of answers to {task}", "category": "generation", "prompt": "{{ prompt }}",
            "target": "verdict", "answer": {"type": "text"}, "metrics": ["exact_match"], "max_tokens": MAX_TOKENS,
        }
    )  # fmt: skip
    text = judge_prompt("", ("A", "B"), criteria)
    return TaskFile(JUDGE, spec, Source(Path(f"{task}.yaml"), text, {}, {}))


@dataclass
class Court:
    """A judge at work: what it has been asked, and the outcomes so far.

    `left` is how many verdicts may still be asked for. `outcomes` are of each comparison, whether a judge was needed or
    not; `questions` say by task what was asked, and whether it has an answer; `stopped` why the judge cannot be asked
    any more.
    """

    contests: Mapping[str, Contest]
    entry: ModelEntry
    options: JudgeOptions
    say: Callable[[str], None]
    budget: Budget
    left: float
    outcomes: dict[JudgedPair, float] = field(default_factory=dict)
    questions: dict[str, dict[JudgeQuestion, bool]] = field(default_factory=dict)
    stopped: str = ""
    _steps: dict[str, list[str]] = field(default_factory=dict)

    def ask(self, comparisons: Sequence[JudgedPair]) -> None:
        """Get the outcomes of comparisons, as many as may be asked for; an unread verdict is asked for once more."""
        needed = []
        for one in comparisons:
            if (outcome := self.contests[one.task].unasked(one)) is None:
                needed.append(JudgeQuestion(one, again=False))
            else:
                self.outcomes[one] = outcome
        self._ask(needed)
        self._ask([JudgeQuestion(one, again=True) for one, _ in needed if math.isnan(self.outcomes.get(one, TIE))])

    def _ask(self, questions: Sequence[JudgeQuestion]) -> None:
        questions = questions[: int(min(self.left, len(questions)))]
        self.left -= len(questions)
        for task in dict.fromkeys(question.one.task for question in questions):
            asked = [question for question in questions if question.one.task == task]
            if not self.stopped:
                self.questions.setdefault(task, {}).update(dict.fromkeys(asked, False))
                for question, outcome, response in self._answers(task, self._run(task, asked)):
                    self.outcomes[question.one] = outcome
                    self.questions[task][question] = response.status != "failed"

    def _run(self, task: str, asked: Sequence[JudgeQuestion]) -> Manifest | None:
        """Have these questions answered that are not yet; None when the cap on spending left none of them."""
        contest, folder = self.contests[task], self.options.results / task
        fingerprint = write_rows(folder, JUDGE, (contest.question(one, self.entry.name) for one in asked))
        self._steps.setdefault(task, []).append(fingerprint)
        prepared = replace(prepared_again(contest.run, contest.file), rows=fingerprint, n=len(asked))
        files = BenchOptions((), (), self.options.models_file, None, folder, max_usd=self.options.max_usd)
        try:
            manifests = ask_pairs([(prepared, self.entry)], files, self.say, self.budget)
        except CapReached as stop:
            manifests, self.stopped = list(stop.manifests), str(stop)
        if not manifests and not self.stopped:
            raise UserError(f"{self.entry.name} cannot be asked for verdicts")
        for manifest in manifests:
            self.stopped = self.stopped or manifest.stopped or ""
        return manifests[0] if manifests else None

    def _answers(self, task: str, run: Manifest | None) -> Iterator[tuple[JudgeQuestion, float, Response]]:
        """The outcome of each question that was settled, and the response; a request that failed has no verdict."""
        for row, (response, *_) in answered_rows(self.options.results / task, run) if run else ():
            if response is not None:
                one = JudgedPair(*(str(row.fields[name]) for name in JudgedPair._fields))
                # One that was cut off may end inside of what it quotes.
                whole = response.completion if response.status == "ok" else ""
                verdict = read_verdict(whole, run.thinking if run else None)
                yield JudgeQuestion(one, again=bool(row.fields["again"])), verdict_outcome(verdict), response

    @property
    def complete(self) -> bool:
        """Whether the judge has answered, first or again, about each comparison that it was asked."""
        asked = [(question.one, answered) for found in self.questions.values() for question, answered in found.items()]
        return not self.stopped and {one for one, _ in asked} == {one for one, answered in asked if answered}

    def finish(self) -> dict[str, list[Vote]]:
        """Record all that was asked as one run of each task, and return the votes as they are recorded, by task.

        Requests that have failed are tried once more.
        """
        found: dict[str, list[Vote]] = {task: [] for task in self.contests}
        for task, asked in self.questions.items():
            wanted = [one for one, answered in asked.items() if answered or not self.stopped]
            found[task] = list(self._votes(task, self._run(task, wanted))) if wanted else []
            drop_rows(self.options.results / task, JUDGE, self._steps[task])
        for task, contest in self.contests.items():
            free = [one for one in self.outcomes if one.task == task and contest.unasked(one) is not None]
            found[task] += [contest.vote(one, self.entry.name, self.outcomes[one], None, asked=False) for one in free]
            path = self.options.results / task / JUDGE / self.entry.name / VERDICTS
            replace_file(path, "".join(as_lines(found[task])))
        return found

    def _votes(self, task: str, run: Manifest | None) -> Iterator[Vote]:
        """The votes of a recorded run; what a comparison cost is that of both questions about it.

        Questions in the same words were asked, and paid for, once.
        """
        last: dict[JudgedPair, float] = {}
        cost: dict[JudgedPair, list[float | None]] = {}
        paid: set[str] = set()
        for question, outcome, response in self._answers(task, run):
            one, self.questions[task][question] = question.one, response.status != "failed"
            usd = usd_of(run.price, [response]) if run and response.key not in paid else 0.0
            paid.add(response.key)
            cost.setdefault(one, []).append(usd)
            last[one] = outcome if math.isnan(last.get(one, math.nan)) else last[one]
        for one, outcome in last.items():
            known = [usd for usd in cost[one] if usd is not None]
            usd = sum(known) if len(known) == len(cost[one]) else None
            yield self.contests[task].vote(one, self.entry.name, outcome, usd, asked=True)


def judge(options: JudgeOptions, say: Callable[[str], None]) -> Judged:
    """Run a tournament and, where asked for, confirm its winner against the runner-up on another task.

    Raises:
        UserError: a name or a file is wrong, or answers cannot be compared; nothing was asked.
        HarnessError: as `harness.ask.run.bench`.
    """
    entry = _checked(options)
    tasks = dict.fromkeys((*options.tasks, *([options.confirm] if options.confirm else [])))
    contests = {task: contest(options, task) for task in tasks}
    budget = Budget(options.max_usd, {entry.name: entry.model})
    court = Court(contests, entry, options, say, budget, left=math.inf if options.budget is None else options.budget)
    rows = sorted(((task, row) for task in options.tasks for row in contests[task].rows), key=lambda one: digest(*one))
    pairs = [(a, b) for a in options.models for b in options.against] or list(combinations(options.models, 2))
    found = _rounds(court, rows, dict.fromkeys(pairs, 0))
    ended = court.stopped or ("the budget is spent" if court.left < 1 else ENDED[bool(found.open)])
    candidates = [name for name in found.models if name not in options.against]
    finalists = (candidates[0], candidates[1]) if options.confirm and len(candidates) > 1 else None
    if finalists and options.confirm:
        court.ask(list(_both_ways([(options.confirm, row) for row in contests[options.confirm].rows], finalists)))
    votes = court.finish()
    return Judged(
        votes=tuple(vote for task in options.tasks for vote in votes[task]),
        confirmed=tuple(votes[options.confirm]) if options.confirm else (),
        order=found,
        ended=ended,
        asked=sum(map(len, court.questions.values())),
        again=sum(question.again for asked in court.questions.values() for question in asked),
        possible=2 * len(rows) * len(pairs),
        complete=court.complete,
        sample=any(one.run.kind == "sample" for one in contests.values()),
        confirm=options.confirm,
        finalists=finalists,
    )


def _rounds(court: Court, rows: Sequence[tuple[str, str]], taken: dict[Pair, int]) -> Order:
    """Ask in rounds until the order is settled, or the rows, the verdicts or the money are spent."""
    options = court.options
    names, found, number = (*options.models, *options.against), None, 0
    while not court.stopped and court.left >= 1 and (wanted := next_rows(taken, len(rows), found)):
        number += 1
        # Row by row, so that verdicts that end in the middle of a round are of all pairs.
        places = range(min(taken[pair] for pair in wanted), max(wanted.values()))
        new = [(place, pair) for place in places for pair, upto in wanted.items() if taken[pair] <= place < upto]
        comparisons = [one for place, pair in new for one in _both_ways([rows[place]], pair)]
        court.say(f"round {number}: {len(comparisons):,} comparisons of {len(wanted)} pairs of models")
        court.ask(comparisons)
        taken |= wanted
        votes = [Vote(f"{one.task}\0{one.row}", one.first, one.second, won) for one, won in court.outcomes.items()]
        found = order(votes, names, options.against)
    return found or Order((), ())


def _both_ways(rows: Iterable[tuple[str, str]], pair: Pair) -> Iterator[JudgedPair]:
    for task, row in rows:
        yield JudgedPair(task, row, *pair)
        yield JudgedPair(task, row, *pair[::-1])


def _checked(options: JudgeOptions) -> ModelEntry:
    """The judge of a tournament.

    Raises:
        UserError: a name is wrong, or stands in two places where it may not.
    """
    names = (*options.models, *options.against)
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name} is listed twice among --models and --against")
    if not options.against and len(names) < 2:
        raise UserError("--models: name at least two, or models to compare with under --against")
    if options.judge in names and not options.allow_self:
        raise UserError(f"{options.judge} would judge its own answers; name another --judge, or add --allow-self")
    if options.confirm in options.tasks:
        raise UserError(f"--confirm {options.confirm}: this task takes part in choosing; name another")
    (entry,) = load_models(options.models_file, (options.judge,), os.environ)
    if isinstance(entry.model, BaselineModel):
        raise UserError(f"{options.judge} is a baseline, which cannot judge")
    if samples_of(entry.model) > 1:
        raise UserError(f"{options.judge}: a judge gives one verdict each time; take `samples` out of its entry")
    return entry
