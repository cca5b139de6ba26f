"""The edge of the program: what typer and the operating system throw becomes one line and an exit code as well."""

import errno
import os
import sys
from contextlib import suppress
from typing import cast

import typer
import typer.main

from daemon.cli.session import EXIT_REFUSED, complain, for_programs

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What is printed can't be taken: the disk is full, or the terminal is gone. A pipe that is closed is typer's own."""
USED_WRONGLY = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[2])
"""What a wrong option or argument is told by: click's base of all such, be it typer's own click or another."""


def run_to_the_end(app: typer.Typer) -> None:
    """Run the command of this process's arguments; always ends the program."""
    try:
        try:
            _run(app)
        finally:
            sys.stdout.flush()  # here, where a failure can still be told
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        with suppress(OSError):  # standard error may be as full
            complain(f"can't print: {error.strerror}")
        sys.exit(EXIT_REFUSED)


def _run(app: typer.Typer) -> None:
    """What is used wrongly is told by typer, with colours and a frame; to programs as every other error."""
    if not for_programs():
        app()
        return
    try:
        sys.exit(typer.main.get_command(app).main(standalone_mode=False) or 0)
    except USED_WRONGLY as error:
        complain(error.format_message())
        sys.exit(error.exit_code)
    except typer.Abort:
        complain("aborted")
        sys.exit(EXIT_REFUSED)
