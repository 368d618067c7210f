"""A hub of data sets on 127.0.0.1 that answers what `datasets` and `huggingface_hub` ask of the real one."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class LittleHub:
    """Serves `repositories`: full id, then branch, then path, to content. `renamed` sends an old id to a full one.

    `gated` names a repository that refuses, `lost` one whose files cannot be had though they are listed, `dropped` one
    that hangs up.
    """

    repositories: Mapping[str, Mapping[str, Files]]
    renamed: Mapping[str, str]
    gated: str = ""
    lost: str = ""
    dropped: str = ""

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        object.__setattr__(self, "_server", server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()  # type: ignore[attr-defined]
        self._server.server_close()  # type: ignore[attr-defined]

    @property
    def url(self) -> str:
        """Address for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"  # type: ignore[attr-defined]


def commit(repository: str, branch: str) -> str:
    """The commit that a branch stands at."""
    return hashlib.sha1(f"{repository}@{branch}".encode(), usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LittleHub

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path.startswith("/api/datasets/"):
            self._about(path.removeprefix("/api/datasets/"), body)
        elif path.startswith("/datasets/") and "/resolve/" in path:
            self._file(path.removeprefix("/datasets/"))
        else:
            self._send(404)

    do_HEAD = do_POST = do_GET  # noqa: N815  names that the library looks for

    def _about(self, path: str, body: bytes) -> None:
        old = next((old for old in self.hub.renamed if path == old or path.startswith(f"{old}/")), None)
        if old is not None:
            place = self.path.replace(f"/api/datasets/{old}", f"/api/datasets/{self.hub.renamed[old]}", 1)
            return self._send(307, headers={"Location": place})
        found = self._repository(path)
        if found is None:
            return None
        repository, rest = found
        action, _, rest = rest.partition("/")
        branch, rest = self._branch(repository, rest or "main")
        if branch is None:
            return self._send(404, headers={"X-Error-Code": "RevisionNotFound"})
        files = self.hub.repositories[repository][branch]
        if action == "tree":
            start = f"{rest}/" if rest else ""
            below = {name: data for name, data in files.items() if name.startswith(start)}
            if start and not below:
                return self._send(404, headers={"X-Error-Code": "EntryNotFound"})
            deep = "recursive=true" in self.path.lower()
            folders = {start + name[len(start) :].split("/")[0] for name in below if "/" in name[len(start) :]}
            return self._json(
                [_entry(name, data) for name, data in below.items() if deep or "/" not in name[len(start) :]]
                + [{"type": "directory", "path": path, "oid": commit(repository, path)} for path in sorted(folders)]
            )
        if action == "paths-info":
            wanted = json.loads(body)["paths"]
            folders = [path for path in wanted if any(name.startswith(f"{path}/") for name in files)]
            return self._json(
                [_entry(name, data) for name, data in files.items() if name in wanted]
                + [{"type": "directory", "path": path, "oid": commit(repository, path)} for path in folders]
            )
        names = [{"rfilename": name} for name in files]
        return self._json({"id": repository, "sha": commit(repository, branch), "siblings": names, "tags": []})

    def _file(self, path: str) -> None:
        found = self._repository(path)
        if found is None:
            return None
        repository, rest = found
        branch, name = self._branch(repository, rest.removeprefix("resolve/"))
        if branch is None:
            return self._send(404, headers={"X-Error-Code": "RevisionNotFound"})
        data = self.hub.repositories[repository][branch].get(name)
        if data is None or repository == self.hub.lost:
            return self._send(404, headers={"X-Error-Code": "EntryNotFound"})
        tag = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        head = {"ETag": f'"{tag}"', "X-Repo-Commit": commit(repository, branch), "Accept-Ranges": "bytes"}
        return self._send(200, data, head)

    def _repository(self, path: str) -> tuple[str, str] | None:
        """The repository of a path, and what follows it; answers the request where there is none."""
        for repository in self.hub.repositories:
            if path == repository or path.startswith(f"{repository}/"):
                if repository == self.hub.dropped:
                    self.close_connection = True
                    return None
                if repository == self.hub.gated:
                    self._send(403, headers={"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
                    return None
                return repository, path[len(repository) + 1 :]
        self._send(401, headers={"X-Error-Code": "RepoNotFound"})
        return None

    def _branch(self, repository: str, path: str) -> tuple[str | None, str]:
        for branch in self.hub.repositories[repository]:
            for name in (branch, commit(repository, branch)):
                if path == name or path.startswith(f"{name}/"):
                    return branch, path[len(name) + 1 :]
        return None, path

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, data: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _entry(name: str, data: bytes) -> dict[str, Any]:
    return {
        "type": "file",
        "path": name,
        "size": len(data),
        "oid": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
    }
