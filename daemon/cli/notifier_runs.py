"""What `swift-trainer notify` does: run, check the rules, send test messages, or say what would be sent."""

import asyncio
import os
import signal
from pathlib import Path

import typer

from daemon.adapters.clock import SystemClock
from daemon.cli.output import say, show_line
from daemon.cli.session import EXIT_REFUSED
from daemon.client import ClientError
from daemon.notifier.apprise_target import AppriseSender
from daemon.notifier.listening import Broker, live_events
from daemon.notifier.retries import Failed
from daemon.notifier.rules_file import Loaded, RulesError
from daemon.notifier.service import Options, sender, serve
from daemon.notifier.spool import SpoolError
from daemon.notifier.trial import Tried, try_rules, would_be_told
from daemon.notifier.webhook import webhook_sender
from daemon.ports import UnavailableError

__all__ = [
    "Broker",
    "RulesError",
    "SpoolError",
    "UnavailableError",
    "check",
    "dry_run",
    "options",
    "serve_until_told",
    "test",
]


def options(rules: Path, spool: Path, broker: Broker) -> Options:
    """What a notifier is started with; secrets come from this process's environment."""
    return Options(rules, spool, broker, os.environ)


def serve_until_told(options: Options) -> None:
    """Run until SIGTERM or SIGINT."""

    async def serving() -> None:
        stopping, reread = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        loop.add_signal_handler(signal.SIGHUP, reread.set)
        await serve(options, stopping, reread, clock=SystemClock())

    asyncio.run(serving())


def check(options: Options) -> None:
    """Say that the rules are right. Raises `RulesError` where they are not."""
    found = options.load()
    rules, targets = _counted(len(found.rules.rules), "rule"), _counted(len(found.destinations), "target")
    say(f"{options.rules}: ok, {rules}, {targets}")


def test(options: Options, *, as_json: bool) -> None:
    """Send a test message of each rule, and say what became of it; ends the program with 1 where one failed."""
    found = asyncio.run(_tried(options.load()))
    for tried in found:
        said = tried.outcome.reason if isinstance(tried.outcome, Failed) else "told"
        if as_json:
            show_line({"rule": tried.rule, "target": tried.target, "told": said == "told", "said": said})
        else:
            say(f"{tried.rule} -> {tried.target}: {said}")
    if any(isinstance(tried.outcome, Failed) for tried in found):
        raise typer.Exit(EXIT_REFUSED)


async def _tried(loaded: Loaded) -> list[Tried]:
    clock = SystemClock()
    async with webhook_sender(clock) as webhooks:
        return await try_rules(loaded, sender(webhooks, AppriseSender(clock)), clock)


def dry_run(options: Options, *, as_json: bool) -> None:
    """Print what would be sent for events as they come, until it is interrupted."""
    asyncio.run(_dry_run(options.load(), options.broker, as_json=as_json))


async def _dry_run(loaded: Loaded, broker: Broker, *, as_json: bool) -> None:
    async with broker.client() as client, live_events(client) as events:
        async for facts, message in would_be_told(loaded, events):
            targets = [loaded.destinations[key].shown for key in message.targets]
            if as_json:
                told = {"rule": message.rule, "targets": targets, "title": message.title, "body": message.body}
                show_line({"event_id": facts.event_id, **told})
                continue
            say(f"{message.rule} -> {', '.join(targets)}: {message.title}")
            for line in message.body.splitlines():
                say(f"    {line}")
    raise ClientError("the connection to the broker is gone")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
