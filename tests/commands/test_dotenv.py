"""Keys from a `.env` beside the run: read by every command, shown by none."""

from __future__ import annotations

import pytest

from tests.commands.conftest import Command
from tests.loopback import Loopback, always, healthy
from tests.runs import Small

KEY = "sk-planted-in-$dotenv"


@pytest.fixture
def keyed(small: Small, loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> Small:
    """A model whose key and address stand in the `.env` of the current folder only."""
    for name in ("PLANTED", "PLANTED_URL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)  # so that what is read from the file is forgotten after the test
    small.model("m", "${PLANTED_URL}", api_key="${PLANTED}")
    (small.folder / ".env").write_text(f"# keys\nexport PLANTED='{KEY}'\nPLANTED_URL={loopback.openai_url}\n")
    monkeypatch.chdir(small.folder)
    return small


def test_bench_and_retry_send_the_key_of_the_file(harness: Command, keyed: Small, loopback: Loopback) -> None:
    loopback.plan = always("invalid")
    assert harness("bench", *keyed.arguments())[0] == 3
    loopback.plan = healthy
    assert harness("retry", *keyed.arguments(data=False))[0] == 0
    assert {received.headers["Authorization"] for received in loopback.received} == {f"Bearer {KEY}"}


def test_models_and_plan_know_that_it_is_set(harness: Command, keyed: Small) -> None:
    code, out, _ = harness("models", "--models", str(keyed.folder / "models.yaml"))
    assert (code, out.split()[-2:]) == (0, ["True", "–"])
    code, out, err = harness("plan", *keyed.arguments())
    assert code == 0
    assert "before it can be asked" not in out
    assert KEY not in out + err


def test_the_environment_has_the_last_word(
    harness: Command, keyed: Small, loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", "sk-of-the-shell")
    assert harness("bench", *keyed.arguments())[0] == 0
    assert {received.headers["Authorization"] for received in loopback.received} == {"Bearer sk-of-the-shell"}


def test_a_file_that_is_no_text_is_a_users_mistake(harness: Command, keyed: Small) -> None:
    (keyed.folder / ".env").write_bytes(b"PLANTED=\xff\xfe")
    code, _, err = harness("models", "--models", str(keyed.folder / "models.yaml"))
    assert (code, err) == (2, f"error: {keyed.folder / '.env'}: cannot be read: it is not UTF-8\n")
