"""`swift-trainer gateway`: the HTTP face in the foreground, and `swift-trainer token`: who may use it."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from daemon.cli.output import say, show_document, show_table
from daemon.cli.session import EXIT_REFUSED, EXIT_USAGE, AsJson, broker_settings, fail
from daemon.gateway.settings import GATEWAY_PREFIX, GatewaySettings
from daemon.gateway.tokens import TokenError, TokenFile
from daemon.logs import configure
from daemon.settings import setting_faults

token_app = typer.Typer(help="The tokens of `swift-trainer gateway`: read < submit < operate.", no_args_is_help=True)
TokensPath = Annotated[Path | None, typer.Option("--file", help=f"in place of {GATEWAY_PREFIX}TOKENS")]


def gateway(
    *,
    host: Annotated[str | None, typer.Option(help=f"in place of {GATEWAY_PREFIX}HOST [127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help=f"in place of {GATEWAY_PREFIX}PORT [8000]")
    ] = None,
) -> None:
    """Serve the REST API, event streams and the page until SIGTERM.

    Without tokens it listens on loopback alone.
    """
    from daemon.gateway.server import UnsafeError, listening, make_server  # it takes a second to import
    from daemon.tracing_sdk import tracing

    bus = broker_settings()
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = gateway_settings(**given)
    configure(form=bus.log_format, level=bus.log_level)
    try:
        server = make_server(settings, bus)
        with listening(settings) as found, tracing("swift-trainer-gateway", bus.node_id):
            address, number = found.getsockname()[:2]
            shown = f"[{address}]" if ":" in address else address
            typer.echo(
                f"swift-trainer: http://{shown}:{number}{settings.root_path}/ (the page), /openapi.json (the API)",
                err=True,
            )
            asyncio.run(server.serve(sockets=[found]))
    except (UnsafeError, TokenError) as error:
        fail(str(error), EXIT_USAGE)
    except OSError as error:
        fail(f"can't listen on {settings.host} port {settings.port}: {error.strerror or error}", EXIT_USAGE)


def gateway_settings(**given: object) -> GatewaySettings:
    """The gateway's settings; a bad one is told and ends the program."""
    try:
        return GatewaySettings(**given)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        fail(setting_faults(error, GATEWAY_PREFIX)[0], EXIT_USAGE)


@token_app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="for a person to know it by")],
    *,
    role: Annotated[str, typer.Option(help="read, submit (creates, and acts on its owner's jobs) or operate")],
    owner: Annotated[str | None, typer.Option(help="owner of the jobs that it creates")] = None,
    as_json: AsJson = False,
    file: TokensPath = None,
) -> None:
    """Make a token and print it: this once, because only its hash is kept."""
    try:
        token = _tokens(file).add(name, role, owner)
    except TokenError as error:
        fail(str(error), EXIT_REFUSED)
    if as_json:
        show_document({"name": name, "role": role, "owner": owner, "token": token})
    else:
        typer.echo(token)


@token_app.command("list")
def list_tokens(*, as_json: AsJson = False, file: TokensPath = None) -> None:
    """Show the tokens, without what opens the door."""
    try:
        found = _tokens(file).tokens()
    except TokenError as error:
        fail(str(error), EXIT_REFUSED)
    if as_json:
        show_document([each.model_dump(exclude={"sha256"}) for each in found])
    else:
        show_table(
            ("NAME", "ROLE", "OWNER"),
            ((each.name, each.role, each.owner) for each in found),
            empty="there are no tokens",
        )


@token_app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="as `token list` shows it")],
    *,
    as_json: AsJson = False,
    file: TokensPath = None,
) -> None:
    """Let a token open nothing from now on."""
    try:
        _tokens(file).remove(name)
    except TokenError as error:
        fail(str(error), EXIT_REFUSED)
    if as_json:
        show_document({"name": name, "action": "removed"})
    else:
        say(f"removed {name}")


def _tokens(file: Path | None) -> TokenFile:
    return TokenFile(file if file is not None else gateway_settings().tokens_path)
