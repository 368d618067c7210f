"""A figure or a verdict that two outputs show is the same in both: page, tables, plots, `compare`, `gate`, `bench`.

One report of real runs, read back as a reader would: the HTML and Markdown tables, the CSV and LaTeX files, what the
plots draw, and what the commands print. The runs are made so that careless definitions disagree: metrics to 100 and of
errors, a model that lacks a task, a price that is known of one task only, and latencies whose order depends on whether
answers or tasks are counted.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from harness.ask.run import BenchOptions, bench
from harness.cli import main
from tests.loopback import Loopback

pytestmark = pytest.mark.filterwarnings("ignore")  # the evaluate library's own

LABELS = ("red", "green", "blue")
TASK = """\
title: {title}
category: {category}
dataset: {{files: {{train: {name}-train.jsonl, test: {name}-test.jsonl}}}}
prompt: "{name} {{{{ i }}}}: which of red, green and blue?"
target: "{{{{ answer }}}}"
answer: {answer}
metrics: {metrics}
max_tokens: 40
"""
METRIC = """\
import datasets
import evaluate


class {name}(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        features = datasets.Features({{"predictions": text, "references": text}})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references):
        same = sum(a == b for a, b in zip(predictions, references)) / len(references)
        return {{"{entry}": {formula}}}
"""
ROWS = {"colours": 80, "shades": 30, "stories": 20, "translation": 20, "distance": 20}
SHARES = {  # how many of ten rows a model answers right
    "dear": {"colours": 6, "shades": 5, "stories": 6, "translation": 9, "distance": 4},
    "plain": {"colours": 2, "stories": 1, "translation": 2, "distance": 1},
    "tuned": {"colours": 9, "shades": 7, "stories": 9, "translation": 3, "distance": 6},
}
SECONDS = {  # of all answers tuned is the fastest, of the tasks' medians dear is
    "dear": dict.fromkeys(ROWS, 0.5),
    "tuned": {"colours": 0.1, "shades": 0.1, "stories": 0.9, "translation": 0.9, "distance": 0.9},
    "plain": dict.fromkeys(ROWS, 0.7),
}
PRICES = {"dear": {"input": 30, "output": 60}, "tuned": {"input": 0.5, "output": 0.5}}


def make_results(folder: Path, loopback: Loopback) -> BenchOptions:
    tasks = folder / "tasks"
    tasks.mkdir()
    for name, entry, formula in (("percent", "percent", "100 * same"), ("wrong", "wrong", "5 * (1 - same)")):
        (folder / f"{name}.py").write_text(METRIC.format(name=name.title(), entry=entry, formula=formula))
    metrics = {
        "translation": json.dumps([{"evaluate": str(folder / "percent.py")}, "rouge_l"]),
        "distance": json.dumps([{"evaluate": {"metric": str(folder / "wrong.py"), "higher_is_better": False}}]),
        "stories": "[rouge_l]",
    }
    for name, n in ROWS.items():
        label = name in ("colours", "shades")
        category, answer = (
            ("classification", "{type: label, labels: [red, green, blue]}") if label else ("generation", "{type: text}")
        )
        text = TASK.format(
            title=name.title(),
            name=name,
            category=category,
            answer=answer,
            metrics=metrics.get(name, "[accuracy, macro_f1]"),
        )
        (tasks / f"{name}.yaml").write_text(text)
        for split, start in (("test", 0), ("train", n)):
            rows = [{"i": i, "answer": reference(name, i)} for i in range(start, start + n)]
            (tasks / f"{name}-{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = BenchOptions((), (), folder / "models.yaml", tasks, folder / "results")
    entries: dict[str, Any] = {"majority": {"backend": "baseline", "method": "majority"}}
    write_models(options, entries)
    bench(options, lambda line: None)
    for model, shares in SHARES.items():
        entries[model] = {"backend": "openai", "base_url": loopback.openai_url, "model": model, "concurrency": 4}
        entries[model] |= {"price": PRICES[model]} if model in PRICES else {}
        entries[model] |= {"base": "plain"} if model == "tuned" else {}
        loopback.answer = lambda prompt, shares=shares: answer_of(prompt, shares)
        for task in shares:
            if model == "plain":  # its price is known of one task only
                entries[model]["price"] = {"input": 9, "output": 9} if task == "stories" else None
                entries[model] = {key: value for key, value in entries[model].items() if value is not None}
            write_models(options, entries)
            bench(BenchOptions((task,), (model,), *list(vars_of(options))[2:]), lambda line: None)
            set_seconds(options.results / task / model / "responses.jsonl", SECONDS[model][task])
    write_models(options, entries)
    return options


def vars_of(options: BenchOptions) -> Iterable[Any]:
    return (getattr(options, name) for name in options.__dataclass_fields__)


def write_models(options: BenchOptions, entries: dict[str, Any]) -> None:
    options.models_file.write_text(json.dumps(entries))


def reference(task: str, i: int) -> str:
    colour = LABELS[i * 7 % 3]
    return colour if task in ("colours", "shades") else f"once there was number {i} and it was {colour}"


def answer_of(prompt: str, shares: dict[str, int]) -> str:
    task, i = prompt.split(":")[0].split()
    right = int(i) * 3 % 10 < shares[task]
    return reference(task, int(i)) if right else reference(task, int(i) + 1)


def set_seconds(path: Path, seconds: float) -> None:
    """What a clock would have measured, so that the test knows it."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for i, line in enumerate(lines):
        line["latency_s"] = seconds * (1 + i / 1000)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def command(*arguments: str) -> str:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(sys, "argv", ["harness", *arguments])
        with pytest.raises(SystemExit):
            main()
    return out.getvalue()


class Page(HTMLParser):
    """The tables of a page by the element with an id that they stand in, as lines of texts; and its verdicts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[list[str]]]] = defaultdict(list)
        self.verdicts: dict[str, str] = {}
        self.text = ""
        self._view, self._cell, self._verdict = "", False, False
        self._hidden = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if "view" in (attributes.get("class") or "").split():
            self._view = attributes["id"] or ""
        self._hidden += tag in ("script", "style", "template")  # a template is shown once its models are chosen
        if self._hidden:
            return
        if tag == "table":
            self.tables[self._view].append([])
        if tag == "tr" and self.tables[self._view]:
            self.tables[self._view][-1].append([])
        if tag in ("td", "th"):
            self._cell = True
            self.tables[self._view][-1][-1] += [""] * int(attributes.get("colspan") or 1)
        if tag == "p" and attributes.get("class") == "verdict":
            self._verdict = True

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style", "template")
        if self._hidden:
            return
        if tag in ("td", "th"):
            self._cell = False
        self._verdict &= tag != "p"

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        self.text += data
        if self._cell:
            self.tables[self._view][-1][-1][-1] += f" {data}"
        if self._verdict:
            self.verdicts[self._view] = " ".join(f"{self.verdicts.get(self._view, '')}{data}".split())

    def table(self, view: str, *columns: str) -> dict[str, dict[str, str]]:
        """The lines of the first table in a view that has these columns, by their first cell and column."""
        for head, *lines in self.tables[view]:
            names = [" ".join(name.split()).replace("_ ", "_") for name in head]
            if set(columns) <= set(names):
                rows = [[" ".join(cell.split()) for cell in line] for line in lines]
                return {line[0]: dict(zip(names, line, strict=True)) for line in rows}
        raise AssertionError(f"no table with {columns} in {view or 'the page'}")


def markdown_tables(text: str) -> list[list[dict[str, str]]]:
    found = []
    for block in re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE):
        head, _, *lines = ([c.strip() for c in line.strip().strip("|").split("|")] for line in block.splitlines())
        found.append([dict(zip(head, line, strict=True)) for line in lines])
    return found


ABSENT = ("–", "?", "", "None", "nan")


def digits(text: str) -> int:
    return len(text.partition(".")[2])


def agree(a: str, b: str) -> bool:
    """Whether two texts are one number, the one with fewer decimals rounded; or one text."""
    a, b = (text.replace("−", "-").replace(",", "").replace("+", "").replace("< ", "<").strip("* ") for text in (a, b))
    if a in ABSENT or b in ABSENT:
        return a in ABSENT and b in ABSENT
    for one, other in ((a, b), (b, a)):
        if one.startswith("<"):
            return other.startswith("<") or 0 < float(other) < float(one[1:])
    try:
        x, y = float(a), float(b)
    except ValueError:
        return a == b
    return abs(x - y) <= 0.5000001 * 10.0 ** -min(digits(a), digits(b))


class Said:
    """What the outputs say of each figure."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)

    def add(self, output: str, value: Any, *figure: str) -> None:
        self.of[figure][output] = str(value)

    def interval(self, output: str, text: str, *figure: str) -> None:
        """Take `0.912 [0.893, 0.928]` apart."""
        numbers = re.findall(r"[-−+]?\d[\d,]*\.?\d*", text) or [ABSENT[0]] * 3
        for name, value in zip(("score", "low", "high"), numbers[:3], strict=False):
            self.add(output, value.rstrip(","), *figure, name)

    def disagreements(self) -> list[str]:
        found = []
        for figure, values in self.of.items():
            first, *rest = values.values()
            if not all(agree(first, other) for other in rest):
                found.append(f"{' '.join(figure)}: {', '.join(f'{who} {value}' for who, value in values.items())}")
        return found

    def shared(self) -> dict[str, int]:
        """By the last word of a figure, the most outputs that show it."""
        most: dict[str, int] = defaultdict(int)
        for figure, values in self.of.items():
            most[figure[-1]] = max(most[figure[-1]], len(values))
        return most


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The plots that are drawn, by name."""
    drawn: dict[str, Figure] = {}
    save = Figure.savefig

    def keep(figure: Figure, path: Any, **settings: Any) -> None:
        if isinstance(path, Path):
            drawn[path.stem] = figure
        save(figure, path, **settings)

    monkeypatch.setattr(Figure, "savefig", keep)
    return drawn


PER_RUN = ("p50 s", "p95 s", "tokens in", "tokens out", "USD", "unparsed", "truncated", "refused", "failed", "ok", "n")
COMPARED = (
    "score", "low", "mean score", "mean rank", "USD per 1,000 rows", "frontier", "p50", "p95", "fastest", "p",
    "difference", "USD", "tokens in", "ok", "rows", "no valid answer", "won", "lost", "lift", "order of models",
    "highest", "sentence", "beyond chance", "worse than the best", "lead",
)  # fmt: skip
IN_CSV = {"p50 s": "p50_s", "p95 s": "p95_s", "tokens in": "input_tokens", "tokens out": "output_tokens", "USD": "usd"}


def test_no_two_outputs_say_two_figures(
    tmp_path: Path, loopback: Loopback, figures: dict[str, Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("harness.plugins._scripts_allowed", True)  # what --allow-code does
    monkeypatch.setattr("harness.report.plots.draw.FEW", 100)  # in this process, where `figures` sees them
    options = make_results(tmp_path, loopback)
    out = tmp_path / "reports"
    command("report", "--results", str(options.results), "--out", str(out))
    said = Said()
    frame = pd.read_csv(out / "leaderboard.csv")
    _csv(said, frame)
    html = (out / "index.html").read_text(encoding="utf-8")
    markdown = (out / "leaderboard.md").read_text(encoding="utf-8")
    _page(said, Page(html), html)
    _markdown(said, markdown)
    _latex(said, (out / "leaderboard.tex").read_text(encoding="utf-8"))
    _plots(said, figures, frame)
    _compare(said, options)
    _gate(said, options)
    _bench(said, options)
    assert said.disagreements() == [], "\n".join(said.disagreements())
    shared = said.shared()
    for name in COMPARED:
        assert shared[name] >= 2, f"{name} is compared with nothing"


def _csv(said: Said, frame: pd.DataFrame) -> None:
    for row in frame.to_dict("records"):
        where = (row["task"], row["model"])
        for name in ("score", "low", "high"):
            said.add("csv", f"{row[name]:.6g}", *where, row["metric"], name)
        if row["is_main"]:
            for name in PER_RUN:
                value = row[IN_CSV.get(name, name)]
                whole = not name.startswith(("p", "USD"))
                said.add("csv", "–" if pd.isna(value) else f"{value:.0f}" if whole else f"{value:.6g}", *where, name)
    for model, part in frame[frame["is_main"]].groupby("model"):
        said.add("csv", part["n"].sum(), model, "rows")
        said.add("csv", (part["n"] - part["ok"]).sum(), model, "no valid answer")


def _page(said: Said, page: Page, html: str) -> None:
    models = page.table("overview", "model", "mean rank")
    for name, row in models.items():
        model = name.split()[0]
        said.interval("page", row["mean rank"], model, "mean rank")
        said.add("page", row["mean rank"].split()[0], model, "mean rank")
        said.interval("page", row["mean score"], model, "mean score")
        said.add("page", row["mean score"].split()[0], model, "mean score")
        said.add("page", row["rows"], model, "rows")
        said.add("page's models", row["USD per 1,000 rows"].split()[0], model, "USD per 1,000 rows")
        said.add("page", row["no valid answer"], model, "no valid answer")
        if row["▲ won"] != "reference":
            said.add("page", row["▲ won"], model, "won")
            said.add("page", row["▼ lost"], model, "lost")
    said.add("page", " ".join(name.split()[0] for name in models), "order of models")
    for model, row in page.table("overview", "USD per 1,000 rows", "frontier").items():
        said.add("page's costs", row["mean score"], model, "mean score")
        said.add("page's costs", row["USD per 1,000 rows"], model, "USD per 1,000 rows")
        said.add("page's costs", row["frontier"] == "yes", model, "frontier")
    for model, row in page.table("overview", "instead of").items():
        said.add("page's break-even", row["USD per 1,000 rows"], model, "USD per 1,000 rows")
    latency = page.table("overview", "p50", "p95")
    for model, row in latency.items():
        said.add("page", row["p50"], model, "p50")
        said.add("page", row["p95"], model, "p95")
    said.add("page", min(latency, key=lambda model: float(latency[model]["p50"])), "fastest")
    board = page.table("overview", "task", "dear", "tuned")
    for task_cell, row in board.items():
        task = task_cell.split()[0]
        for model in ("majority", *SHARES):
            cell = row[model]
            if cell == "–":
                continue
            said.add(
                "page's board", re.search(r"\d+\.\d+", cell)[0], task, model, task_cell.split()[1].rstrip(","), "score"
            )  # type: ignore[index]
            said.add("page's board", "★" in cell, task, model, "highest")
            if "★" in cell or "≈" in cell:
                said.add("page's board", False, task, model, "worse than the best")
            else:
                said.add("page's board", True, task, model, "worse than the best")
            verdict = "better" if "▲" in cell else "worse" if "▼" in cell else "no"
            if model != "dear":
                said.add("page's board", verdict, task, model, "dear", "beyond chance")
    for task in ROWS:
        _page_task(said, page, task)
    lift = re.search(r"tuned beats (?:its base )?plain on (\d+) of (\d+) tasks", page.text)
    assert lift
    said.add("page", lift[1], "tuned", "lift")
    lead = re.search(r"(\d+\.\d) points (higher|lower)", page.text)
    assert lead
    said.add("page", lead[1], "tuned", "dear", "lead")
    means = re.search(r"points (?:higher|lower): ([\d.]+) against ([\d.]+)", page.text)
    assert means
    # Over the tasks of these two, one of which the third model was not asked.
    said.add("page's means", f"{100 * abs(float(means[1]) - float(means[2])):.1f}", "tuned", "dear", "lead")
    tuned = next(row for name, row in models.items() if name.split()[0] == "tuned")
    said.add("page's models", tuned["points"].split()[0].lstrip("+−"), "tuned", "dear", "lead")
    prices = re.search(r"at ([\d.,]+) USD against ([\d.,]+) USD per 1,000 rows", page.verdicts["overview"])
    assert prices
    for model, price in zip(("tuned", "dear"), prices.groups(), strict=True):
        said.add("page's verdict", price, model, "USD per 1,000 rows")
    for part in html.split('<template data-a="')[1:]:
        a, b = part.split('"', 3)[0], part.split('"', 3)[2]
        if b == "dear":
            counts = dict(re.findall(r'<li class="(won|lost)"><b>(\d+)</b>', part.split("</template>")[0]))
            for name in ("won", "lost"):
                said.add("page's choice", counts[name], a, name)
        if a == "dear":  # the other way round
            counts = dict(re.findall(r'<li class="(won|lost)"><b>(\d+)</b>', part.split("</template>")[0]))
            for name, mirrored in (("won", "lost"), ("lost", "won")):
                said.add("page's choice, turned", counts[name], b, mirrored)


def _page_task(said: Said, page: Page, task: str) -> None:
    view = f"task-{task}-benchmark"
    said.add("page", page.verdicts[view], task, "sentence")
    scores = page.table(view, "model", "p50 s")
    for name, row in scores.items():
        model = name.split()[0]
        for metric in [name for name in row if name in ("accuracy", "macro_f1", "rouge_l", "percent", "wrong")]:
            said.interval("page", re.sub(r"^\D*", "", row[metric]), task, model, metric)
        for column in PER_RUN:
            if column in row:
                said.add("page", row[column], task, model, column)
    for model, row in page.table(view, "difference, 95 % interval").items():
        _pair(said, "page", task, model, "dear", row["difference, 95 % interval"], row["p"])
        verdict = row["verdict"].split()[0]
        said.add("page", verdict if verdict in ("better", "worse") else "no", task, model, "dear", "beyond chance")
        best = next(name.split()[0] for name, cells in scores.items() if "★" in " ".join(cells.values()))
        if best == "dear":
            said.add("page's pairs", verdict == "worse", task, model, "worse than the best")
        if best == model:
            said.add("page's pairs", verdict == "better", task, "dear", "worse than the best")


def _pair(said: Said, output: str, task: str, a: str, b: str, numbers: str, p: str) -> None:
    """A minus B, low and high in `numbers`; kept as dear's opponent minus dear where dear is one of them."""
    found = [float(text.replace("−", "-")) for text in re.findall(r"[-−+]\d+\.\d+", numbers)]
    if a > b:
        a, b, found = b, a, [-found[0], -found[2], -found[1]]
    for name, value in zip(("difference", "low", "high"), found, strict=True):
        said.add(output, f"{value:.3f}", task, a, "minus", b, name)
    said.add(output, p.removeprefix("p ").removeprefix("= ").replace("< ", "<"), task, a, "minus", b, "p")


SENTENCE = re.compile(
    r"(\w+) (?:beats|loses to|leads|and) (\w+).*?\(([-−+][\d.]+) \w+, 95 % interval ([-−+][\d.]+) to ([-−+][\d.]+), "
    r"p (?:= )?(< ?[\d.]+|[\d.]+)"
)


def _sentence(said: Said, output: str, task: str, text: str) -> None:
    found = SENTENCE.search(text)
    assert found, text
    _pair(said, output, task, found[1], found[2], " ".join(found.group(3, 4, 5)), found[6])


def _markdown(said: Said, text: str) -> None:
    wide, *rest = markdown_tables(text)
    for row in wide:
        model = row["model"]
        for column, cell in row.items():
            if column.startswith("mean"):
                said.add("markdown's scores", cell, model, "mean score")
            elif (match := re.fullmatch(r"(\w+) \((\w+)\)", column)) and cell != "–":
                said.add("markdown's scores", cell.strip("*"), match[1], model, match[2], "score")
                said.add("markdown's scores", cell.startswith("**"), match[1], model, "highest")
    said.add("markdown's scores", " ".join(row["model"] for row in wide), "order of models")
    standings = next(table for table in rest if "mean rank" in table[0])
    said.add("markdown's standings", " ".join(row["model"] for row in standings), "order of models")
    for row in standings:
        model = row["model"]
        mean = row.get("macro average") or row["mean score"]
        for name, cell in (("mean rank", row["mean rank"]), ("mean score", mean)):
            said.interval("markdown", cell, model, name)
            said.add("markdown's standings", cell.split()[0], model, name)
        said.add("markdown", row["USD per 1,000 rows"], model, "USD per 1,000 rows")
        counts = next(cell for column, cell in row.items() if column.startswith("won"))
        if counts != "–":
            won, _, lost = counts.split(", ")
            said.add("markdown", won, model, "won")
            said.add("markdown", lost, model, "lost")
        lift = re.search(r"better on (\d+) of (\d+)", " ".join(row.values()))
        if lift:
            said.add("markdown", lift[1], model, "lift")
    for part in text.split("\n### ")[1:]:
        task = part.split(":")[0]
        if task in ROWS:
            (sentence,) = re.findall(r"^.*95 % interval .*\)[.;].*$", part, flags=re.MULTILINE)
            said.add("markdown", " ".join(sentence.split()), task, "sentence")
            _sentence(said, "markdown", task, sentence)
            table = next(table for table in markdown_tables(part) if "metric" in table[0])
            for row in table:
                said.interval("markdown", row["score"], task, row["model"], row["metric"])
                for column in PER_RUN:
                    said.add("markdown", row[column], task, row["model"], column)


def _latex(said: Said, text: str) -> None:
    lines = [
        [cell.strip() for cell in line.removesuffix("\\\\").split("&")] for line in text.splitlines() if "&" in line
    ]
    head, *body = lines
    said.add("latex", " ".join(head[2:]), "order of models")
    for task, metric, *cells in body:
        for model, cell in zip(head[2:], cells, strict=True):
            if cell not in ("–", "\\textendash{}"):
                said.add("latex", cell, task, model, metric.replace("\\_", "_"), "score")


def _plots(said: Said, figures: dict[str, Figure], frame: pd.DataFrame) -> None:
    metric = frame[frame["is_main"]].drop_duplicates("task").set_index("task")["metric"].to_dict()
    for task in ROWS:
        (axes,) = figures[task].axes
        names = [label.get_text().split()[0] for label in axes.get_yticklabels()]
        for text in axes.texts:
            if re.match(r"\d", text.get_text()):
                model = names[round(text.get_position()[1])]
                said.interval("plot", text.get_text().split("]")[0], task, model, metric[task])
    (axes,) = figures["latency"].axes
    names = [label.get_text().split()[0] for label in axes.get_yticklabels()]
    for text in axes.texts:
        p50, p95 = re.findall(r"\d+\.\d+", text.get_text())[:2]
        model = names[round(text.xy[1])]
        said.add("plot", p50, model, "p50")
        said.add("plot", p95, model, "p95")
    said.add("plot", names[0], "fastest")
    (axes,) = figures["frontier"].axes
    points = {text.get_text().split()[0]: text.xy for text in axes.texts if hasattr(text, "xy")}
    joined = {
        tuple(point)
        for line in axes.get_lines()
        if line.get_drawstyle().startswith("steps")
        for point in line.get_xydata()
    }
    for model, (usd, score) in points.items():
        said.add("plot", f"{score:.6f}", model, "mean score")
        said.add("plot", f"{usd:.6f}", model, "USD per 1,000 rows")
        said.add("plot", (usd, score) in joined, model, "frontier")
    for text in axes.texts:
        if "free" in text.get_text():
            said.add("plot", f"{text.get_position()[1]:.6f}", text.get_text().split()[0], "mean score")
    (axes,) = figures["heat"].axes
    said.add("plot", " ".join(label.get_text().split()[0] for label in axes.get_xticklabels()), "order of models")
    lift = next(text.get_text() for text in figures["adapter-tuned"].texts if " of " in text.get_text())
    found = re.search(r"(\d+) of (\d+) tasks", lift)
    assert found
    said.add("plot", found[1], "tuned", "lift")


def _compare(said: Said, options: BenchOptions) -> None:
    for model in ("majority", "plain", "tuned"):
        text = command("compare", model, "dear", "--results", str(options.results))
        for line in textwrap.dedent(text).splitlines():
            if re.match(r"\w+: [\w ]+, ", line):
                task = line.split(":")[0]
            elif found := re.match(rf"{model} ([\d.]+), dear ([\d.]+) (\w+)", line):
                said.add("compare", found[1], task, model, found[3], "score")
                said.add("compare", found[2], task, "dear", found[3], "score")
            numbers = re.search(r"\(([-−+].*?), p (?:= )?(< ?[\d.]+|[\d.]+)", line)
            if numbers and "interval" in line:
                _pair(said, "compare", task, model, "dear", numbers[1], numbers[2])
        won = re.search(rf"{model} (?:is better than|beats) dear on (\d+) of", text)
        lost = re.search(rf"{model} loses to dear on (\d+) of|worse on (\d+)|loses (\d+)\b", text)
        assert won or lost, text
        said.add("compare", won[1] if won else "0", model, "won")
        said.add("compare", lost[lost.lastindex or 0] if lost else "0", model, "lost")


def _gate(said: Said, options: BenchOptions) -> None:
    for model in ("majority", "plain", "tuned"):
        text = command("gate", model, "--against", "dear", "--results", str(options.results))
        found = re.findall(r"^(?:passed|failed|undecided) +(\w+) +(.*)$", text, flags=re.MULTILINE)
        assert found, text
        for task, reason in found:
            _sentence(said, "gate", task, reason)


def _bench(said: Said, options: BenchOptions) -> None:
    where = ("--models", options.models_file, "--tasks", options.tasks_folder, "--results", options.results)
    asked = [
        str(argument) for argument in ("bench", "--model", "dear", "--model", "tuned", "--model", "majority", *where)
    ]
    text = command(*asked)
    for block in re.split(r"\n\n", text):
        lines = block.strip().splitlines()
        head = next((i for i, line in enumerate(lines) if line.startswith("model ")), None)
        if head is None:
            continue
        task = lines[head - 1].split(":")[0]
        if task not in ROWS:
            continue  # the standings at the end
        names = re.split(r" {2,}", lines[head].strip())
        for line in lines[head + 1 :]:
            cells = re.split(r" {2,}", line.strip())
            if len(cells) != len(names):
                _sentence(said, "bench", task, line)
                continue
            row = dict(zip(names, cells, strict=True))
            for name, cell in row.items():
                if name in ("accuracy", "macro_f1", "rouge_l", "percent", "wrong"):
                    said.interval("bench", cell, task, row["model"], name)
                elif name in PER_RUN:
                    said.add("bench", cell, task, row["model"], name)
    for entry in json.loads(command(*asked, "--json"))["results"]:
        where = entry["task"], entry["model"]
        for name in ("score", "low", "high"):
            said.add("bench --json", f"{entry[name]:.6f}", *where, entry["metric"], name)
        for name in ("p50 s", "p95 s", "tokens in", "tokens out", "USD"):
            value = entry[IN_CSV[name]]
            shown = "–" if value is None else f"{value:.0f}" if "tokens" in name else f"{value:.6f}"
            said.add("bench --json", shown, *where, name)
        for status, count in entry["statuses"].items():
            said.add("bench --json", count, *where, status)
