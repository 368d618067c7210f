"""`harness claims` in the terminal and as a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.conftest import Command

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_each_claim_with_what_was_published_and_what_comes_out(harness: Command, tmp_path: Path) -> None:
    code, out, _ = harness("claims", "--results", str(tmp_path))
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    first, *_, last = out.strip().split("\n\n")
    assert first.splitlines()[:3] == [
        "points over the base model, mean (paper, abstract)", "  published   34", "  recomputed  38.4"
    ]  # fmt: skip
    assert "  recomputed  –" in last


def test_the_page_is_the_one_in_docs(harness: Command, tmp_path: Path) -> None:
    page = tmp_path / "claims.md"
    assert harness("claims", "--results", str(tmp_path), "--markdown", str(page))[:2] == (0, "")
    assert page.read_text(encoding="utf-8") == (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
