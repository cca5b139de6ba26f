"""The notifier's life: the rules and the spool are opened, lanes and listener run, and the rules file is reread.

A rules file that was broken by an edit changes nothing: the rules before it stay in use, and the log says what is
wrong. Stopping goes from the outside in: first no event is taken any more, then deliveries under way get a moment to
end; what is not told by then waits in the spool for the next start.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daemon.logs import get_log
from daemon.notifier.apprise_target import AppriseSender, knows
from daemon.notifier.intake import Intake
from daemon.notifier.lanes import Lanes, Send
from daemon.notifier.listening import Broker, Listener
from daemon.notifier.retries import Outcome
from daemon.notifier.rules_file import Loaded, RulesError, load
from daemon.notifier.spool import Delivery, Spool, spool_file
from daemon.notifier.targets import Destination, WebhookDestination
from daemon.notifier.webhook import WebhookSender, webhook_sender
from daemon.ports import Clock

log = get_log("notifier")

LOOK_S = 5.0
"""Between looks at the rules file."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a notifier is started with."""

    rules: Path
    spool: Path
    broker: Broker
    environ: Mapping[str, str] = field(repr=False)

    def load(self) -> Loaded:
        """The rules file as it is now. Raises `RulesError`."""
        return load(self.rules, self.environ, knows)


def sender(webhooks: WebhookSender, services: AppriseSender) -> Send:
    """One way to send to any target."""

    async def send(to: Destination, delivery: Delivery) -> Outcome:
        if isinstance(to, WebhookDestination):
            return await webhooks.send(to, delivery)
        return await services.send(to, delivery)

    return send


async def serve(
    options: Options,
    stopping: asyncio.Event,
    reread: asyncio.Event,
    *,
    clock: Clock,
    chance: Callable[[], float] = random.random,
) -> None:
    """Run until `stopping`; `reread` asks for the rules file to be read anew. Raises `RulesError` and `SpoolError`."""
    loaded = await asyncio.to_thread(options.load)
    with spool_file(options.spool) as path:
        spool = Spool(path, clock.now().timestamp())
        try:
            async with webhook_sender(clock) as webhooks, asyncio.TaskGroup() as group:
                lanes = Lanes(spool, sender(webhooks, AppriseSender(clock)), clock, chance)
                intake = Intake(loaded.rules, spool, lanes, clock)
                await lanes.use(loaded.destinations, group)
                log.info("notifier_started", "started", rules=len(loaded.rules.rules), waiting=await spool.waiting())
                watcher = RulesWatcher(options, intake, lanes, group, clock)
                tasks = (
                    group.create_task(watcher.run(reread), name="rules file"),
                    group.create_task(Listener(options.broker, intake.take, clock, chance).run(), name="listener"),
                )
                await stopping.wait()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await lanes.close()
                tally = lanes.tally
                log.info(
                    "notifier_stopped", "stopped", told=tally.told, failed=tally.failed, given_up=tally.given_up,
                    waiting=await spool.waiting(),
                )  # fmt: skip
        finally:
            await spool.close()


class RulesWatcher:
    """Takes new rules into use when the file changes, or when it is asked to."""

    def __init__(self, options: Options, intake: Intake, lanes: Lanes, group: asyncio.TaskGroup, clock: Clock) -> None:
        self._options = options
        self._intake = intake
        self._lanes = lanes
        self._group = group
        self._clock = clock

    async def run(self, reread: asyncio.Event) -> None:
        """Until cancelled."""
        known = await asyncio.to_thread(self._stamp)
        while True:
            asked = await self._clock.wait(reread, LOOK_S)
            reread.clear()
            stamp = await asyncio.to_thread(self._stamp)
            if asked or stamp != known:
                known = stamp
                await self._reread()

    async def _reread(self) -> None:
        try:
            loaded = await asyncio.to_thread(self._options.load)
        except RulesError as error:
            for line in str(error).splitlines():
                log.warning("rules_broken", f"the rules before it stay in use: {line}")
            return
        self._intake.rules = loaded.rules  # first, so that nothing is spooled for targets that go
        await self._lanes.use(loaded.destinations, self._group)
        log.info("rules_read", "new rules are in use", rules=len(loaded.rules.rules))

    def _stamp(self) -> object:
        """Differs when the file does."""
        try:
            found = self._options.rules.stat()
        except OSError as error:
            return error.errno
        return (found.st_mtime_ns, found.st_size, found.st_ino)
