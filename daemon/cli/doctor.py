"""`swift-trainer doctor`: what is wrong and what to do, as far as the bus can tell.

`swift-trainerd --check`, on a node, sees the rest: its own settings, and what it needs to start. What the user of this
address may do is tried with commands that change nothing, each over a connection of its own: the broker closes the
channel of whoever may not.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime

import typer

from daemon.cli.dead_letters import count_dead
from daemon.cli.findings import (
    ADVICE,
    NO_BROKER,
    NO_DAEMON,
    RIGHTS_PAGE,
    Finding,
    Verdict,
    of_clocks,
    of_dead,
    of_devices,
    of_nodes,
    of_parts,
    of_rights,
    of_versions,
)
from daemon.cli.output import show_document, show_table
from daemon.cli.session import EXIT_NO_ANSWER, EXIT_REFUSED, AsJson, Url, client_of, finish
from daemon.client import BrokerAwayError, Client, ClientError, NoAnswerError, RefusedError

ANSWER_LIMIT_S = 10.0
NOBODY = "no-such-one"
"""No job and no node is called so: what is ordered of it is refused, and changes nothing."""
Connect = Callable[[], Client]


def doctor(*, as_json: AsJson = False, url: Url = None) -> None:
    """Say what is wrong with broker, store, devices, ms-swift, rights, clocks, disks, versions, and what to do.

    Exits with 1 where something is wrong, with 3 where nobody answers.
    """
    code, found = finish(_examined(lambda: client_of(url)))
    if as_json:
        show_document([asdict(finding) for finding in found])
    else:
        rows = [(item.part, item.verdict, item.said, item.advice) for item in found]
        show_table(("PART", "", "FOUND", "WHAT TO DO"), rows, empty="nothing was found")
    if code == 0 and any(finding.verdict is Verdict.WRONG for finding in found):
        code = EXIT_REFUSED
    if code:
        raise typer.Exit(code)


async def _examined(connect: Connect) -> tuple[int, list[Finding]]:
    """An exit code where nobody answers, else 0; and what was found."""
    try:
        async with connect() as client:
            pass
    except BrokerAwayError as error:
        return EXIT_NO_ANSWER, [Finding("broker", Verdict.WRONG, str(error), NO_BROKER)]
    try:
        async with connect() as client:
            found = await _of_the_whole(client)
    except NoAnswerError as error:
        return EXIT_NO_ANSWER, [Finding("daemon", Verdict.WRONG, str(error), NO_DAEMON)]
    except ClientError as error:
        return EXIT_REFUSED, [
            Finding("may ask", Verdict.WRONG, f"no: {error}", f"ask with another user; {RIGHTS_PAGE}")
        ]
    except RefusedError as error:
        return EXIT_REFUSED, [Finding("store", Verdict.WRONG, error.message, ADVICE["store"])]
    return 0, [*found, *of_rights(await _rights(connect)), of_dead(await _dead(connect))]


async def _of_the_whole(client: Client) -> list[Finding]:
    asked = datetime.now(UTC)
    status = await client.call("system.status", timeout_s=ANSWER_LIMIT_S)
    answered = datetime.now(UTC)
    nodes = (await client.call("node.list", timeout_s=ANSWER_LIMIT_S))["nodes"]
    devices = (await client.call("gpu.list", timeout_s=ANSWER_LIMIT_S))["gpus"]
    return [
        *of_parts(status),
        *of_nodes(nodes),
        *of_devices(devices, nodes),
        *of_clocks(status, asked, answered),
        *of_versions(nodes),
    ]


async def _rights(connect: Connect) -> dict[str, str | None]:
    async def order_jobs(client: Client) -> None:
        await client.call("job.start", {"job_id": NOBODY}, timeout_s=ANSWER_LIMIT_S)

    async def order_nodes(client: Client) -> None:
        await client.call("node.resume", {"node_id": NOBODY}, timeout_s=ANSWER_LIMIT_S)

    async def follow_events(client: Client) -> None:
        async with client.events(f"job.{NOBODY}.#"):
            pass

    tried = {"order jobs": order_jobs, "order nodes": order_nodes, "follow events": follow_events}
    return {what: await _refused(connect, act) for what, act in tried.items()}


async def _refused(connect: Connect, act: Callable[[Client], Awaitable[None]]) -> str | None:
    """None where the broker lets it through, whatever the daemon then says of it; else what it says."""
    try:
        async with connect() as client:
            await act(client)
    except RefusedError:
        return None
    except ClientError as error:
        return str(error)
    return None


async def _dead(connect: Connect) -> int | None:
    async with connect() as client:
        return await count_dead(client)
