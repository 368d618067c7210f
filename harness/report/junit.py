"""The checks of a gate as a JUnit file, which continuous integration shows beside its other tests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from harness.compare.gate import Check
from harness.report.words import gate_reason

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(checks: Sequence[Check], a: str, b: str) -> str:
    """The checks of model `a` against model `b`: one test case for each task, with the reason for its outcome."""
    failed, passed = (sum(c.outcome == outcome for c in checks) for outcome in ("failed", "passed"))
    totals = {"tests": str(len(checks)), "failures": str(failed), "errors": str(len(checks) - failed - passed)}
    root = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(
        root, "testsuite", {"name": _clean(f"harness gate {a} --against {b}"), **totals, "skipped": "0"}
    )
    for check in checks:
        reason = _clean(gate_reason(check, a, b))
        case = ElementTree.SubElement(suite, "testcase", {"classname": check.category, "name": check.task})
        if check.outcome == "passed":
            ElementTree.SubElement(case, "system-out").text = reason
        else:
            kind = "failure" if check.outcome == "failed" else "error"
            ElementTree.SubElement(case, kind, {"message": reason})
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    """XML has no place for control characters."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
