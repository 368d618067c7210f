"""Rankings, faults of judges and agreement, as text and as one JSON document."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from harness.compare.intervals import Estimate
from harness.judge.agreement import Agreement
from harness.judge.analysis import JudgeFindings
from harness.judge.faults import Faults
from harness.judge.judge import Judged
from harness.judge.ranking import ANCHOR_ELO, Ranking
from harness.report.words import ABSENT, capital, interval, number, plural, small

NOT_RANKABLE = "not rankable from these votes"
BEYOND = 1e6
"""From here an end of an interval is no limit."""
ONE_JUDGE = "one judge alone cannot tell a preference for its family from quality"


def text(found: JudgeFindings) -> str:
    """All of it as tables with a line above each."""
    return "\n\n".join(filter(None, _blocks(found)))


def as_json(found: JudgeFindings) -> dict[str, Any]:
    """All of it as plain values; an infinite end of an interval is null."""
    return {
        "rankings": [
            {"over": over, **_ranking(ranking)} for over, rankings in found.rankings.items() for ranking in rankings
        ],
        "judges": [_plain(one) for one in found.faults],
        "agreement": [_plain(one) for one in found.agreements],
        "related": {judge: dict(names) for judge, names in found.related.items()},
        "preference_for_family": {judge: _plain(one) for judge, one in found.preference.items()},
        "finals": {name: _plain(one) for name, one in found.finals.items()},
        "sampling": None if found.tournament is None else _as_sampled(found.tournament),
    }


def _blocks(found: JudgeFindings) -> Iterator[str]:
    for over, rankings in found.rankings.items():
        for ranking in rankings:
            yield _standings(over, ranking)
    if found.faults:
        yield _table(map(_judge, found.faults))
    if found.agreements:
        yield "Agreement\n" + _table(map(_agreeing, found.agreements))
    if found.tournament and found.tournament.finalists:
        yield _confirmation(found.tournament.finalists, found.finals)
    if found.tournament:
        yield _sampling(found.tournament)
    for judge, names in found.related.items():
        yield _relation(judge, names, found.preference.get(judge))


def _table(rows: Iterable[Mapping[str, object]]) -> str:
    return tabulate(list(rows), headers="keys", disable_numparse=True)


def _standings(over: str, ranking: Ranking) -> str:
    held = f", {' and '.join(ranking.controlled)} held equal" if ranking.controlled else ""
    anchor = f", {ranking.anchor} = {ANCHOR_ELO:,.0f}" if ranking.anchor else ""
    head = f"{capital(over)}{held}: {plural(ranking.votes, 'vote')} on {plural(ranking.rows, 'row')}{anchor}"
    rows = [
        {
            "rank": one.rank,
            "places": f"{one.best_rank}\N{EN DASH}{one.worst_rank}",
            "model": one.model,
            "Elo": _limited(one.elo),
            "win rate": number(one.win_rate),
            "votes": f"{one.votes:,}",
            "above the next": f"{_limited(lead)}{'' if lead.low > 0 else ', not separated'}" if lead else "",
        }
        for one, lead in zip(ranking.standings, [*ranking.next, None], strict=False)
    ]
    table = [_table(rows)] if rows else []
    left = [f"{model}: {NOT_RANKABLE}: {why}" for model, why in ranking.unrankable.items()]
    return "\n".join([head, *table, *left])


def _limited(found: Estimate, digits: int = 0) -> str:
    low, high = (number(end, digits) if abs(end) < BEYOND else "no limit" for end in (found.low, found.high))
    return f"{number(found.value, digits)} [{low}, {high}]" if found.n else ABSENT


def _judge(one: Faults) -> dict[str, str]:
    return {
        "judge": one.judge,
        "verdicts": f"{one.asked:,}",
        "unread": interval(one.unread),
        "ties": interval(one.ties),
        "flips with order": interval(one.flips),
        "orders agree": interval(one.orders_agree),
        "first place wins": interval(one.first),
        "odds, twice as long": _limited(one.longer, 2),
        "USD": small(one.usd),
        "USD a verdict": interval(one.usd_each, 5),
    }


def _agreeing(one: Agreement) -> dict[str, str]:
    return {
        "of": one.first,
        "with": one.second,
        "share": interval(one.share),
        "kappa": interval(one.kappa),
        "n": f"{one.share.n:,}",
        "share without ties": interval(one.share_without_ties),
        "kappa without ties": interval(one.kappa_without_ties),
        "n without ties": f"{one.share_without_ties.n:,}",
    }


def _relation(judge: str, names: Mapping[str, str], preference: Estimate | None) -> str:
    related = "; ".join(f"{name} ({shared})" for name, shared in names.items())
    shown = (
        f"it gives them {interval(preference)} more of the wins than other judges do"
        if preference is not None and preference.n
        else ONE_JUDGE
    )
    return f"The judge {judge} is related to {related}: {shown}."


def _confirmation(finalists: Sequence[str], finals: Mapping[str, Estimate]) -> str:
    head = " against ".join(finalists)
    return _table({"rows of": name, head: interval(one), "n": f"{one.n:,}"} for name, one in finals.items())


def _sampling(judged: Judged) -> str:
    again = f", {judged.again:,} of them once more" if judged.again else ""
    share = (judged.asked - judged.again) / judged.possible if judged.possible else 0.0
    left = ", ".join(" and ".join(pair) for pair in judged.order.open)
    return (
        f"{plural(judged.asked, 'verdict')} asked for{again} ({share:.0%} of all pairs on all rows); {judged.ended}: "
        f"{', '.join(judged.order.models)}{f'; the order of {left} stays open' if left else ''}."
    )


def _ranking(ranking: Ranking) -> dict[str, Any]:
    return {
        "controlled": list(ranking.controlled),
        "votes": ranking.votes,
        "rows": ranking.rows,
        "anchor": ranking.anchor,
        "standings": [_plain(one) for one in ranking.standings],
        "leads": [_plain(one) for one in ranking.next],
        "not_rankable": dict(ranking.unrankable),
        "models": list(ranking.models),
        "win_rates": _plain(ranking.win_rates.tolist()),
        "games": _plain(ranking.games.tolist()),
        "scores": _plain(ranking.scores.tolist()),
    }


def _as_sampled(judged: Judged) -> dict[str, Any]:
    names = ("asked", "again", "possible", "ended", "complete", "sample", "confirm", "finalists")
    return {name: getattr(judged, name) for name in names} | {"order": judged.order.models, "open": judged.order.open}


def _plain(value: Any) -> Any:
    """Dataclasses as mappings, numbers that JSON does not have as null."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value
