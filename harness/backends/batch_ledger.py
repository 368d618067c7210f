"""What has been submitted as a batch: written down before it costs anything, so that a killed run finds it again.

batches.jsonl, one event a line, only ever appended to:
    {"file": F, "asked": [ids]}     the requests of these ids are uploaded as file F, and about to be submitted
    {"file": F, "batch": B}         they are submitted as batch B
    {"file": F, "over": [ids]}      they brought no answer, and may be asked again

An id whose answer came is never marked: it is known as answered by its response, which is written later than this.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import ModelRejected


class Ledger:
    """The batches of one model for one task.

    Raises:
        ModelRejected: the file cannot be read, or, later, not be written; without it no batch may be submitted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._asked: dict[str, tuple[str, ...]] = {}
        self._batches: dict[str, str] = {}
        self._holders: dict[str, str] = {}
        try:
            for event in _events(path):
                self._apply(event)
        except OSError as error:
            raise ModelRejected(f"{path}: cannot be read ({error.strerror})") from error

    def holder(self, custom_id: str) -> str | None:
        """The file in which this request is submitted, and may have an answer waiting; None when there is none."""
        return self._holders.get(custom_id)

    def asked(self, file: str) -> tuple[str, ...]:
        """The ids of a file's requests, in the order of its lines."""
        return self._asked[file]

    def batch(self, file: str) -> str | None:
        """The batch that a file was submitted as; None when the process ended before it could know."""
        return self._batches.get(file)

    def submitting(self, file: str, ids: Iterable[str]) -> None:
        """Note requests that are uploaded, before they are submitted."""
        self._note({"file": file, "asked": list(ids)})

    def submitted(self, file: str, batch: str) -> None:
        """Note the batch that a file has become."""
        self._note({"file": file, "batch": batch})

    def over(self, file: str, ids: Sequence[str]) -> None:
        """Note requests that a file's batch has not answered and will not answer any more."""
        if ids:
            self._note({"file": file, "over": list(ids)})

    def _note(self, event: Mapping[str, Any]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _append(self._path, json.dumps(event).encode() + b"\n")
        except OSError as error:
            raise ModelRejected(
                f"{self._path}: cannot be written ({error.strerror}), and without it a batch could be paid for twice; "
                "mend that and give the same command again"
            ) from error
        self._apply(event)

    def _apply(self, event: Mapping[str, Any]) -> None:
        match event:
            case {"file": str(file), "asked": list(ids)}:
                self._asked[file] = tuple(ids)
                self._holders.update(dict.fromkeys(ids, file))
            case {"file": str(file), "batch": str(batch)}:
                self._batches[file] = batch
            case {"file": str(file), "over": list(ids)}:
                for custom_id in ids:
                    if self._holders.get(custom_id) == file:
                        del self._holders[custom_id]


def _events(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield what the file holds. A line that a kill or a full disk has cut is passed over: what it was to announce, the
    submission or its id, had not happened or is found by the file."""
    if not path.is_file():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _append(path: Path, line: bytes) -> None:
    """Write a line so that it outlives the process and the machine's next breath; a cut line before it is ended."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        whole = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
        data = line if whole else b"\n" + line
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
