"""`harness schema`: the JSON Schema of a task file."""

from __future__ import annotations

import json

import click


@click.command("schema")
def command() -> int:
    """Print the JSON Schema of task files, for completion in editors."""
    from harness.tasks.task import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0
