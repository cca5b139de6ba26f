"""The broker, as the loops need it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from schemas.events import CloudEvent, OutboxEvent
from schemas.tracing import TraceContext


@dataclass(frozen=True, slots=True)
class Delivery:
    """One command as it came from the broker."""

    routing_key: str
    body: bytes
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    user_id: str | None = None
    expires_in_s: float | None = None
    """After so long it must not be carried out any more."""
    redelivered: bool = False
    sent_on: bool = False
    """Another daemon consumed it and sent it on, because it can be answered here alone."""
    trace: TraceContext | None = None
    """The sender's span, where it sent one."""
    token: object = field(default=None, compare=False, repr=False)
    """The adapter's own handle, needed to acknowledge."""


@dataclass(frozen=True, slots=True)
class LiveStatistics:
    """A snapshot of the live events on their way."""

    waiting: int
    waiting_bytes: int
    dropped: int
    """Since the start."""


class Bus(Protocol):
    """The broker: commands in, replies and events out."""

    def commands(self) -> AsyncIterator[Delivery]:
        """Deliveries, over reconnections, until `stop_consuming`; at most the adapter's prefetch unacknowledged."""
        ...

    async def stop_consuming(self) -> None:
        """End `commands()`; deliveries already handed out may still be acknowledged."""
        ...

    async def ack(self, delivery: Delivery) -> None:
        """The command's effect is stored. A delivery whose channel is gone is ignored: the broker sends it again."""
        ...

    async def dead_letter(self, delivery: Delivery, error: str) -> None:
        """Put it into the dead-letter queue with `error` in the header `x-swift-error`, confirmed, then acknowledge."""
        ...

    async def reply(self, delivery: Delivery, body: bytes) -> None:
        """Answer to `reply_to`, where there is one. A requester that is gone is no error."""
        ...

    async def send_on(self, delivery: Delivery, node_id: str) -> bool:
        """Hand a query on to another node's daemon, which replies. False: that is not there."""
        ...

    def wakeups(self) -> AsyncIterator[str]:
        """Routing keys of the durable events of other nodes, as they come; some may be lost."""
        ...

    async def publish(self, event: OutboxEvent) -> None:
        """Publish a durable event; returns when the broker has confirmed it."""
        ...

    def publish_live(self, routing_key: str, event: CloudEvent) -> None:
        """Publish an event that is worth something only now. Never waits; bounded; dropped while the broker is away."""
        ...

    def statistics(self) -> LiveStatistics:
        """What became of the live events."""
        ...

    async def check(self) -> str:
        """`ok`, or what is wrong: no connection, no consumer of ours on the command queue, a memory alarm."""
        ...
