"""`swift-trainer`: orders and follows jobs over the bus. `swift-trainer --help` has the commands.

Exit codes: 0 done, 1 refused or failed, 2 used wrongly, 3 no broker or no answer, 130 interrupted.
"""

import io
import logging
import sys
from typing import Annotated

import typer

from daemon import __version__
from daemon.cli import (
    calling,
    contract,
    dead,
    doctor,
    following,
    gateway,
    jobs,
    nodes,
    notifying,
    submitting,
)
from daemon.cli.process import run_to_the_end

app = typer.Typer(
    help="Order and follow ms-swift trainings over RabbitMQ. The broker is SWIFT_TRAINER_AMQP_URL. "
    "Exit codes: 0 done, 1 refused or failed, 2 used wrongly, 3 no broker or no answer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"swift-trainer {__version__}")
        raise typer.Exit


@app.callback()
def _program(  # pyright: ignore[reportUnusedFunction]
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version, and end")
    ] = False,
) -> None:
    """What stands before the name of a command."""


app.command()(submitting.submit)
app.command("list")(jobs.list_jobs)
app.command()(jobs.show)
app.command()(following.watch)
app.command()(following.logs)
app.command()(following.events)
app.command()(jobs.start)
app.command()(jobs.stop)
app.command()(jobs.resume)
app.command()(jobs.export)
app.command()(jobs.delete)
app.command()(nodes.queue)
app.command()(nodes.gpus)
app.command()(nodes.nodes)
app.command()(nodes.drain)
app.command()(nodes.undrain)
app.command()(nodes.forget)
app.command()(nodes.status)
app.command()(doctor.doctor)
app.add_typer(dead.app, name="dead")
app.command()(notifying.notify)
app.command()(contract.params)
app.command()(contract.schema)
app.command()(calling.call)
app.command()(gateway.gateway)
app.add_typer(gateway.token_app, name="token")


def main() -> None:
    """Entry point of `swift-trainer`."""
    logging.basicConfig(handlers=[logging.NullHandler()])  # what libraries say is said in one line of our own
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that is not UTF-8 shows numbers, and nothing crashes
            stream.reconfigure(errors="backslashreplace")
    run_to_the_end(app)


if __name__ == "__main__":
    main()
