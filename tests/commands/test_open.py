"""`harness open`: a real server on loopback, asked over a real socket."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.commands.open import has_desktop
from tests.commands.conftest import Command


@pytest.fixture
def report(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "index.html").write_text("<title>Leaderboard</title>")
    (tmp_path / "data" / "news.js").write_text("rows()")
    return tmp_path


@pytest.fixture
def served(report: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running command and the address it printed."""
    command = [sys.executable, "-m", "harness", "open", "--out", str(report)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "SSH_CONNECTION": "no desktop"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def get(address: str, path: str, host: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address.split("/")[2], timeout=10)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_serves_the_report_until_it_is_interrupted(served: tuple[subprocess.Popen[str], str]) -> None:
    process, address = served
    assert address.startswith("http://127.0.0.1:")
    assert address.endswith("/index.html")
    assert get(address, "/index.html") == (200, "<title>Leaderboard</title>")
    assert get(address, "/data/news.js") == (200, "rows()")
    assert get(address, "/../../etc/passwd")[0] == 404
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_a_link_out_of_the_folder_is_not_followed(report: Path, served: tuple[subprocess.Popen[str], str]) -> None:
    outside = report.parent / "secret.txt"
    outside.write_text("secret")
    (report / "link.txt").symlink_to(outside)
    (report / "inside.js").symlink_to(report / "data" / "news.js")
    (report / "data" / "index.html").symlink_to(outside)
    (report / "away").symlink_to(report.parent)
    (report / "old").mkdir()
    (report / "old" / "index.htm").symlink_to(outside)
    os.mkfifo(report / "pipe")
    for path in ("/link.txt", "/data/", "/data/index.html", "/old/", "/away/secret.txt", "/away/", "/pipe"):
        assert get(served[1], path)[0] == 404, path
    assert get(served[1], "/inside.js") == (200, "rows()")


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {"DISPLAY": ":10", "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}, False),
        ("darwin", {}, True),
    ],
)
def test_a_browser_is_opened_only_on_a_desktop(platform: str, environment: dict[str, str], expected: bool) -> None:
    assert has_desktop(platform, environment) is expected


def test_another_name_for_this_machine_is_refused(served: tuple[subprocess.Popen[str], str]) -> None:
    _, address = served
    port = address.split(":")[2].split("/")[0]
    assert get(address, "/index.html", f"attacker.example:{port}")[0] == 403
    assert get(address, "/index.html", f"localhost:{port}")[0] == 200


def test_without_a_report_it_says_what_to_run(harness: Command, tmp_path: Path) -> None:
    code, _, err = harness("open", "--out", str(tmp_path / "nowhere"))
    assert (code, "run `harness report` first" in err) == (2, True)


def test_a_port_that_is_taken_is_a_clear_error(
    harness: Command, report: Path, served: tuple[subprocess.Popen[str], str]
) -> None:
    port = served[1].split(":")[2].split("/")[0]
    code, _, err = harness("open", "--out", str(report), "--port", port)
    assert (code, err) == (2, f"error: port {port}: Address already in use\n")
