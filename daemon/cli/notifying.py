"""`swift-trainer notify`: tells people and programs of jobs, by rules in a file. `daemon.notifier` does the work."""

import asyncio
import os
import random
import signal
from pathlib import Path
from typing import Annotated

import typer

from daemon.adapters.clock import SystemClock
from daemon.cli.output import say, show_line
from daemon.cli.session import EXIT_NO_ANSWER, EXIT_REFUSED, EXIT_USAGE, AsJson, Url, broker_settings, fail
from daemon.client import ClientError
from daemon.logs import configure
from daemon.notifier.apprise_target import AppriseSender
from daemon.notifier.listening import QUEUE, Broker, live_events
from daemon.notifier.retries import Failed
from daemon.notifier.rules_file import Loaded, RulesError
from daemon.notifier.service import Options, sender, serve
from daemon.notifier.spool import SpoolError
from daemon.notifier.trial import test_rules, would_be_told
from daemon.notifier.webhook import webhook_sender
from daemon.ports import UnavailableError

SPOOL = "notifications.db"


def notify(
    rules: Annotated[Path, typer.Argument(metavar="RULES.yaml", help="who is told of what, where")],
    *,
    check: Annotated[bool, typer.Option("--check", help="say whether the file is right, and end")] = False,
    test: Annotated[bool, typer.Option("--test", help="send a test message of each rule, and end")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print what would be sent for live events")] = False,
    queue: Annotated[str, typer.Option(help="durable queue of this notifier on the broker")] = QUEUE,
    spool: Annotated[
        Path | None, typer.Option(help=f"file of what is still to be told; default: {SPOOL} in SWIFT_TRAINER_STATE_DIR")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Tell of jobs by rules, until SIGTERM: to any service that Apprise knows, and to signed webhooks.

    A process of its own: no job depends on it. SIGHUP, or a change of the file, has the rules read anew.
    """
    if check + test + dry_run > 1:
        fail("give one of --check, --test and --dry-run", EXIT_USAGE)
    settings = broker_settings()
    configure(form=settings.log_format, level=settings.log_level)
    broker = Broker(url or settings.amqp_url.get_secret_value(), settings.amqp_ca_path, queue)
    options = Options(rules, spool or settings.state_path / SPOOL, broker, os.environ)
    try:
        if not (check or test or dry_run):
            asyncio.run(_until_told_to_end(options))
            return
        loaded = options.load()
        if check:
            say(f"{rules}: {len(loaded.rules.rules)} rules, {len(loaded.destinations)} targets: ok")
        elif test:
            asyncio.run(_test(loaded, as_json=as_json))
        else:
            asyncio.run(_dry_run(loaded, broker, as_json=as_json))
    except (RulesError, SpoolError) as error:
        fail(str(error), EXIT_USAGE)
    except (ClientError, UnavailableError) as error:
        fail(str(error), EXIT_NO_ANSWER)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def _until_told_to_end(options: Options) -> None:
    stopping, reread = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, reread.set)
    await serve(options, stopping, reread, clock=SystemClock(), chance=random.random)


async def _test(loaded: Loaded, *, as_json: bool) -> None:
    clock = SystemClock()
    async with webhook_sender(clock) as webhooks:
        found = await test_rules(loaded, sender(webhooks, AppriseSender(clock)), clock)
    for tried in found:
        said = tried.outcome.reason if isinstance(tried.outcome, Failed) else "told"
        if as_json:
            show_line({"rule": tried.rule, "target": tried.target, "told": said == "told", "said": said})
        else:
            say(f"{tried.rule} -> {tried.target}: {said}")
    if any(isinstance(tried.outcome, Failed) for tried in found):
        raise typer.Exit(EXIT_REFUSED)


async def _dry_run(loaded: Loaded, broker: Broker, *, as_json: bool) -> None:
    async with broker.client() as client, live_events(client) as events:
        async for facts, message in would_be_told(loaded, events):
            targets = [loaded.destinations[key].shown for key in message.targets]
            if as_json:
                show_line({
                    "event_id": facts.event_id, "rule": message.rule, "targets": targets,
                    "title": message.title, "body": message.body,
                })  # fmt: skip
                continue
            say(f"{message.rule} -> {', '.join(targets)}: {message.title}")
            for line in message.body.splitlines():
                say(f"    {line}")
    raise ClientError("the connection to the broker is gone")
