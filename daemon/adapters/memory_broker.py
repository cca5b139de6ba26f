"""The broker of `daemon.adapters.memory_bus`: what outlives the daemons.

The command queue, the dead letters, the replies and the events. A test sends commands into it, looks at what came out,
and makes outages: `go_away` and `come_back`, or `cut` for a moment's break.
"""

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from daemon.adapters.clock import SystemClock
from daemon.ports import Clock, Delivery
from schemas.commands import ERROR_HEADER
from schemas.events import CloudEvent, OutboxEvent
from schemas.replies import Reply

DELIVERY_LIMIT = 100
DEATH_HEADER = "x-first-death-reason"


@dataclass(slots=True, eq=False)
class Command:
    """A message in the command queue."""

    number: int
    routing_key: str
    body: bytes
    message_id: str | None
    correlation_id: str | None
    reply_to: str | None
    user_id: str | None
    headers: dict[str, object]
    expires_in_s: float | None
    sent_at_s: float
    deliveries: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message in the dead-letter queue."""

    routing_key: str
    body: bytes
    message_id: str | None
    correlation_id: str | None
    reply_to: str | None
    headers: Mapping[str, object]

    @property
    def error(self) -> str:
        """Why the daemon put it there; empty where the broker did."""
        return str(self.headers.get(ERROR_HEADER, ""))


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply as its requester gets it."""

    reply_to: str
    correlation_id: str | None
    body: bytes

    @property
    def reply(self) -> Reply:
        return Reply.model_validate_json(self.body)


class Consumer(Protocol):
    """A daemon's connection, as the broker sees it."""

    unacknowledged: dict[int, Command]
    node_id: str

    @property
    def connection(self) -> int:
        """Number of its present connection."""
        ...

    def take_over(self, delivery: Delivery) -> None:
        """A query that another daemon has sent on to this one."""
        ...

    def wake(self, routing_key: str) -> None:
        """Another daemon has published an event."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether another command may be handed on."""
        ...

    def hand_on(self, command: Command) -> None:
        """Deliver a command."""
        ...

    def disconnect(self) -> None:
        """The connection broke."""
        ...


class MemoryBroker:
    """The broker of a test."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.away = False
        self.dead: list[DeadLetter] = []
        self.answers: list[Answer] = []
        """Every reply, in order."""
        self.events: list[OutboxEvent] = []
        """Durable events as published, repetitions included."""
        self.live: list[tuple[str, CloudEvent]] = []
        """Live events with their routing keys."""
        self.acked: list[Command] = []
        """Commands that were acknowledged, in that order."""
        self._queue: deque[Command] = deque()
        self._buses: list[Consumer] = []
        self._number = 0
        self._turn = 0
        self._calls: dict[str | None, asyncio.Future[Answer]] = {}
        """Those who wait in `call`, by correlation id."""

    # ------------------------------------------------------------ the test's side

    def send(
        self,
        command: str,
        body: Mapping[str, object] | bytes | str = b"{}",
        *,
        message_id: str | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        user_id: str | None = None,
        expires_in_s: float | None = None,
        headers: Mapping[str, object] | None = None,
    ) -> Command:
        """Publish a command; it is kept also while nobody consumes, and while the broker is away from the daemons."""
        self._number += 1
        sent = Command(
            number=self._number,
            routing_key=command,
            body=_bytes(body),
            message_id=message_id,
            correlation_id=correlation_id,
            reply_to=reply_to,
            user_id=user_id,
            headers=dict(headers or {}),
            expires_in_s=expires_in_s,
            sent_at_s=self.clock.monotonic(),
        )
        self._queue.append(sent)
        self.dispatch()
        return sent

    async def call(
        self,
        command: str,
        body: Mapping[str, object] | bytes | str = b"{}",
        *,
        message_id: str | None = None,
        user_id: str | None = None,
    ) -> Reply:
        """Send a command and wait for its reply (in another task the clock may have to be moved for it)."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        key = f"call-{self._number + 1}"
        self._calls[key] = future
        try:
            self.send(command, body, message_id=message_id, correlation_id=key, reply_to="caller", user_id=user_id)
            return (await future).reply
        finally:
            del self._calls[key]

    def go_away(self) -> None:
        """An outage: connections break, what was not acknowledged goes back into the queue."""
        self.away = True
        for bus in self._buses:
            bus.disconnect()

    def cut(self) -> None:
        """Every connection breaks and is made anew at once."""
        self.go_away()
        self.come_back()

    def come_back(self) -> None:
        """The broker is there again, and consumers with it."""
        self.away = False
        self.dispatch()

    @property
    def waiting(self) -> int:
        """Commands that no daemon has taken."""
        return len(self._queue)

    @property
    def unacknowledged(self) -> int:
        """Commands that a daemon has taken and not acknowledged."""
        return sum(len(bus.unacknowledged) for bus in self._buses)

    def events_of(self, subject: str) -> list[OutboxEvent]:
        """The durable events of a job or a node, as published, repetitions included."""
        return [event for event in self.events if event.event.subject == subject]

    def answers_to(self, correlation_id: str) -> list[Answer]:
        """The replies with this correlation id."""
        return [answer for answer in self.answers if answer.correlation_id == correlation_id]

    @property
    def consumers(self) -> int:
        """How many daemons consume commands."""
        return len(self._buses)

    # ------------------------------------------------------------ for the buses

    def attach(self, bus: Consumer) -> None:
        """A consumer is there."""
        if bus not in self._buses:
            self._buses.append(bus)
        self.dispatch()

    def detach(self, bus: Consumer) -> None:
        """A connection is gone for good."""
        bus.disconnect()
        if bus in self._buses:
            self._buses.remove(bus)
        self.dispatch()

    def publish(self, event: OutboxEvent, by: Consumer) -> None:
        """A durable event; it wakes the other daemons."""
        self.events.append(event)
        for bus in self._buses:
            if bus.node_id != by.node_id:
                bus.wake(event.routing_key)

    def bus_of(self, node_id: str) -> Consumer | None:
        """The connection of a node's daemon."""
        return next((bus for bus in self._buses if bus.node_id == node_id), None)

    def dispatch(self) -> None:
        """Hand commands to the consumers that have room, in turn."""
        while self._queue and not self.away:
            ready = [bus for bus in self._buses if bus.has_room]
            if not ready:
                return
            command = self._queue.popleft()
            age_s = self.clock.monotonic() - command.sent_at_s
            if command.expires_in_s is not None and age_s >= command.expires_in_s:
                self.bury(command, {DEATH_HEADER: "expired"})
            elif command.deliveries > DELIVERY_LIMIT:
                self.bury(command, {DEATH_HEADER: "delivery_limit"})
            else:
                self._turn += 1
                command.deliveries += 1
                ready[self._turn % len(ready)].hand_on(command)

    def requeue(self, commands: list[Command]) -> None:
        """What was not acknowledged comes again, before what waits."""
        self._queue.extendleft(sorted(commands, key=lambda command: -command.number))

    def bury(self, command: Command, headers: Mapping[str, object]) -> None:
        """Put a command into the dead-letter queue."""
        self.dead.append(
            DeadLetter(
                routing_key=command.routing_key,
                body=command.body,
                message_id=command.message_id,
                correlation_id=command.correlation_id,
                reply_to=command.reply_to,
                headers={**command.headers, **headers},
            )
        )

    def answer(self, answer: Answer) -> None:
        """Take a reply to its requester."""
        self.answers.append(answer)
        future = self._calls.get(answer.correlation_id)
        if future is not None and not future.done():
            future.set_result(answer)


def _bytes(body: Mapping[str, object] | bytes | str) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
