"""`swift-trainer dead`: commands that could not be understood, each with the reason."""

from typing import Annotated

import typer

from daemon.amqp import readable
from daemon.cli.completing import letter_ids
from daemon.cli.dead_letters import MOST, Desk, Letter, dead_letters
from daemon.cli.output import say, show_document, show_fields, show_line, show_table
from daemon.cli.session import EXIT_REFUSED, EXIT_USAGE, AsJson, Url, fail, run
from daemon.client import Client, Json

app = typer.Typer(
    help="Look at dead letters (commands that could not be understood), requeue or drop them.", no_args_is_help=True
)
LetterId = Annotated[str, typer.Argument(metavar="ID", help="as `dead list` shows it", autocompletion=letter_ids)]
LetterIds = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="as `dead list` shows them", autocompletion=letter_ids)
]
All = Annotated[bool, typer.Option("--all", help="all of them")]


@app.command("list")
def list_dead(*, as_json: AsJson = False, url: Url = None) -> None:
    """List the dead letters, oldest first; with --json one line each."""

    async def act(client: Client) -> None:
        async with dead_letters(client) as desk:
            pass  # looking is all
        if as_json:
            for letter in desk.letters:
                show_line(_document(letter))
            return
        rows = [(found.letter_id, found.command, len(found.message.body), found.reason) for found in desk.letters]
        show_table(("ID", "COMMAND", "BYTES", "REASON"), rows, empty="no dead letters")
        if len(desk.letters) == MOST:
            say(f"the first {MOST}; there may be more")

    run(url, act)


@app.command()
def show(letter_id: LetterId, *, as_json: AsJson = False, url: Url = None) -> None:
    """Show a dead letter with its body."""

    async def act(client: Client) -> None:
        async with dead_letters(client) as desk:
            chosen = _chosen(desk, [letter_id])[0]
        if as_json:
            show_document(_document(chosen))
        else:
            show_fields(_document(chosen))

    run(url, act)


@app.command()
def requeue(letters: LetterIds = None, *, everything: All = False, as_json: AsJson = False, url: Url = None) -> None:
    """Send dead letters as commands again: after what was wrong is put right, or with a newer daemon."""
    _work_on(letters, everything=everything, action="requeued", as_json=as_json, url=url)


@app.command()
def drop(letters: LetterIds = None, *, everything: All = False, as_json: AsJson = False, url: Url = None) -> None:
    """Remove dead letters for good."""
    _work_on(letters, everything=everything, action="dropped", as_json=as_json, url=url)


def _work_on(ids: list[str] | None, *, everything: bool, action: str, as_json: bool, url: str | None) -> None:
    if bool(ids) is everything:
        fail("give the ids of dead letters, or --all", EXIT_USAGE)

    async def act(client: Client) -> None:
        async with dead_letters(client) as desk:
            for letter in desk.letters if everything else _chosen(desk, ids or []):
                await (desk.requeue(letter) if action == "requeued" else desk.drop(letter))
                if as_json:
                    show_line({"id": letter.letter_id, "command": letter.command, "action": action})
                else:
                    say(f"{letter.letter_id} {letter.command}: {action}")

    run(url, act)


def _chosen(desk: Desk, ids: list[str]) -> list[Letter]:
    """The letters with these ids (all twins of an id, so that none is forgotten); one that is not there ends it all."""
    for given in ids:
        meant = {letter.letter_id for letter in desk.letters if letter.letter_id.startswith(given)}
        if len(meant) != 1:
            said = f"is the beginning of {len(meant)} ids: {', '.join(sorted(meant))}" if meant else "is not there"
            fail(f"dead letter {given} {said}; nothing was done", EXIT_REFUSED)
    return [letter for letter in desk.letters if letter.letter_id.startswith(tuple(ids))]


def _document(letter: Letter) -> Json:
    message = letter.message
    return {
        "id": letter.letter_id,
        "command": letter.command,
        "reason": letter.reason,
        "message_id": message.message_id and readable(message.message_id),
        "correlation_id": message.correlation_id and readable(message.correlation_id),
        "body": letter.body,
    }
