"""A running front, in a thread of its own, with a tiny base of llama.cpp and two adapters."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import openai

from harness.serve.server import ServeOptions, serve
from tests.models import tiny_gguf

TOKEN = "a-token-of-this-test"


def project(folder: Path, **more: Mapping[str, Any]) -> Path:
    """Write a base, two adapters and a models file with them and more entries; return the file's path."""
    tiny_gguf.write_base(folder / "tiny.gguf")
    for number in (1, 2):
        tiny_gguf.write_adapter(folder / "adapters" / f"adapter{number}", seed=number)
    base = {"backend": "llamacpp", "model": str(folder / "tiny.gguf"), "threads": 1}
    entries = {"tiny": base, "tuned": {**base, "adapter": f"{folder}/adapters/{{task}}", "base": "tiny"}, **more}
    (folder / "models.yaml").write_text(json.dumps(entries))
    return folder / "models.yaml"


class Running:
    """`harness serve` from entering the context to leaving it; `url` is OpenAI's base_url."""

    def __init__(self, models_file: Path, **options: Any) -> None:
        self._options = ServeOptions(models_file, **{"port": 0, **options})
        self._stop = asyncio.Event()
        self._said: list[str] = []
        self._failed: BaseException | None = None
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.loop.run_until_complete(serve(self._options, self._said.append, self._stop))
        except Exception as error:  # noqa: BLE001  raised where it is entered
            self._failed = error

    def __enter__(self) -> Self:
        self._thread.start()
        wait_for(lambda: self._failed is not None or any(line.startswith("http://") for line in self._said))
        if self._failed is not None:
            self._thread.join()
            self.loop.close()
            raise self._failed
        self.url = self._said[-1].split()[0]
        self.address = self.url.removesuffix("/v1")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()
        self.loop.close()

    def stop(self) -> None:
        """Begin to end it."""
        self.loop.call_soon_threadsafe(self._stop.set)

    def client(self, key: str = TOKEN) -> openai.OpenAI:
        """OpenAI's own client."""
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=60)

    def metric(self, name: str) -> float:
        """A figure of `/metrics` without labels, or the sum of it over its labels."""
        lines = httpx.get(f"{self.address}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
