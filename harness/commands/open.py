"""`harness open`: the report in a browser, served on the loopback address of this machine."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click

LOOPBACK = "127.0.0.1"


@click.command("open")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("reports"), help="Folder of the report."
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port. Default: any free one.")
def command(out: Path, port: int) -> int:
    """Serve the report on this machine, and open it where there is a desktop.

    Prints its address, which other machines cannot reach. Ctrl-C stops it.
    """
    from harness.errors import UserError

    if not out.is_dir():
        raise UserError(f"{out}: no such folder; run `harness report` first")
    try:
        server = serve(out, port)
    except OSError as error:
        raise UserError(f"port {port}: {error.strerror}") from None
    with server:
        page = "index.html" if (out / "index.html").is_file() else ""
        address = f"http://{LOOPBACK}:{server.server_port}/{page}"
        print(f"{address}\nCtrl-C stops it", flush=True)
        if has_desktop(sys.platform, os.environ):
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


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


class _Files(SimpleHTTPRequestHandler):
    """Files of the folder, without a log, and only for requests that name this machine's loopback address.

    A web page can have a name of its own resolve to this machine; it must not read the report. A symbolic link that
    leads out of the folder is not followed.
    """

    def send_head(self) -> object:  # type: ignore[override]
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if name not in (LOOPBACK, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN, "ask for 127.0.0.1")
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
