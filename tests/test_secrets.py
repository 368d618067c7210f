"""A planted key reaches the server and nothing that is written, whatever the server answers with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.loopback import Loopback

ROOT = Path(__file__).parents[1]
KEY = "sk-planted-4f1d9c7be2"


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_planted_key_is_in_no_file_and_no_output(loopback: Loopback, tmp_path: Path, api: str) -> None:
    models = tmp_path / "models.yaml"
    address = loopback.openai_url.replace("://", f"://user:{KEY}@")
    models.write_text(
        f"a: {{backend: openai, model: m, base_url: '{loopback.openai_url}', api_key: ${{PLANTED}}, api: {api}}}\n"
        f"b: {{backend: openai, model: m, base_url: '{loopback.openai_url}', api_key: ${{PLANTED}}, attempts: 1, "
        "extra: {user: '${PLANTED}'}}\n"
        f"c: {{backend: openai, model: m, base_url: '{address}'}}\n"
    )
    results, out = tmp_path / "results", tmp_path / "out"
    written = ""
    for command in (
        ["plan", "--models", str(models), "--task", "jigsaw", "--data", "sample", "--results", str(results)],
        ["bench", "--models", str(models), "--task", "jigsaw", "--data", "sample", "--results", str(results)],
        ["models", "--models", str(models)],
        ["report", "--results", str(results), "--out", str(out)],
        ["export", "--results", str(results), "--out", str(out / "rows.parquet")],
    ):
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PLANTED": KEY}
        done = subprocess.run(
            [sys.executable, "-m", "harness", *command], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode in (0, 3), done.stderr
        written += done.stdout + done.stderr
    assert loopback.asked  # the models were
    assert KEY not in written
    files = [path for folder in (results, out) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
