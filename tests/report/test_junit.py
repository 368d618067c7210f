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
        Check("news", "classification", "passed", "accuracy", WON, 2),
        Check("maths", "math", "failed", "accuracy", replace(WON, verdict="worse"), 2),
        Check("code", "code", "error", "pass_at_1", trouble="a has not run it"),
    ]
    root = ElementTree.fromstring(junit(checks, "<b> & \x1b[31m", "b"))
    suite = root[0]
    assert root.tag == "testsuites"
    assert {**root.attrib} == {"tests": "3", "failures": "1", "errors": "1"}
    assert (suite.get("name"), suite.get("tests")) == ("harness gate <b> & \ufffd[31m --against b", "3")
    cases = {case.get("name"): case for case in suite}
    assert cases["maths"].get("classname") == "math"
    assert cases["maths"][0].tag == "failure"
    numbers = "(+0.100 accuracy, 95 % interval +0.050 to +0.150, p = 0.010 after Holm, n = 400)"
    assert cases["maths"][0].get("message") == f"<b> & \ufffd[31m loses to b {numbers}"
    assert (cases["code"][0].tag, cases["code"][0].get("message")) == ("error", "a has not run it")
    assert (cases["news"][0].tag, cases["news"][0].text) == ("system-out", f"<b> & \ufffd[31m beats b {numbers}")
