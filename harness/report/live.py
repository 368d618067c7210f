"""The page of runs that are under way: answers so far, and scores only of what is complete."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from threading import Lock

from harness.compare.intervals import first_score
from harness.errors import HarnessError
from harness.report.words import interval, plural
from harness.score.rules import Rules
from harness.score.scoring import ScoredRun, score_all
from harness.store.results import read_manifests
from harness.store.running import Running, SoFar, read_running, so_far

REFRESH_S = 2

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; --bar: #0072b2; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line); }}
progress {{ accent-color: var(--bar); width: 100%; min-width: 6rem; }}
.small {{ opacity: .75; }}
@media (max-width: 40rem) {{ .bar {{ display: none; }} }}
</style>
<main>
{body}
</main>
<script>
"use strict";
const main = document.querySelector("main");
const timer = setInterval(async () => {{
  try {{
    const text = await (await fetch("/", {{cache: "no-store"}})).text();
    const page = new DOMParser().parseFromString(text, "text/html");
    main.replaceWith(page.querySelector("main"));
    document.title = page.title;
  }} catch {{
    clearInterval(timer);
    document.title = "Ended";
    document.querySelector("h1").textContent = "The run has ended, or was stopped";
  }}
}}, {milliseconds});
</script>
</html>
"""
_HEAD = '<tr><th>task</th><th>model</th><th class="bar"></th><th>answers so far</th><th>score when complete</th></tr>'


class Live:
    """What the page shows; scores of a finished pair are computed once."""

    def __init__(self, results: Path, rules: Rules) -> None:
        self._results, self._rules = results, rules
        self._scores: dict[tuple[str, str, str], str] = {}
        self._one_at_a_time = Lock()

    def page(self) -> str:
        """Return the page as it is now; may be called by several threads."""
        with self._one_at_a_time:
            return self._made()

    def _made(self) -> str:
        runs = read_running(self._results)
        found = [(run, [so_far(self._results, pair) for pair in run.pairs]) for run in runs]
        answers = sum(one.answers for _, pairs in found for one in pairs)
        wanted = sum(one.pair.wanted for _, pairs in found for one in pairs)
        title = f"{answers:,} of {wanted:,} answers so far" if runs else "No run is under way"
        body = [f"<h1>{title}</h1>"]
        if not runs:
            body.append(f"<p>Nothing is being asked in {escape(str(self._results))} now.</p>")
        body += [self._run(run, pairs) for run, pairs in found]
        body.append(
            '<p class="small">A score is shown once all answers of a model to a task are there; who is better is said '
            "when the run has ended, in its table and by <code>harness report</code>.</p>"
        )
        return _PAGE.format(title=title, body="\n".join(body), milliseconds=REFRESH_S * 1000)

    def _run(self, run: Running, pairs: Sequence[SoFar]) -> str:
        scores = self._finished(run)
        rows = "".join(
            f"<tr><td>{escape(one.pair.task)}</td><td>{escape(one.pair.model)}</td>"
            f'<td class="bar"><progress aria-label="answers" max="{one.pair.wanted}" value="{one.answers}">'
            "</progress></td>"
            f"<td>{one.answers:,} of {one.pair.wanted:,}{f', {one.failed:,} failed' if one.failed else ''}</td>"
            f"<td>{escape(scores.get((one.pair.task, one.pair.model), ''))}</td></tr>"
            for one in pairs
        )
        return f'<p class="small">Started {escape(run.started)}</p>\n<table>{_HEAD}{rows}</table>'

    def _finished(self, run: Running) -> dict[tuple[str, str], str]:
        """The scores of the pairs of a run that were recorded since it began."""
        of_run = {(pair.task, pair.model) for pair in run.pairs}
        found = [
            one
            for one in read_manifests(self._results)
            if (one.task, one.model) in of_run and one.started >= run.started
        ]
        for manifest in found:
            key = (manifest.task, manifest.model, manifest.started)
            if key not in self._scores:
                try:
                    scored = score_all(self._results, [manifest], lambda line: None, self._rules)
                except HarnessError:  # the run's own table says why
                    scored = []
                self._scores[key] = _score(scored[0]) if scored else "cannot be scored here"
        return {(one.task, one.model): self._scores[one.task, one.model, one.started] for one in found}


def _score(run: ScoredRun) -> str:
    found = first_score(run)
    incomplete = " (incomplete)" if run.manifest.incomplete else ""
    return f"{run.metrics[0].name} {interval(found)}, {plural(found.n, 'row')}{incomplete}"
