"""The command line: a thin group whose commands are loaded when they are used."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import click

from harness import __version__
from harness.printable import printable_output

COMMANDS = (
    "bench", "plan", "report", "open", "history", "compare", "gate", "study", "claims", "check", "preview", "tasks",
    "models", "mirror", "score", "judge", "rank", "collect", "record", "distill", "chunk", "train", "contract", "sweep",
    "merge", "proof", "serve", "loadtest", "demo", "retry", "forget", "export", "schema", "init", "new",
)  # fmt: skip


DOTENV = Path(".env")
OF_A_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC)
"""Why a file or folder that was named cannot be read or written."""


class LazyGroup(click.Group):
    """Imports a command's module only when it is asked for or listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"harness.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; the error for an unknown one names the nearest."""
        from harness.errors import nearest

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"no command '{args[0]}'{nearest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="harness")
def app() -> None:
    """Does my fine-tuned small model beat GPT-4 on my task, by how much, how sure are we, and at what cost?"""


def _read_dotenv() -> None:
    """Read variables from `.env` in the current folder; those that are set already are not changed.

    Raises:
        UserError: the file cannot be read.
    """
    if not DOTENV.is_file():
        return
    from dotenv import load_dotenv

    from harness.errors import UserError

    try:
        load_dotenv(DOTENV, interpolate=False)  # a key is used as written, also one that contains a $
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{DOTENV}: cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None


_show_other_warning = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
    """Print a warning of ours as one line; those of other packages as Python does."""
    from harness.errors import HarnessWarning

    if issubclass(category, HarnessWarning):
        print(f"warning: {message}", file=sys.stderr)
    else:
        _show_other_warning(message, category, *rest, **named)


def main() -> None:
    """Run the command line; a user's mistake gives one message and exit code 2."""
    with printable_output():
        code = _run()
    sys.exit(code)


def _run() -> int:
    from harness.errors import HarnessError, UserError

    warnings.showwarning = _show_warning
    # Read when numpy is imported. Two threads for products as small as a resampling wait for each other: twice the time
    # in all on a machine with other work.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        _read_dotenv()
        code: int = app(prog_name="harness", standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("Stopped; answers so far are saved. Run the same command to resume.", file=sys.stderr)
        code = 130
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:
        # The reader of our output is gone; Python would raise the error again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        if error.filename is None or error.errno not in OF_A_PLACE:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        code = UserError.exit_code
    return code
