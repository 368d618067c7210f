"""How complex a task is, from its rows: lengths, overlap of input and output, compressibility, entropy of outputs.

The measures are those of the LoRA Land paper (arXiv 2405.00732, section 6), with the entropy and the repetition of
outputs beside them. Lengths are counted in words.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable

import numpy as np

from harness.score.metrics.text import rouge_l_f, tokens


def measure(rows: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Return the measures of rows of input (the rendered prompt) and output (the first right answer), by name.

    Compressibility is the size after zlib as a share of the size before, of input and output together; the entropy of
    outputs is in bits, their repetition the share of rows whose output is also another row's. Memory holds numbers and
    hashes only.

    Raises:
        ValueError: there are no rows.
    """
    table: list[tuple[float, ...]] = []
    outputs: Counter[int] = Counter()
    for given, output in rows:
        words, answer = tokens(given), tokens(output)
        whole = f"{given} {output}".encode("utf-8", "backslashreplace")
        table.append(
            (len(words), len(answer), len(words) + len(answer), rouge_l_f(words, answer),
             len(zlib.compress(whole)) / len(whole))
        )  # fmt: skip
        outputs[hash(output.strip())] += 1
    if not table:
        raise ValueError("a task without rows has no complexity")
    columns = np.array(table).T
    found = {}
    for name, values in zip(("Input", "Output", "Example"), columns[:3], strict=True):
        found[f"{name} length mean"] = float(values.mean())
        found[f"{name} length std"] = float(values.std())
        found[f"{name} length p95"] = float(np.quantile(values, 0.95))
    for name, values in zip(("I/O rougeL similarity", "Example compressibility"), columns[3:], strict=True):
        found[f"{name} mean"] = float(values.mean())
        found[f"{name} std"] = float(values.std())
    shares = np.array(list(outputs.values())) / len(table)
    found["Output entropy"] = float(-(shares * np.log2(shares)).sum()) + 0.0
    found["Repeated outputs"] = sum(count for count in outputs.values() if count > 1) / len(table)
    return found
