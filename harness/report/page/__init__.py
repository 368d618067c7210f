"""The report as a page: one HTML file that needs no network, with the rows of each task in a file of its own.

Answers, prompts and errors are untrusted text. In the HTML they are escaped by the template; rows are JSON that cannot
end a script, and the page's script puts them into the document as text only.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.report.findings import Findings
from harness.report.page.overview import overview
from harness.report.page.sources import of_all
from harness.report.page.task_view import task_view
from harness.report.published import Published
from harness.report.tables import plot_name
from harness.report.trend import TrendCell
from harness.report.words import INTERVALS, number, small, task_verdicts
from harness.score.scoring import ScoredRun
from harness.store.atomic import utf8

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

_ASSETS = files("harness.report.page") / "assets"


def page(
    found: Sequence[Findings],
    frame: pd.DataFrame,
    published: Mapping[str, Sequence[Published]],
    out: Path,
    plots: Mapping[str, str],
    inline: Sequence[tuple[str, str]] | None = None,
    *,
    history: Sequence[TrendCell] = (),
) -> Path:
    """Write `index.html` into `out` and return it.

    `frame` is the long form of the runs, `history` their past, `plots` the SVG files of the plots by name. The rows are
    in the page itself where `inline` has them, as `row_files` gives them, else in their own files.
    """
    sections = [_section(one, frame[frame["kind"] == one.kind], published, history) for one in found]
    index = out / "index.html"
    runs = [run for one in found for run in one.runs]
    out.mkdir(parents=True, exist_ok=True)
    index.write_bytes(utf8(_render(sections, runs, inline, plots)))
    return index


def _section(
    found: Findings, frame: pd.DataFrame, published: Mapping[str, Sequence[Published]], history: Sequence[TrendCell]
) -> dict[str, Any]:
    figures = published if found.kind == "benchmark" else {}
    tasks = [
        task_view(found, task, frame[frame["task"] == task], figures.get(task, ()), verdict, history)
        for task, verdict in task_verdicts(found.board).items()
    ]
    return {"kind": found.kind, "overview": overview(found.board, frame, figures), "tasks": tasks}


def _render(
    sections: Sequence[Mapping[str, Any]],
    runs: Sequence[ScoredRun],
    inline: Sequence[tuple[str, str]] | None,
    plots: Mapping[str, str],
) -> str:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_asset),
    )
    environment.filters |= {"number": number, "small": small, "unbroken": _unbroken}
    environment.globals["plot"] = lambda name, kind="benchmark": _embedded(plots, plot_name(name, kind))
    script = _asset("page.js")
    policy = (
        f"default-src 'none'; script-src 'sha256-{_sha256(script)}' 'self' file:; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return environment.get_template("page.html").render(
        sections=sections,
        facts=of_all(runs),
        policy=policy,
        style=Markup(_asset("page.css")),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704
        inline=[(key, Markup(text)) for key, text in inline or ()],  # noqa: S704 - escaped by script_json
        single_file=inline is not None,
        intervals=INTERVALS,
    )


def _unbroken(text: str) -> Markup:
    """The text with its short names in one piece: a browser breaks lines at hyphens, as in gpt-4."""
    from markupsafe import Markup

    piece = Markup('<span class="nowrap">{}</span>')
    return Markup(" ").join(piece.format(word) if "-" in word and len(word) < 25 else word for word in text.split(" "))


def _embedded(plots: Mapping[str, str], name: str) -> Markup:
    """A plot's SVG as part of the page, in the page's colours; empty where there is no such plot.

    Its paper becomes the page's background; what applies to a file alone is taken out; and because all plots number
    their parts alike, ids that something refers to get the plot's name, and the others go.
    """
    from markupsafe import Markup

    if name not in plots:
        return Markup()
    svg = plots[name][plots[name].index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", svg, flags=re.DOTALL)
    svg = svg.replace("#ffffff", "var(--bg)")
    used = set(re.findall(r'(?:url\(|href=")#([\w-]+)', svg))
    place = hashlib.sha256(name.encode()).hexdigest()[:8]  # a task's or model's name may hold what an id must not
    svg = re.sub(r' id="([\w. -]+)"', lambda found: f' id="{place}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r'(url\(|href=")#([\w-]+)', rf"\1#{place}-\2", svg)
    head = f'<svg class="plot" role="img" aria-labelledby="{place}-title {place}-desc" '
    svg = svg.replace("<svg ", head, 1).replace("<title>", f'<title id="{place}-title">', 1)
    return Markup(svg.replace("<desc>", f'<desc id="{place}-desc">', 1))  # noqa: S704 - our own; names are escaped


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
