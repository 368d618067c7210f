"""The adapters: trained task by task in rounds, each of which can be stopped at any time and gone on with."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import HarnessError
from harness.models.engines.adapter_files import read_lora, write_lora
from harness.models.engines.gguf import base_folder
from harness.models.local import CARD
from harness.models.proof import FINGERPRINT
from harness.rows.origin import locate
from harness.rows.training import load, training_rows
from harness.tasks.catalog import TaskFile, load_task
from harness.tasks.prompts import Prompts
from harness.train.batches import encode
from harness.train.card import Card, read, write
from harness.train.checkpoint import CHECKPOINT
from harness.train.fingerprint import write_fingerprint
from harness.train.recipe import Hyperparameters, rows_per_update
from harness.train.shrink import truncated
from harness.train.train import TrainOptions, train
from studies.landscape.recipes import BASE, ENOUGH, PLANS, recipe

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Study:
    """Where training rows come from, and where adapters go.

    `state` holds each round's adapter at its full rank, with the checkpoint of one that is under way; `out` the
    adapters as they are shipped. Without `tasks_folders` the tasks are found as every command finds them.
    """

    data: str
    tasks_folders: tuple[Path, ...]
    out: Path
    state: Path
    rounds: int

    def round_folder(self, task: str, number: int) -> Path:
        """Where a round of a task is kept."""
        return self.state / task / f"round-{number}"


def train_all(study: Study, tasks: Sequence[str]) -> None:
    """Train every task round by round, passing over what is done or what another process is at.

    A task that fails does not stop the others.
    """
    for number in range(study.rounds):
        for task in tasks:
            folder = study.state / task
            folder.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(folder / "lock", timeout=0):
                    _round(study, task, number)
            except Timeout:
                continue  # another process trains it
            except HarnessError as error:
                _say(task)(f"not trained: {error}")


def train_side_by_side(study: Study, tasks: Sequence[str], jobs: int) -> int:
    """Run so many processes of this command, one thread each, and return the highest of their exit codes.

    Two threads of one training wait for each other on a busy machine, which costs several times the processor time.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "studies.landscape", "train", "--data", study.data, "--rounds", str(study.rounds)]
    command += ["--out", str(study.out), "--state", str(study.state)]
    command += [part for folder in study.tasks_folders for part in ("--tasks", str(folder))]
    command += [part for task in tasks for part in ("--task", task)]
    processes = [subprocess.Popen(command, env=environment) for _ in range(jobs)]
    return max(process.wait() for process in processes)


def _round(study: Study, task: str, number: int) -> None:
    """Train a round if the one before it is done and another is worth it, and ship its adapter."""
    file = load_task(study.tasks_folders, task)
    say = _say(task)
    before = [study.round_folder(task, earlier) for earlier in range(number)]
    folder = study.round_folder(task, number)
    if not all(_finished(each, file) for each in before):
        return
    if not _finished(folder, file):
        cards = [read(each) for each in before]
        chosen = _recipe(study, file, cards, str(before[-1]) if before else None, say)
        if chosen is None:
            return
        say(f"round {number}: {chosen.steps} steps of {chosen.rows_per_update} rows")
        options = TrainOptions(
            task, BASE, "peft", chosen, study.data, study.tasks_folders, folder, score=False, fingerprint=False
        )
        train(options, say)
        if not _finished(folder, file):
            raise KeyboardInterrupt  # it was stopped by Ctrl-C; its checkpoint is kept
    shipped = study.out / task
    if not _is_shipped(folder, shipped):
        lost = _ship(file, folder, shipped, say)
        say(f"round {number}: {shipped}, {lost:.1%} of the energy lost by the cut to rank {PLANS[task].shipped}")


def _finished(folder: Path, file: TaskFile) -> bool:
    """Whether a round was trained to its end with the task's present prompt: the card is written last."""
    if not (folder / CARD).is_file() or (folder / CHECKPOINT).is_file():
        return False
    return read(folder).prompt_hash == file.prompt_hash


def _is_shipped(folder: Path, shipped: Path) -> bool:
    """Whether what is shipped was made from this round or a later one; its fingerprint is written last."""
    if not (shipped / FINGERPRINT).is_file():
        return False
    ours, theirs = read(folder), read(shipped)
    return (
        ours.prompt_hash == theirs.prompt_hash
        and ours.recipe["seed"] <= theirs.recipe["seed"]
        and theirs.shrunk_to == PLANS[theirs.task].shipped
    )


def _recipe(study: Study, file: TaskFile, cards: Sequence[Card], start: str | None, say: Say) -> Hyperparameters | None:
    """The recipe of a task's next round; None where its rows were read often enough, or no longer help."""
    from tokenizers import Tokenizer

    if len(cards) > 1:
        earlier, last = (min(card.curve["validation"]) for card in cards[-2:])
        if last > earlier * (1 - ENOUGH):
            return None
    plan = PLANS[file.name]
    rows = load(file, Prompts(file), locate(file, study.data))
    words = Tokenizer.from_file(str(Path(base_folder(BASE, say)) / "tokenizer.json"))
    encoded = encode(rows.pairs, words, 0, plan.longest)
    done = sum(card.steps * rows_per_update(card.recipe) / card.rows for card in cards)
    return recipe(plan, encoded, done, len(cards), start)


def _ship(file: TaskFile, folder: Path, shipped: Path, say: Say) -> float:
    """Write a round's adapter at its shipped rank, and return the share of energy lost.

    The fingerprint's prompts are the training rows among the sample rows that are shipped with the task.
    """
    rank = PLANS[file.name].shipped
    (shipped / FINGERPRINT).unlink(missing_ok=True)
    cut, lost = truncated(read_lora(folder), rank)
    write_lora(shipped, cut)
    write(replace(read(folder), shrunk_to=rank, energy_lost=round(lost, 4)), shipped)
    prompts, _ = training_rows(file, Prompts(file), locate(file, "sample"))
    write_fingerprint(BASE, shipped, prompts, say)
    return lost


def _say(task: str) -> Say:
    """Say something of a task, with the time of day."""
    return lambda line: print(f"{time.strftime('%H:%M:%S')} {task}: {line}", flush=True)
