"""Where the page's numbers come from: of all runs in a line, of one run in full."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.models.proof import Proof
from harness.report import words
from harness.report.words import ABSENT, count, plural, small
from harness.score.scoring import ScoredRun
from harness.store.results import Manifest

Facts = list[tuple[str, str]]


def one_line(runs: Sequence[ScoredRun]) -> Facts:
    """The provenance of a task in a few words: what, where it differs between runs, all of them."""
    made = [run.manifest for run in runs]
    facts = {
        "source": _each(m.source for m in made),
        "rows": _each(f"{m.n:,}" for m in made),
        "dataset": _each(words.dataset(m) for m in made),
        "prompt": _each(m.prompt_hash for m in made),
        "commit": _each(words.commit(m) for m in made),
        "version": _each(m.versions.get("lora-leaderboard", ABSENT) for m in made),
        "run": _each(m.finished[:10] for m in made),
        "cost": words.total_usd([run.usd for run in runs]),
    }
    return list(facts.items())


def of_all(runs: Sequence[ScoredRun]) -> Facts:
    """The provenance of the whole page in a few words."""
    made = [run.manifest for run in runs]
    if not made:
        return []
    days = sorted(m.finished[:10] for m in made)
    facts = {
        "source": _each(m.source for m in made),
        "runs": f"{len(runs):,} of {plural(len({m.model for m in made}), 'model')}",
        "tasks": f"{len({m.task for m in made}):,}",
        "answers": f"{sum(m.n for m in made):,}",
        "made": days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}",
        "commit": _each(words.commit(m) for m in made),
        "version": _each(m.versions.get("lora-leaderboard", ABSENT) for m in made),
        "cost": words.total_usd([run.usd for run in runs]),
    }
    return list(facts.items())


def provenance(run: ScoredRun) -> dict[str, object]:
    """All that is recorded of how a run was made, as names and values."""
    m = run.manifest
    tokens = f"{count(run.input_tokens)} in, {count(run.output_tokens)} out" if run.input_tokens else ABSENT
    return {
        "model": m.model,
        "recorded": m.model_settings.get("backend") == "recorded",
        "incomplete": bool(run.incomplete),
        "facts": [
            ("source", m.source),
            ("rows asked", f"{m.n:,} (seed {m.seed}, fingerprint {m.rows})"),
            ("dataset", words.dataset(m)),
            ("dataset fingerprint", str(m.dataset.get("fingerprint") or ABSENT)),
            ("task file (SHA-256)", m.task_sha256),
            ("prompt hash", m.prompt_hash),
            ("model settings", json.dumps(m.model_settings, ensure_ascii=False)),
            ("settings hash", m.settings),
            ("versions", ", ".join(f"{name} {version}" for name, version in m.versions.items())),
            ("commit", words.commit(m)),
            ("run", f"{m.started} to {m.finished} ({m.seconds:,.1f} s, {m.asked:,} asked in it)"),
            ("tokens", tokens),
            ("cost, USD", small(run.usd)),
            *proofs(m),
            *([("stopped", m.stopped)] if m.stopped else []),
            *(("doubt", line) for line in words.doubts([run])),
            *([("note", m.note)] if m.note else []),
        ],
    }


def proofs(run: Manifest) -> Facts:
    """What was found of whether the server applied the adapter, before the run and, where it was long, after it."""
    made = (("adapter", run.proof), ("adapter, after the run", run.proof_after))
    found = [(name, _proof(proof)) for name, proof in made if proof]
    return found or ([("adapter", "not proven")] if run.model_settings.get("fingerprint") else [])


def _proof(found: Mapping[str, Any]) -> str:
    proof = Proof(**found)
    return f"{proof} (weights {proof.weights_sha256[:12]})" if proof.weights_sha256 else str(proof)


def _each(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
