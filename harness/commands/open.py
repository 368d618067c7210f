"""`harness open`: the report in a browser, from this machine to this machine."""

from __future__ import annotations

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
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port. Default: any that is free.")
def command(out: Path, port: int) -> int:
    """Serve the report on this machine and print its address.

    Nobody else can reach it. Ctrl-C stops it.
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
        print(f"http://{LOOPBACK}:{server.server_port}/{page}\nCtrl-C stops it", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


def serve(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of a folder's files on loopback, not yet answering; port 0 takes one that is free.

    Raises:
        OSError: the port cannot be had.
    """
    return ThreadingHTTPServer((LOOPBACK, port), partial(_Files, directory=str(folder)))


class _Files(SimpleHTTPRequestHandler):
    """Files without a log, and only for those who ask for this machine by a name of its own.

    Another name leads here when a web page has its own name resolve to this machine; it must not read the report.
    """

    def send_head(self) -> object:  # type: ignore[override]
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if name not in (LOOPBACK, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN, "ask for 127.0.0.1")
            return None
        return super().send_head()

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of single requests."""
