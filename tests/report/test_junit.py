"""A gate's checks as a JUnit file."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from harness.compare.gate import Check
from harness.compare.paired import Comparison
from harness.report.junit import junit

WON = Comparison(0.1, 0.05, 0.15, 0.01, 400, "better", None)


def test_junit_has_a_case_for_each_task_with_its_reason() -> None:
    checks = [
        Check("news", "classification", "passed", "accuracy", WON),
        Check("maths", "math", "failed", "accuracy", replace(WON, verdict="worse")),
        Check("logic", "math", "undecided", "accuracy", replace(WON, verdict="not separable"), decided=False),
        Check("code", "code", "error", "pass_at_1", trouble="a has not run it"),
    ]
    root = ElementTree.fromstring(junit(checks, "<b> & \x1b[31m", "b"))
    suite = root[0]
    assert root.tag == "testsuites"
    assert {**root.attrib} == {"tests": "4", "failures": "1", "errors": "2"}
    assert (suite.get("name"), suite.get("tests")) == ("harness gate <b> & \ufffd[31m --against b", "4")
    cases = {case.get("name"): case for case in suite}
    assert cases["maths"].get("classname") == "math"
    assert cases["maths"][0].tag == "failure"
    numbers = "(+0.100 accuracy, 95 % interval +0.050 to +0.150, p = 0.010, n = 400)"
    message = cases["maths"][0].get("message")
    assert message is not None
    assert message.startswith(f"a loss beyond 0.02 is shown; <b> & \ufffd[31m loses to b {numbers}; rows like these ")
    assert cases["logic"][0].tag == "error"
    assert (cases["code"][0].tag, cases["code"][0].get("message")) == ("error", "a has not run it")
    assert cases["news"][0].tag == "system-out"
    assert f"<b> & \ufffd[31m beats b {numbers}" in str(cases["news"][0].text)
