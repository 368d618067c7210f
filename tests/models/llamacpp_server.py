"""llama.cpp's own HTTP server in a process of its own: `python -m tests.models.llamacpp_server BASE [ADAPTER.gguf …]`.

Prints its address when it is ready, and runs until it is killed.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(base: Path, adapters: Sequence[Path] = (), threads: int = 1) -> Iterator[str]:
    """Run the server with adapters of scale 0, and give its address."""
    command = [sys.executable, "-m", "tests.models.llamacpp_server", str(threads), str(base), *map(str, adapters)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address.startswith("http://"), "the server did not start"
            yield address
        finally:
            process.kill()


def main(threads: int, base: str, adapters: Sequence[str]) -> None:
    """Serve until killed."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = base
    settings.port = 0
    settings.n_ctx = 2048
    settings.n_parallel = 1
    settings.cache_ram_mib = 0
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(adapter, 0.0) for adapter in adapters]
    settings.lora_init_without_apply = True
    settings.warmup = settings.ui = False
    settings.verbosity = -1
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
