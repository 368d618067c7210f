"""`harness open`: the report in a browser, served on the loopback address of this machine."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import click

from harness.commands import options

LOOPBACK = "127.0.0.1"


@click.command("open")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("reports"), help="Folder of the report."
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port. Default: any free one.")
@click.option("--watch", is_flag=True, help="Show runs that are under way, from the answers on disk.")
@options.results
@options.tasks_folder
@click.option("--until-closed", is_flag=True, hidden=True, help="Stop when standard input is closed.")
@options.code
def command(
    out: Path, port: int, watch: bool, results: Path, tasks_folder: tuple[Path, ...], until_closed: bool
) -> int:
    """Serve the report on this machine, and open it where there is a desktop.

    Prints its address, which other machines cannot reach. Ctrl-C stops it.
    """
    from harness.errors import UserError

    if not watch and not out.is_dir():
        raise UserError(f"{out}: no such folder; run `harness report` first")
    try:
        server = serve_live(results, tasks_folder, port) if watch else serve(out, port)
    except OSError as error:
        raise UserError(f"port {port}: {error.strerror}") from None
    with server:
        page = "index.html" if not watch and (out / "index.html").is_file() else ""
        address = f"http://{LOOPBACK}:{server.server_port}/{page}"
        print(f"live: {address}" if until_closed else f"{address}\nCtrl-C stops it", flush=True)
        if until_closed:
            Thread(target=_stop_when_closed, args=[server], daemon=True).start()
        if has_desktop(sys.platform, os.environ):
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


def _stop_when_closed(server: ThreadingHTTPServer) -> None:
    sys.stdin.read()
    server.shutdown()


def has_desktop(platform: str, environment: Mapping[str, str]) -> bool:
    """Whether a browser can be opened on this machine: not in a session over SSH or without a display."""
    if "SSH_CONNECTION" in environment:
        return False
    return platform in ("darwin", "win32") or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def serve(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of a folder's files on loopback, not yet answering; port 0 takes any free one.

    Raises:
        OSError: the port is taken or not allowed.
    """
    return ThreadingHTTPServer((LOOPBACK, port), partial(_Files, directory=str(folder)))


def serve_live(results: Path, tasks_folder: tuple[Path, ...], port: int) -> ThreadingHTTPServer:
    """A server of the page of runs that are under way, on loopback, not yet answering.

    Raises:
        OSError: the port is taken or not allowed.
    """
    from harness.report.live import Live
    from harness.score.rules import current_rules

    live = Live(results, current_rules(tasks_folder))
    return ThreadingHTTPServer((LOOPBACK, port), partial(_Page, live.page))


def asked_by_its_address(handler: BaseHTTPRequestHandler) -> bool:
    """Whether a request names this machine's loopback address; else it is refused.

    A web page can have a name of its own resolve to this machine; it must not read what is served.
    """
    name = handler.headers.get("Host", "").rpartition(":")[0] or handler.headers.get("Host", "")
    if name not in (LOOPBACK, "localhost"):
        handler.send_error(HTTPStatus.FORBIDDEN, "ask for 127.0.0.1")
        return False
    return True


class _Page(BaseHTTPRequestHandler):
    """One page, made again for each request."""

    def __init__(self, page: Callable[[], str], *how: Any) -> None:
        self._page = page
        super().__init__(*how)

    def do_GET(self) -> None:
        """Answer with the page, whatever its path."""
        if not asked_by_its_address(self):
            return
        if self.path != "/":
            self.send_error(HTTPStatus.NOT_FOUND, "there is only one page here")
            return
        data = self._page().encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Write no line for a request."""


class _Files(SimpleHTTPRequestHandler):
    """Files of the folder, without a log. A symbolic link that leads out of the folder is not followed."""

    def send_head(self) -> object:  # type: ignore[override]
        if not asked_by_its_address(self):
            return None
        # A folder is answered with its index, which may be a link too.
        asked = Path(self.translate_path(self.path))
        served = [asked, *(asked / name for name in ("index.html", "index.htm") if (asked / name).exists())]
        folder = Path(self.directory).resolve()
        if not all(path.resolve().is_relative_to(folder) and (path.is_dir() or path.is_file()) for path in served):
            self.send_error(HTTPStatus.NOT_FOUND, "no such file in this folder")
            return None
        return super().send_head()

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Write no line for a request."""
