"""Which tasks get an adapter, in which order, and how much each reads."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from harness.train.batches import Encoded
from harness.train.recipe import ALL_LINEAR, Hyperparameters

BASE = "smollm2-135m"
RANK = 8

# A round reads about so many tokens; each later round goes on from the adapter of the one before.
TOKENS = (40_000, 80_000, 160_000, 320_000, 640_000)
LEARNING_RATES = (1e-3, 5e-4, 5e-4, 5e-4, 5e-4)
MOST_EPOCHS = 6.0  # over all rounds
ENOUGH = 0.01  # a round that lowers the validation loss by a smaller share is the last


@dataclass(frozen=True, slots=True)
class Plan:
    """How a task is trained and shipped.

    `share` is of a round's tokens, `longest` the most tokens of a row, prompt and answer, `shipped` the rank that the
    adapter is cut to.
    """

    share: float = 1.0
    longest: int = 640
    shipped: int = 2


# Cheap and telling tasks first. Pairs, entities, SQL and structured text take longer to learn than topics and moods.
_SLOW = Plan(share=1.5)
# Of these a cut to rank 2 loses answers: wikisql 7 of 99. All adapters together may take 45 MB.
_EXACT = Plan(share=1.5, shipped=4)
PLANS = {
    # The first ten were trained when a round was longer.
    "glue_sst2": Plan(share=4.5),
    "ag_news": Plan(share=6.0),
    "jigsaw": Plan(),
    "e2e_nlg": Plan(),
    "conllpp": _EXACT,
    "viggo": _EXACT,
    "toxic_chat": Plan(),
    "glue_qqp": _SLOW,
    "dbpedia": Plan(),
    "covid": Plan(),
    "wikisql": _EXACT,
    "webnlg": _SLOW,
    "glue_cola": Plan(),
    "bc5cdr": _EXACT,
    "glue_mrpc": _SLOW,
    "glue_qnli": _SLOW,
    "glue_stsb": _SLOW,
    "tldr_headline_gen": Plan(),
    "legal": Plan(),
    "winogrande": Plan(),
    "arc_combined": Plan(),
    "boolq": Plan(),
    "glue_wnli": Plan(),
    "mmlu": Plan(),
    "drop": Plan(share=1.5, longest=900),
    "mbpp": Plan(),
    "tldr_content_gen": Plan(),
    "gsm8k": Plan(),
    "reuters": Plan(share=1.5, longest=1_024),
    "contract_qa": Plan(share=2.0, longest=1_700),
}


def validation_share(rows: int) -> float:
    """Return the share of a task's training rows that is held out: 64 rows, but no more than a fifth."""
    return min(0.2, 64 / rows)


def recipe(plan: Plan, encoded: Encoded, done: float, number: int, start: str | None) -> Hyperparameters | None:
    """Return the recipe of a task's next round, None where its rows were read often enough.

    Args:
        plan: Of the task.
        encoded: Its rows.
        done: Epochs of the rounds before.
        number: Of this round, from 0.
        start: Folder of the adapter to go on from.
    """
    own = statistics.fmean(len(rest) + len(answer) for rest, answer in encoded.rows)
    batch = 32 if own < 45 else 16 if own < 400 else 8
    held_out = validation_share(len(encoded.rows))
    steps_an_epoch = len(encoded.rows) * (1 - held_out) / batch
    steps = TOKENS[number] * plan.share / (len(encoded.frame) + batch * own)
    steps = round(min(steps, (MOST_EPOCHS - done) * steps_an_epoch))
    if steps < 8:
        return None
    return Hyperparameters(
        steps=steps,
        rank=RANK,
        alpha=2 * RANK,
        dropout=0.0,
        target_modules=ALL_LINEAR,
        learning_rate=LEARNING_RATES[number],
        warmup=0.04,
        rows_per_update=batch,
        validation=held_out,
        longest=plan.longest,
        start=start,
        seed=number,
    )
