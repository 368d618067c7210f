"""`harness retry` as a user and a script see it."""

from __future__ import annotations

import json

from tests.commands.conftest import Command
from tests.loopback import Loopback, always, healthy
from tests.runs import ROWS, Small


def test_exit_codes_tell_whether_anything_is_still_missing(harness: Command, small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url)
    loopback.plan = always("invalid")
    small.bench()
    code, out, _ = harness("retry", *small.arguments(data=False))
    assert code == 3
    assert f"sample (n={ROWS}): small, m: {ROWS} of {ROWS} rows have no answer" in out
    loopback.plan = healthy
    code, out, _ = harness("retry", "--json", *small.arguments(data=False))
    assert code == 0
    assert json.loads(out)["results"][0]["statuses"]["ok"] == ROWS
    code, out, _ = harness("retry", *small.arguments(data=False))
    assert (code, out) == (0, "every row of these runs has an answer\n")
