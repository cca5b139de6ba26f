"""Bringing deliveries out: one lane a target, each with bounded work of its own, so that none waits for another's.

A lane takes the delivery that is due first, lets the sender try it, and writes what became of it into the spool. What
was under way when the process ends stands in the spool still, and is tried again: at least once.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from daemon.logs import get_log
from daemon.notifier.retries import Failed, Outcome, Told, pause_s
from daemon.notifier.spool import Delivery, Spool
from daemon.notifier.targets import AppriseDestination, Destination
from daemon.ports import Clock

log = get_log("notifier")

WEBHOOK_WIDTH = 4
APPRISE_WIDTH = 1
"""People read in order."""
LONGEST_WAIT_S = 60.0
"""A slow look behind every wake-up."""
DISK_PAUSE_S = 5.0
STOP_LIMIT_S = 5.0

Send = Callable[[Destination, Delivery], Awaitable[Outcome]]


@dataclass(slots=True)
class Tally:
    """What happened since the start."""

    told: int = 0
    failed: int = 0
    """Attempts that failed and were put off."""
    given_up: int = 0


class Lane:
    """The deliveries to one target."""

    def __init__(
        self, to: Destination, spool: Spool, send: Send, clock: Clock, chance: Callable[[], float], tally: Tally
    ) -> None:
        self.to = to
        self.hint = asyncio.Event()
        self._spool = spool
        self._send = send
        self._clock = clock
        self._chance = chance
        self._tally = tally
        self._free = asyncio.Semaphore(APPRISE_WIDTH if isinstance(to, AppriseDestination) else WEBHOOK_WIDTH)
        self._under_way: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Deliver until cancelled; what is under way then has a moment to end."""
        try:
            while True:
                await self._free.acquire()
                delivery = await self._take()
                task = asyncio.create_task(self._deliver(delivery), name=f"delivery {delivery.number}")
                self._under_way[delivery.number] = task
                task.add_done_callback(lambda _, number=delivery.number: self._ended(number))
        finally:
            await self._end()

    async def _take(self) -> Delivery:
        """The next delivery, when it is due."""
        while True:
            self.hint.clear()
            try:
                found = await self._spool.next(self.to.key, tuple(self._under_way))
            except sqlite3.Error as error:
                log.warning("spool_failed", f"can't read the spool: {error}")
                await self._clock.sleep(DISK_PAUSE_S)
                continue
            wait_s = LONGEST_WAIT_S if found is None else found.due - self._now()
            if found is not None and wait_s <= 0:
                return found
            await self._clock.wait(self.hint, min(wait_s, LONGEST_WAIT_S))

    async def _deliver(self, delivery: Delivery) -> None:
        attempts = delivery.attempts + 1
        try:
            outcome = await self._send(self.to, delivery)
        except Exception as error:  # a bug must not keep other deliveries from being told; its text may hold an address
            outcome = Failed(f"unexpected {type(error).__name__}")
        if isinstance(outcome, Told):
            self._tally.told += 1
            log.info("notification_told", "told", **self._about(delivery), attempts=attempts)
            await self._keep_trying(lambda: self._spool.done(delivery.number))
            return
        wait_s = pause_s(attempts, outcome, self._chance())
        if wait_s is None:
            self.give_up(delivery, outcome.reason, attempts)
            await self._keep_trying(lambda: self._spool.done(delivery.number))
            return
        self._tally.failed += 1
        log.warning(
            "notification_failed",
            outcome.reason,
            **self._about(delivery),
            attempts=attempts,
            retry_in_s=round(wait_s, 1),
        )
        await self._keep_trying(lambda: self._spool.postpone(delivery.number, self._now() + wait_s))

    def give_up(self, delivery: Delivery, reason: str, attempts: int) -> None:
        """Say that a delivery will never be told."""
        self._tally.given_up += 1
        log.error(
            "notification_given_up", reason, **self._about(delivery), attempts=attempts, given_up=self._tally.given_up
        )

    async def _keep_trying(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write into the spool, however long the disk takes: what is not noted would be told again at once."""
        while True:
            try:
                await write()
            except sqlite3.Error as error:
                log.warning("spool_failed", f"can't write the spool: {error}")
                await self._clock.sleep(DISK_PAUSE_S)
            else:
                return

    def _about(self, delivery: Delivery) -> Mapping[str, object]:
        return {"rule": delivery.rule, "target": self.to.shown, "event_id": delivery.event_id}

    def _ended(self, number: int) -> None:
        del self._under_way[number]
        self._free.release()
        self.hint.set()

    def _now(self) -> float:
        return self._clock.now().timestamp()

    async def _end(self) -> None:
        tasks = list(self._under_way.values())
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_LIMIT_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Lanes:
    """A lane for each target of the rules in use."""

    def __init__(self, spool: Spool, send: Send, clock: Clock, chance: Callable[[], float]) -> None:
        self.tally = Tally()
        self._spool = spool
        self._send = send
        self._clock = clock
        self._chance = chance
        self._lanes: dict[str, tuple[Lane, asyncio.Task[None]]] = {}

    async def use(self, destinations: Mapping[str, Destination], group: asyncio.TaskGroup) -> None:
        """Have lanes for these targets and no others; what waits for others is given up."""
        await self._stop(
            [key for key, (lane, _) in self._lanes.items() if destinations.get(key) != lane.to],
        )
        for delivery in await self._spool.drop_others(destinations):
            self.tally.given_up += 1
            log.error(
                "notification_given_up",
                "its target is no longer in the rules file",
                rule=delivery.rule,
                event_id=delivery.event_id,
                attempts=delivery.attempts,
                given_up=self.tally.given_up,
            )
        for key, to in destinations.items():
            if key not in self._lanes:
                lane = Lane(to, self._spool, self._send, self._clock, self._chance, self.tally)
                self._lanes[key] = (lane, group.create_task(lane.run(), name=f"lane {to.shown}"))

    def wake(self, targets: tuple[str, ...]) -> None:
        """Something was spooled for these."""
        for key in targets:
            if key in self._lanes:
                self._lanes[key][0].hint.set()

    def overflowed(self, delivery: Delivery) -> None:
        """A target had too many waiting."""
        if delivery.target in self._lanes:
            self._lanes[delivery.target][0].give_up(delivery, "too many wait for this target", delivery.attempts)

    async def close(self) -> None:
        """End all lanes."""
        await self._stop(list(self._lanes))

    async def _stop(self, keys: list[str]) -> None:
        tasks = [self._lanes.pop(key)[1] for key in keys]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
