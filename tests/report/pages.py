"""Results from real runs for the page's tests: benchmark and sample rows, baselines and recorded models.

Three tasks ask one kind of rows each or both; texts that a browser must never run are planted in a prompt, in an answer
and, through the path of a recording, in a model's error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.ask.run import BenchOptions, bench
from harness.report.findings import find, long_frame
from harness.report.page import page
from harness.report.page.rows import row_files
from harness.report.plots.draw import draw, drawings
from harness.report.published import Published
from harness.score.scoring import score_all
from harness.store.results import read_manifests, read_rows

ROWS = 60
PLANTED = "</script><script>window.planted = 1</script><img src=x onerror='window.planted = 2'>"
COLOURS = ("red", "green", "blue")
_COLOUR = """\
title: Colours
category: classification
dataset: {files: {train: train.jsonl, test: test.jsonl}}
prompt: "Which colour has {{ text }}? Answer red, green or blue."
target: "{{ colour }}"
answer: {type: label, labels: [red, green, blue]}
metrics: [accuracy, macro_f1]
max_tokens: 4
slices: [shelf]
"""
_STORY = """\
title: Stories
category: generation
dataset: {files: {train: train.jsonl, test: test.jsonl}}
prompt: "Tell of {{ text }} in a line."
target: "there was once {{ text }} that was {{ colour }}"
answer: {type: text}
metrics: [rouge_l]
max_tokens: 40
"""
_SMALL = _COLOUR.replace("Colours", "A few colours").replace(
    "{files: {train: train.jsonl, test: test.jsonl}}", "{splits: {train: train, test: test}}"
)
FIGURES = {
    "colours": [
        Published("gpt-3.5-turbo", 0.75, "accuracy", "paper"),
        Published("gpt-4", 0.7, "rouge", "blog", PLANTED),
    ]
}


def _row(i: int) -> dict[str, Any]:
    text = f"thing number {i} {PLANTED}" if i == 7 else f"thing number {i}"
    return {"text": text, "colour": COLOURS[i % 3], "shelf": "upper" if i % 2 else "lower"}


def _jsonl(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def make_results(folder: Path) -> Path:
    """Run the baselines, then three recorded models made from the rows, and return the results folder.

    `gpt` is dear and right on two rows of three; `tuned` names `plain` as its base, is right on nine of ten, answers
    row 3 with planted markup, and has no answer for row 5; `plain` is always wrong.
    """
    tasks = folder / "tasks"
    (tasks / "samples").mkdir(parents=True)
    for name, text in (("colours", _COLOUR), ("stories", _STORY), ("small", _SMALL)):
        (tasks / f"{name}.yaml").write_text(text)
    _jsonl(tasks / "test.jsonl", [_row(i) for i in range(ROWS)])
    _jsonl(tasks / "train.jsonl", [_row(i) for i in range(ROWS, ROWS + 30)])
    samples = [{**_row(i), "_split": "train" if i > 20 else "test"} for i in range(30)]
    _jsonl(tasks / "samples" / "small.jsonl", samples)
    models: dict[str, Any] = {name: {"backend": "baseline", "method": name} for name in ("majority", "tfidf")}
    options = BenchOptions((), (), folder / "models.yaml", tasks, folder / "results")
    options.models_file.write_text(json.dumps(models))
    bench(options, lambda line: None)
    # The planted markup is part of the folder's name, so that it stands in the error for a row without an answer.
    recorded = folder / "<img src=x onerror=alert(1)>"
    recorded.mkdir()
    price = {"gpt": {"input": 30, "output": 60}, "tuned": {"input": 0.5, "output": 0.5}, "plain": None}
    for name in price:
        (recorded / name).mkdir()
        for manifest in read_manifests(options.results):
            if manifest.model == "majority":
                rows = list(read_rows(options.results, manifest.task, manifest.rows))
                _jsonl(recorded / name / f"{manifest.task}.jsonl", _answers(name, rows))
        models[name] = {"backend": "recorded", "path": f"{recorded}/{name}/{{task}}.jsonl"}
        models[name] |= {"price": price[name]} if price[name] else {}
    models["tuned"]["base"] = "plain"
    options.models_file.write_text(json.dumps(models))
    bench(options, lambda line: None)
    return options.results


def _answers(model: str, rows: list[Any]) -> list[dict[str, Any]]:
    lines = []
    for i, row in enumerate(rows):
        wrong = "no story at all" if row.references[0] not in COLOURS else COLOURS[COLOURS.index(row.references[0]) - 1]
        right = {"gpt": i % 3 != 0, "tuned": i % 10 != 0, "plain": False}[model]
        text = row.references[0] if right else wrong
        if model == "tuned" and i == 3:
            text = PLANTED
        if not (model == "tuned" and i == 5):
            lines.append({"row": row.id, "completion": text, "input_tokens": 20, "output_tokens": 5})
    return lines


def make_page(results: Path, out: Path, *, single_file: bool = False) -> list[Path]:
    """Build the page of these results, with a few published figures."""
    runs = score_all(results, read_manifests(results), print)
    found, frame = find(results, runs), long_frame(runs)
    asked = drawings(frame, FIGURES, {one.kind: one.board.overall for one in found})
    svgs = draw(asked, results.parent / "plots").svgs
    rows = row_files(found, results, out, single_file=single_file)
    return [page(found, frame, FIGURES, out, svgs(), rows.inline), *rows.data]
