"""Every command that README, CONTRIBUTING and docs show is run as it stands, in a copy of the project."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Row = dict[str, Any]
ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS_HUB = re.compile(r"DATA=hub|harness mirror")
# The suite cannot run itself, and formatting the copy proves nothing: for these, make only has to know the target.
NOT_FROM_HERE = {"make test", "make lint", "make format"}


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks, without comments."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files, with this environment as its own and a mirror in the home folder."""
    home = tmp_path_factory.mktemp("home")
    project = home / "project"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project / name)
    (project / ".venv").symlink_to(sys.prefix)
    line = {"prediction": "#### 4", "reference": "#### 4", "level": "easy"}
    for name in ("answers", "mine", "theirs"):
        (project / f"{name}.jsonl").write_text(json.dumps(line) + "\n")
    (project / "votes.jsonl").write_text("".join(json.dumps(vote) + "\n" for vote in _votes()))
    _mirror(
        home / "mirror" / "google__jigsaw_toxicity_pred" / "default", project / "tasks" / "samples" / "jigsaw.jsonl"
    )
    _mirror(
        home / "mirror" / "lmsys__toxic-chat" / "toxicchat0124",
        project / "tasks" / "samples" / "toxic_chat.jsonl",
        lambda row: row | {"gpt4_label": ("not toxic", "toxic")[row["toxicity"]]},
    )
    return project


def _votes() -> list[dict[str, str]]:
    """Votes of a judge and of a person, with wins of either model."""
    of_judge = [("1", "model_a"), ("2", "model_b"), ("3", "tie"), ("4", "model_a")]
    of_person = [("1", "model_a"), ("2", "model_b"), ("3", "model_a"), ("4", "model_b")]
    return [
        {"model_a": "small", "model_b": "large", "winner": winner, "judge": judge, "row": row}
        for judge, votes in (("gpt", of_judge), ("ann", of_person))
        for row, winner in votes
    ]


def _mirror(folder: Path, samples: Path, change: Callable[[Row], Row] = dict) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    rows = [change(json.loads(line)) for line in samples.read_text().splitlines()]
    for split in ("train", "test"):
        pq.write_table(
            pa.Table.from_pylist([row for row in rows if row["_split"] == split]), folder / f"{split}.parquet"
        )


def run(command: str, project: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a reader would, without keys and without the hub."""
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(project.parent),
        "HF_HUB_OFFLINE": "1",
        "PIP_NO_INDEX": "1",
    }
    return subprocess.run(
        ["bash", "-c", command], cwd=project, env=environment, capture_output=True, text=True, timeout=170
    )


def test_there_are_commands_to_run() -> None:
    assert {"make bench TASK=ag_news", "make test", "make report"} <= set(commands(ROOT / "README.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page: Path, copy: Path) -> None:
    for command in commands(page):
        dry = command in NOT_FROM_HERE
        done = run(f"touch .venv/.ready .venv/.ready-dev; {'make -n ' + command[5:] if dry else command}", copy)
        if NEEDS_HUB.search(command):
            assert done.returncode == 2, f"{command}\n{done.stdout}{done.stderr}"
            assert "hub cannot be reached" in done.stderr
        else:
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_every_command_of_the_program_is_documented() -> None:
    from harness.cli import COMMANDS

    text = "".join(page.read_text() for page in PAGES)
    missing = [name for name in COMMANDS if f"harness {name}" not in text and f"make {name}" not in text]
    assert not missing


def test_the_example_task_of_the_readme_is_a_task() -> None:
    from ruamel.yaml import YAML

    from harness.tasks.task import Task

    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    task = next(block for block in blocks if block.startswith("title:"))
    assert Task.model_validate(YAML(typ="safe").load(task)).title == "Toxicity Detection (Jigsaw)"


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 200


def test_the_page_of_metrics_is_up_to_date() -> None:
    from docs.generate import metrics_page

    assert (ROOT / "docs" / "metrics.md").read_text() == metrics_page()


def test_the_page_of_tasks_names_every_task() -> None:
    page = (ROOT / "docs" / "tasks.md").read_text()
    missing = [path.stem for path in (ROOT / "tasks").glob("*.yaml") if f"| {path.stem} " not in page]
    assert not missing
