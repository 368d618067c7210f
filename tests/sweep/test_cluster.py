"""A sweep on two nodes of a Ray cluster, one of which is killed, into a bucket; and one that is killed itself."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.models import tiny_gguf

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]
TASKS = ("glue_sst2", "glue_qnli", "glue_cola", "ag_news", "boolq", "glue_mrpc")
BUCKET = "sweeps"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with two tiny bases, in which commands run with this package."""
    folder = tmp_path_factory.mktemp("project")
    for seed, name in enumerate(("one", "two")):
        tiny_gguf.write_base(folder / f"{name}.gguf", seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("LORA_LEADERBOARD_CACHE", str(folder / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield folder


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for what is temporary, of a short name: Ray puts its sockets there."""
    with tempfile.TemporaryDirectory(prefix="sweep", ignore_cleanup_errors=True) as name:
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setenv("RAY_TMPDIR", name)
        yield Path(name)


def sweep_file(project: Path, results: str, **changed: Any) -> Path:
    found = {
        "bases": ["one.gguf", "two.gguf"], "tasks": list(TASKS), "rows": [16], "train": {"rank": 2, "steps": 2},
        "bench": {"rows": 4}, "resources": {"cpus": 1, "timeout": "10min"}, "results": results, **changed,
    }  # fmt: skip
    path = project / f"{results.rstrip('/').rpartition('/')[2]}.yaml"
    path.write_text(json.dumps(found))
    return path


def command(*arguments: Any) -> list[str]:
    return [sys.executable, "-m", "harness", "sweep", *map(str, arguments), "--data", "sample"]


def sweep(project: Path, *arguments: Any) -> dict[str, Any]:
    done = subprocess.run([*command(*arguments), "--json"], cwd=project, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def table(found: dict[str, Any]) -> dict[str, Any]:
    """What must be the same however a sweep ran: the scores and the adapter of each cell."""
    scored = ("metric", "score", "low", "high", "n", "statuses")
    return {
        cell["cell"]: ([{key: score[key] for key in scored} for score in cell["scores"]], cell["adapter_sha256"])
        for cell in found["done"]
    }


@pytest.fixture(scope="module")
def serial(project: Path) -> dict[str, Any]:
    """The table of the whole sweep on this machine, without Ray."""
    return table(sweep(project, sweep_file(project, "serial"), "--jobs", 2))


@pytest.fixture
def bucket(project: Path) -> Iterator[Any]:
    """A bucket on loopback that keeps every version of an object."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield client
        server.stop()


def patiently(begin: Callable[[], Any]) -> Any:
    """Start a node, up to three times: Ray gives up its own start after 30 s, which a busy machine can take."""
    for _ in range(2):
        with suppress(Exception):
            return begin()
    return begin()


@pytest.fixture
def nodes(bucket: Any, temporary: Path) -> Iterator[Any]:
    """A cluster of two nodes; both inherit the bucket's address."""
    from ray.cluster_utils import Cluster

    from harness.sweep.cluster import FASTER

    with pytest.MonkeyPatch.context() as patch:
        for name, value in FASTER.items():
            patch.setenv(name, value)
        own = {"num_cpus": 1, "object_store_memory": 80_000_000, "node_ip_address": "127.0.0.2"}
        # Two cells at once on the node that stays, so that both cores are busy after the other is lost, too.
        cluster = patiently(
            lambda: Cluster(initialize_head=True, head_node_args={**own, "num_cpus": 2, "include_dashboard": False})
        )
        patiently(lambda: cluster.add_node(**own))
        yield cluster
        cluster.shutdown()


def workers_at_a_command(temporary: Path) -> list[int]:
    """The processes of this cluster of Ray that wait for a command of a cell, which runs in the cell's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str((process / "cwd").readlink()).startswith(f"{temporary}/harness-cell-"):
                parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                if Path(f"/proc/{parent}/cmdline").read_bytes().startswith(b"ray::run_there"):
                    found.append(int(parent))
    return found


def until(true: Callable[[], Any], seconds: float = 600) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.2)
    return found


def test_a_cluster_that_loses_a_worker_and_a_node_finds_what_one_machine_finds(
    project: Path, bucket: Any, nodes: Any, temporary: Path, serial: dict[str, Any]
) -> None:
    file = sweep_file(project, f"s3://{BUCKET}/ranks")
    running = subprocess.Popen(
        [*command(file, "--ray", nodes.address), "--json"], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.kill(until(lambda: workers_at_a_command(temporary))[0], signal.SIGKILL)
    done = f"ranks/cells/one-{TASKS[0]}"
    until(lambda: "Contents" in bucket.list_objects_v2(Bucket=BUCKET, Prefix=done))
    nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)
    out, err = running.communicate(timeout=1200)
    assert running.returncode == 0, err.decode()

    found = json.loads(out)
    assert len([cell for cell in found["done"] if cell["kind"] == "tuned"]) == 2 * len(TASKS)
    assert found["failed"] == []
    # Each attempt that was lost leaves its folder behind, each that ended put a done.json.
    lost = [path.name for path in temporary.glob("harness-cell-*/*")]
    assert 1 <= len(lost) <= 3, "only cells in flight run twice"
    versions = bucket.list_object_versions(Bucket=BUCKET, Prefix="ranks/cells/")["Versions"]
    ended = [one["Key"] for one in versions if one["Key"].endswith("/done.json")]
    assert sorted(ended) == sorted(f"ranks/cells/{cell['cell']}/done.json" for cell in found["done"])

    again = sweep(project, file)
    assert table(again) == table(found), "a start without Ray finds all done"
    assert table(found) == serial


def test_a_sweep_that_is_killed_while_it_trains_gives_the_same_table_and_trains_nothing_again(
    project: Path, serial: dict[str, Any]
) -> None:
    """At a random moment of the cell after the first, the second and the third; more often in test_killed.py."""
    file = sweep_file(project, "killed", tasks=TASKS[:2], bases=["one.gguf"])
    moments = random.Random(0)
    finished: dict[str, tuple[bytes, int]] = {}
    for cells in range(1, 4):
        running = subprocess.Popen(command(file), cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda cells=cells: len(list(project.glob("killed/cells/*/done.json"))) >= cells)  # type: ignore[misc]
        time.sleep(moments.uniform(0, 5))
        running.kill()
        running.wait()
        for path in project.glob("killed/cells/*/done.json"):
            finished.setdefault(path.parent.name, _state(path.parent))
    found = sweep(project, file)
    assert len(finished) >= 3
    for cell, before in finished.items():
        assert _state(project / "killed" / "cells" / cell) == before, cell
    assert table(found) == {cell: serial[cell] for cell in table(found)}
    assert len(table(found)) == 4


def _state(cell: Path) -> tuple[bytes, int]:
    """What a cell would not keep if any of it ran again: its JSON, and the length of its log."""
    return (cell / "done.json").read_bytes(), (cell / "log.txt").stat().st_size
