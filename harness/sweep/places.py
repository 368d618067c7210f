"""The folder of a sweep's results, on a disk or wherever fsspec writes."""

from __future__ import annotations

import contextlib
import errno
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from harness.errors import BusyError, UserError
from harness.store.atomic import replace_file

CELLS, SWEEP, RUNNING, INDEX = "cells", "sweep.json", "running.json", "index.json"
S3 = ("s3://", "s3a://")
FRESH_SECONDS = 20
CONNECTIONS = 50
"""To a bucket at once; the library's ten make 1,000 small files wait a hundred times."""


class File(NamedTuple):
    """A file of a listing; `version` is the bucket's hash of it, None where there is none."""

    bytes: int
    version: str | None


class Place:
    """Where results go: `local` is the folder where it is one of this machine, else None.

    Raises:
        UserError: it cannot be opened: a package, the credentials or the bucket are missing.
    """

    def __init__(self, url: str) -> None:
        import fsspec
        from fsspec.implementations.local import LocalFileSystem

        self.url = url
        try:
            # A listing that fsspec keeps would not show what other machines have written meanwhile.
            self._files, self.root = fsspec.url_to_fs(url, use_listings_cache=False, **_options(url))
        except ImportError as error:
            extra = "; install the extra: pip install 'lora-leaderboard[sweep]'" if url.startswith(S3) else ""
            raise UserError(f"{url}: {error}{extra}") from None
        except (ValueError, OSError) as error:
            raise UserError(f"{url}: cannot be opened: {error}") from None
        self.root = self.root.rstrip("/")
        self.local = Path(self.root) if isinstance(self._files, LocalFileSystem) else None
        self.address = str(self.local or url)

    def listing(self) -> dict[str, dict[str, File]]:
        """Return the files of every cell, by one listing of all.

        Raises:
            UserError: the place cannot be reached or listed.
        """
        found: dict[str, dict[str, File]] = {}
        with self._said("cannot be listed"):
            every = self._files.find(f"{self.root}/{CELLS}/", detail=True)
        for path, about in every.items():
            cell, _, name = path.removeprefix(f"{self.root}/{CELLS}/").partition("/")
            found.setdefault(cell, {})[name] = File(about["size"] or 0, about.get("ETag") or about.get("etag"))
        return found

    def read_listed(self, files: Mapping[str, File]) -> dict[str, Any]:
        """Return the JSON in these files of a listing, by name, as `read` does.

        A bucket keeps what they said in one object, so that only those are asked for that have changed since.

        Raises:
            UserError: as `read`.
        """
        if self.local:
            return self.read(list(files))
        index = self.read([INDEX]).get(INDEX)
        kept = index if isinstance(index, dict) else {}
        found = {
            name: kept[name]["says"]
            for name, file in files.items()
            if file.version and name in kept and kept[name]["version"] == file.version
        }
        changed = self.read([name for name in files if name not in found])
        if changed:
            kept |= {name: {"version": files[name].version, "says": says} for name, says in changed.items()}
            with contextlib.suppress(UserError):  # without it the next start is only slower
                self.write(INDEX, kept)
        return found | changed

    def read(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the JSON in these files, by name; what is not there or is something else is left out.

        Raises:
            UserError: the place cannot be reached, or a file that is there cannot be read.
        """
        paths = {f"{self.root}/{name}": name for name in names}
        found = {}
        with self._said("cannot be read"):
            # From its first byte: where a range is named, s3fs does not ask for the size of each file before the file.
            texts = self._files.cat(list(paths), on_error="return", start=0) if paths else {}
            for path, text in texts.items():
                if isinstance(text, OSError) and (isinstance(text, FileNotFoundError) or text.errno == errno.EINVAL):
                    continue  # EINVAL: an object of no bytes has no first one
                if isinstance(text, Exception):
                    raise text
                with contextlib.suppress(ValueError):
                    found[paths[path]] = json.loads(text)
        return found

    def write(self, name: str, found: Any) -> None:
        """Write an object as JSON.

        Raises:
            UserError: it cannot be written.
        """
        text = json.dumps(found, ensure_ascii=False, indent=1) + "\n"
        with self._said("cannot be written"):
            if self.local:
                replace_file(self.local / name, text)
            else:
                self._files.pipe_file(f"{self.root}/{name}", text.encode())

    def put(self, folder: Path, cell: str, last: str) -> None:
        """Copy a cell's folder there, the file `last` after all others.

        Raises:
            UserError: it cannot be written.
        """
        with self._said("cannot be written"):
            for ended in ("done.json", "failed.json"):  # of an earlier start
                if self._files.exists(f"{self.root}/{CELLS}/{cell}/{ended}"):
                    self._files.rm(f"{self.root}/{CELLS}/{cell}/{ended}")
            paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != last]
            targets = [f"{self.root}/{CELLS}/{cell}/{path.relative_to(folder).as_posix()}" for path in paths]
            self._files.put([str(path) for path in paths], targets)
            self._files.put_file(str(folder / last), f"{self.root}/{CELLS}/{cell}/{last}")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other sweeps out: by a lock of a folder; in a bucket, which has none, by a file that is kept fresh.

        Raises:
            BusyError: another one runs there.
            UserError: nothing can be written there.
        """
        busy = f"{self.url}: another `harness sweep` runs on these results"
        if self.local:
            lock = FileLock(self.local / ".lock")
            with self._said("cannot be written"):
                self.local.mkdir(parents=True, exist_ok=True)
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    raise BusyError(busy) from None
            try:
                yield
            finally:
                lock.release()
            return
        lease = self.read([RUNNING]).get(RUNNING)
        left = lease["at"] + 3 * FRESH_SECONDS - time.time() if isinstance(lease, dict) and "at" in lease else 0
        if left > 0:
            raise BusyError(f"{busy}; if it was killed, they are free in {left:.0f} s")
        ended = threading.Event()

        def refresh() -> None:
            while not ended.wait(FRESH_SECONDS):
                with contextlib.suppress(UserError):  # the next one may be written
                    self.write(RUNNING, {"at": time.time()})

        self.write(RUNNING, {"at": time.time()})
        threading.Thread(target=refresh, daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            with self._said("cannot be written"):
                self._files.rm(f"{self.root}/{RUNNING}")

    @contextlib.contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """Turn what a file system raises, which is anything, into one message."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001
            raise UserError(f"{self.url}: {what}: {type(error).__name__}: {error}") from None


def _options(url: str) -> dict[str, Any]:
    """Settings of a file system: an S3 is asked for many files at once, and given up after seconds, not minutes."""
    if not url.startswith(S3):
        return {}
    patience = {"connect_timeout": 5, "retries": {"max_attempts": 3}}
    return {"config_kwargs": {**patience, "max_pool_connections": CONNECTIONS}}


def done_cells(
    listing: Mapping[str, Mapping[str, File]], wanted: Mapping[str, Sequence[str]]
) -> tuple[set[str], set[str]]:
    """Return the cells that have all their files, and those that say they are done but lack one."""
    done: set[str] = set()
    broken: set[str] = set()
    for cell, files in wanted.items():
        there = listing.get(cell, {})
        if files[0] in there:
            (done if all(name in there and there[name].bytes for name in files) else broken).add(cell)
    return done, broken
