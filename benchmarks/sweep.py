"""How soon a sweep knows what is done: finished cells in a folder and in a bucket, each beside the bare reads.

    python -m benchmarks.sweep [--cells 1000] [--files 12] [--runs 3]

Every cell has so many files. `again` is what a start of `harness sweep` does: it lists the results, sees that each cell
has its files, and reads what they say; `first` does so without the index that a bucket has from the start before.
`bare` is one listing and one concurrent read by the file system alone, without any of this package. The bucket is
moto's on loopback, in a process of its own, whose CPU time is printed, too: on two cores it is a good part of the
whole, and a real bucket spends it elsewhere. The table gives medians; the ways take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from harness.sweep.cell import DONE, Work
from harness.sweep.grid import Cell
from harness.sweep.places import CELLS, INDEX, Place
from harness.sweep.sweep import found_before

BUCKET = "sweeps"
SERVER = """import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()"""


def works(cells: int) -> list[Work]:
    """Return cells as a sweep has them."""
    one = Cell("", "base", "task", "", rows=100, seed=0, train={}, bench_rows=100, learned="")
    every = [replace(one, name=f"base-task-rows100-seed{seed}", seed=seed) for seed in range(cells)]
    return [Work(cell, "base", None, "tasks", 1, None) for cell in every]


def fill(place: Place, cells: Sequence[Work], files: int) -> None:
    """Write the files of finished cells."""

    def finish(work: Work) -> None:
        score = {"metric": "accuracy", "score": 0.5, "low": 0.4, "high": 0.6, "n": 100}
        found = {"cell": work.cell.name, **work.cell.point, "train": {}, "scores": [score], "usd": None}
        found |= {"seconds": {"train": 9.0}, "log": "x" * 1000}
        others = [f"other{number}" for number in range(files - len(work.files))]
        for name in [*others, *work.files[1:], DONE]:
            place.write(f"{CELLS}/{work.cell.name}/{name}", found)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(finish, cells))


@contextlib.contextmanager
def bucket() -> Iterator[Callable[[], float]]:
    """Run the bucket's server; give its CPU seconds so far."""
    import boto3

    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        host, port = server.stdout.readline().decode().split()  # type: ignore[union-attr]
        os.environ |= {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
        os.environ |= dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "testing")
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        times = Path(f"/proc/{server.pid}/stat")
        yield lambda: sum(map(int, times.read_text().split()[13:15])) / os.sysconf("SC_CLK_TCK")
    finally:
        server.kill()
        server.wait()


def found(place: Place, cells: Sequence[Work]) -> int:
    """Find what is done as a sweep does."""
    return len(found_before(place, cells, print).done)


def bare(place: Place, cells: Sequence[Work]) -> int:
    """List and read by the file system alone."""
    files, root = place._files, f"{place.root}/{CELLS}"
    assert files.find(root, detail=True)
    return len([json.loads(text) for text in files.cat([f"{root}/{one.cell.name}/{DONE}" for one in cells]).values()])


def measure(name: str, place: Place, cells: Sequence[Work], runs: int, server: Callable[[], float]) -> None:
    """Print what each way takes: wall seconds, CPU seconds of this process, and of the server."""
    ways = {
        "first": lambda: found(place, cells),
        "again": lambda: found(place, cells),
        "bare": lambda: bare(place, cells),
    }
    took: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
    for _ in range(runs):
        place.write(INDEX, {})
        for way, run in ways.items():
            before = time.perf_counter(), time.process_time(), server()
            assert run() == len(cells)
            after = time.perf_counter(), time.process_time(), server()
            took[way].append(tuple(end - begin for begin, end in zip(before, after, strict=True)))  # type: ignore[arg-type]
    for way, times in took.items():
        wall, own, its = map(statistics.median, zip(*times, strict=True))
        print(f"{name:7} {way:6} {wall:6.2f} s, CPU {own:5.2f} s here and {its:5.2f} s in the server")


def main() -> None:
    """Measure a folder and a bucket."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    cells = works(given.cells)
    print(f"{given.cells:,} finished cells of {given.files} files, {given.runs} runs")
    with tempfile.TemporaryDirectory() as folder:
        place = Place(folder)
        fill(place, cells, given.files)
        measure("folder", place, cells, given.runs, lambda: 0.0)
    with bucket() as server:
        place = Place(f"s3://{BUCKET}/runs")
        fill(place, cells, given.files)
        measure("bucket", place, cells, given.runs, server)


if __name__ == "__main__":
    main()
