"""`harness plan` as a user and a script see it."""

from __future__ import annotations

import json
import re

from tests.commands.conftest import Command
from tests.loopback import Loopback
from tests.runs import ROWS, TASK, Small


def test_the_table_says_what_each_estimate_rests_on(harness: Command, small: Small, loopback: Loopback) -> None:
    small.model("own", loopback.openai_url)
    small.model("paid", f"{loopback.openai_url}/paid", price={"input": 1000, "output": 2000})
    code, out, err = harness("plan", *small.arguments())
    assert code == 0
    assert err == "sample (n=40): small, 40 rows\n"
    own, paid, total = (line.split() for line in out.splitlines()[2:5])
    assert own[:5] == ["small", "own", "40", "0", "40"]
    assert own[7:9] == ["?", "?"]
    assert float(paid[7]) > 0
    assert total[:4] == ["total", "80", "0", "80"]
    assert total[6] == paid[7]
    assert re.search(r"small +40 +accuracy +– +assumed: 20% discordant rows", out)
    assert "tokens in by an approximation by words, digits and signs (own, paid)" in out
    assert "prices from unknown (own); models file (paid)" in out
    assert "USD does not include own: set a price or gpu_per_hour in the models file" in out


def test_json_is_one_document_alone_on_stdout(harness: Command, small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url, price={"input": 1, "output": 2})
    code, out, _ = harness("plan", "--json", *small.arguments())
    plan = json.loads(out)
    assert code == 0
    assert plan["totals"]["ask"] == plan["pairs"][0]["ask"] == ROWS
    assert plan["totals"]["usd"] == plan["pairs"][0]["usd"] > 0
    assert plan["tasks"][0]["task"] == "small"
    assert plan["unpriced"] == []


def test_a_system_prompt_is_counted_with_every_row(harness: Command, small: Small, loopback: Loopback) -> None:
    def tokens() -> int:
        return int(json.loads(harness("plan", "--json", *small.arguments())[1])["totals"]["input_tokens"])

    small.model("m", loopback.openai_url)
    bare = tokens()
    small.task(text=TASK + f"system: {'word ' * 100}\n")
    assert 90 * ROWS <= tokens() - bare <= 110 * ROWS


def test_a_users_mistake_is_one_message_and_exit_code_2(harness: Command, small: Small) -> None:
    small.model("model-1", "http://localhost:1/v1")
    code, out, err = harness("plan", "--model", "model-2", *small.arguments())
    assert (code, out) == (2, "")
    assert err.startswith("error: no model 'model-2'")
    assert "did you mean 'model-1'?" in err
