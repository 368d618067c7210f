"""A planted key reaches the server and nothing that is written, whatever the server answers with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from harness.cli import main
from harness.models import batch
from harness.secrets import masked
from tests.loopback import Loopback, error
from tests.loopback_vendors import KEY, AnthropicServer, BatchServer

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command on the models file of the test; give its exit code and all that it printed."""
    monkeypatch.setenv("PLANTED", KEY)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(batch, "Pace", partial(batch.Pace, poll=0.01, longest_poll=0.02))

    def command(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(str(ended.value.code or 0)), "".join(capsys.readouterr())

    return command


@pytest.fixture
def anthropic() -> Iterator[AnthropicServer]:
    with AnthropicServer() as server:
        yield server


@pytest.fixture
def batches() -> Iterator[BatchServer]:
    with BatchServer() as server:
        yield server


def entries(loopback: Loopback, anthropic: AnthropicServer, batches: BatchServer) -> dict[str, str]:
    """A model for each way in which a key can be given."""
    key, url = "api_key: '${PLANTED}'", loopback.openai_url
    return {
        "chat": f"backend: openai, model: m, base_url: '{url}', {key}",
        "plain": f"backend: openai, model: m, base_url: '{url}', {key}, api: completions",
        "body": f"backend: openai, model: m, base_url: '{url}', extra: {{user: '${{PLANTED}}'}}",
        "password": f"backend: openai, model: m, base_url: '{url.replace('://', '://user:${PLANTED}@')}'",
        "query": f"backend: openai, model: m, base_url: '{url}?key=${{PLANTED}}&v=1'",
        "path": f"backend: openai, model: m, base_url: '{url}/${{PLANTED}}/v1'",
        "head": f"backend: openai, model: m, base_url: '{url}', headers: {{api-key: '${{PLANTED}}'}}",
        "parameter": f"backend: openai, model: m, base_url: '{url}', query: {{sig: '${{PLANTED}}'}}, api: completions",
        "system": f"backend: openai, model: m, base_url: '{url}', system: 'I am ${{PLANTED}}'",
        "lorax": f"backend: lorax, base_url: '{loopback.url}', adapter: a, {key}, api_token: '${{PLANTED}}'",
        "anthropic": f"backend: anthropic, model: m, base_url: '{anthropic.url}', {key}",
        "batch": f"backend: openai, model: m, base_url: '{batches.openai_url}', {key}, batch: true",
    }


@pytest.mark.parametrize("echo", [False, True])
def test_a_planted_key_is_in_no_file_and_no_output(
    loopback: Loopback, anthropic: AnthropicServer, batches: BatchServer, run: Run, tmp_path: Path, echo: bool
) -> None:
    models = tmp_path / "models.yaml"
    found = entries(loopback, anthropic, batches)
    if echo:  # the server tells the key to whoever asks it
        fault = error(400, f"you said {KEY}")
        loopback.plan = lambda prompt, attempt: fault
        batches.rows = lambda prompt, attempt: batch_error()
        anthropic.blocks = lambda prompt: []
    models.write_text("".join(f"{name}: {{{entry}}}\n" for name, entry in found.items()))
    results, out = tmp_path / "results", tmp_path / "out"
    asked = ["--models", str(models), "--task", "jigsaw", "--data", "sample", "--results", str(results)]
    written = ""
    for command in (
        ["plan", *asked],
        ["plan", "--json", *asked],
        ["bench", *asked],
        ["retry", "--models", str(models), "--results", str(results)],
        ["models", "--models", str(models)],
        ["models", "--json", "--models", str(models)],
        *(["preview", "jigsaw", "--model", name, "--data", "sample", "--models", str(models)] for name in found),
        ["report", "--results", str(results), "--out", str(out)],
        ["export", "--results", str(results), "--out", str(out / "rows.parquet")],
    ):
        code, printed = run(*command)
        assert code in (0, 3), printed
        written += printed
    assert loopback.asked
    assert anthropic.received
    assert batches.batches
    assert KEY not in written
    files = [path for folder in (results, out) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def batch_error() -> object:
    from tests.loopback_vendors import openai_error

    return openai_error(400, f"you said {KEY}")


@pytest.mark.parametrize(
    "entry",
    [
        "backend: openai, model: m, api_key: ['${PLANTED}']",
        "backend: openai, model: m, base_url: 'ftp://user:${PLANTED}@somewhere/?key=${PLANTED}'",
        "backend: openai, model: m, base_url: 'http://user:${PLANTED}@[broken/v1'",
        "backend: openai, model: m, base_url: 'http://localhost:${PLANTED}/v1'",
        "backend: openai, model: m, api_key: '${PLANTED}', concurency: 3",
        'backend: openai, model: m, api_key: "${PLANTED}\\nx"',
        "backend: '${PLANTED}', model: m",
    ],
)
def test_a_mistake_in_an_entry_is_told_without_the_key(run: Run, tmp_path: Path, entry: str) -> None:
    models = tmp_path / "models.yaml"
    models.write_text(f"m: {{{entry}}}\n")
    asked = ["--models", str(models), "--task", "jigsaw", "--data", "sample", "--results", str(tmp_path / "results")]
    for command in ("bench", "plan"):
        _, printed = run(command, *asked)
        assert KEY not in printed
        assert "Traceback" not in printed
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


SPELT = {
    "percent": lambda code: f"%{code:02x}",
    "percent, twice": lambda code: f"%25{code:02X}",
    "HTML": lambda code: f"&#{code};",
    "HTML, hexadecimal": lambda code: f"&#x{code:X};",
    "JSON": lambda code: f"\\u{code:04x}",
    "bytes": lambda code: f"\\x{code:02x}",
    "UTF-16": lambda code: chr(code) + "\0",
}


@pytest.mark.parametrize("way", SPELT)
def test_a_secret_of_which_every_character_is_spelt_in_another_way_is_found(way: str) -> None:
    for secret in ("sk-planted+Ab/9=XyZ_0123", "plain0123456789"):
        spelt = "".join(map(SPELT[way], secret.encode()))
        assert masked(f"echo {spelt}!", (secret,)).rstrip("\0!") == "echo ***"


def test_a_secret_in_one_case_is_found() -> None:
    for text in ("SK-PLANTED-0123456789", "sk-planted-0123456789"):
        assert masked(f"echo {text}", ("Sk-Planted-0123456789",)) == "echo ***"
