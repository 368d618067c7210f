"""`harness gate`: exit codes, the text, and the JUnit file."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.commands.conftest import Command
from tests.loopback import Loopback
from tests.runs import Small


@pytest.fixture
def asked(small: Small, loopback: Loopback) -> Small:
    """Model good is right on every row, bad on half of them."""
    loopback.answer = lambda prompt: ("yes", "no")[int(prompt.split()[2]) % 2]
    small.model("good", loopback.openai_url)
    small.bench()
    loopback.answer = lambda prompt: "yes"
    small.model("bad", loopback.openai_url)
    small.bench()
    return small


def test_a_worse_model_is_exit_code_100(asked: Small, harness: Command) -> None:
    code, out, _ = harness("gate", "bad", "--against", "good", "--margin", "1pp", "--results", str(asked.results))
    assert code == 100
    assert out.splitlines()[0].startswith("failed  small  bad loses to good (−0.500 accuracy, 95 % interval ")
    assert out.splitlines()[-1] == "0 of 1 task passed"


def test_a_better_model_is_exit_code_0(asked: Small, harness: Command) -> None:
    code, out, _ = harness("gate", "good", "--against", "bad", "--results", str(asked.results))
    assert code == 0
    assert out.splitlines()[-1] == "1 of 1 task passed"


def test_what_cannot_be_told_is_exit_code_1(asked: Small, harness: Command, tmp_path: Path) -> None:
    code, _, err = harness("gate", "godo", "--against", "bad", "--results", str(asked.results))
    assert (code, "did you mean 'good'?" in err) == (1, True)
    code, _, err = harness("gate", "good", "--against", "bad", "--results", str(tmp_path / "nowhere"))
    assert (code, "no runs are recorded" in err) == (1, True)
    (tmp_path / "file").write_text("")
    junit = tmp_path / "file" / "gate.xml"
    code, _, err = harness("gate", "good", "--against", "bad", "--results", str(asked.results), "--junit", str(junit))
    assert (code, "cannot be written" in err) == (1, True)


def test_a_wrong_option_is_exit_code_2(asked: Small, harness: Command) -> None:
    code, _, err = harness("gate", "good", "--against", "bad", "--margin", "1", "--results", str(asked.results))
    assert (code, "did you mean 1pp?" in err) == (2, True)


def test_the_junit_file_names_what_failed(asked: Small, harness: Command, tmp_path: Path) -> None:
    file = tmp_path / "ci" / "gate.xml"
    harness("gate", "bad", "--against", "good", "--results", str(asked.results), "--junit", str(file))
    suite = ElementTree.parse(file).getroot()[0]
    assert suite.get("name") == "harness gate bad --against good"
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "1", "0")
    assert suite[0].get("name") == "small"
