"""The end of a study's command: a user's mistake gives one message."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from harness.errors import UserError


def run(command: click.Command) -> NoReturn:
    """Run a command with the arguments of this process, and exit."""
    try:
        sys.exit(command(standalone_mode=False))
    except UserError as error:
        sys.exit(f"error: {error}")
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
