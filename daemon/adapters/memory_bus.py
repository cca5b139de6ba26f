"""The bus's in-memory twin, in two parts: a broker, and each daemon's connection to it.

`MemoryBroker` is what outlives the daemons. `MemoryBus` is `ports.Bus`: give two of them one broker, and two daemons
share the queue; close one, and its unacknowledged commands come again at the other.

Faults: the broker's outages; `reconnect`, a connection that broke; and the hooks of a bus, which make single calls fail
(an error from `after_call` of `publish` is a confirmation that was lost). As with the real one, a reply or dead letter
that fails ends the connection, because only so does the command come again.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from daemon.adapters.live_queue import LiveMessage, LiveQueue
from daemon.adapters.memory_broker import Answer, Command, DeadLetter, MemoryBroker
from daemon.adapters.memory_hooks import Hook, Hooked, no_hook
from daemon.ports import Delivery, LiveStatistics, UnavailableError
from schemas.commands import ERROR_HEADER, USER_HEADER
from schemas.events import CloudEvent, OutboxEvent

__all__ = ["Answer", "Command", "DeadLetter", "MemoryBroker", "MemoryBus"]

PREFETCH = 64
RECONNECT_S = 0.5


@dataclass(frozen=True, slots=True)
class _Token:
    command: Command
    connection: int


class MemoryBus(Hooked):
    """`ports.Bus`: one daemon's connection to a `MemoryBroker`."""

    def __init__(
        self,
        broker: MemoryBroker | None = None,
        *,
        node_id: str = "",
        prefetch: int = PREFETCH,
        before_call: Hook = no_hook,
        after_call: Hook = no_hook,
    ) -> None:
        super().__init__(before_call, after_call)
        self.broker = broker or MemoryBroker()
        self.node_id = node_id
        self.unacknowledged: dict[int, Command] = {}
        self._prefetch = prefetch
        self._connection = 0
        self._consuming = False
        self._deliveries: asyncio.Queue[Delivery | None] = asyncio.Queue()
        self._down = False
        self._returning: asyncio.Task[None] | None = None
        self._wakes: asyncio.Queue[str] = asyncio.Queue()
        self._live = LiveQueue()
        self._sending = False

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Nothing has to be connected."""

    async def close(self) -> None:
        """The daemon is gone: what it did not acknowledge goes to others."""
        self._consuming = False
        self.broker.detach(self)

    def reconnect(self) -> None:
        """The connection broke and was made anew: what was not acknowledged comes again."""
        self.disconnect()
        self._down = False
        self.broker.dispatch()

    async def _reconnect_soon(self) -> None:
        await self.broker.clock.sleep(RECONNECT_S)
        self._down = False
        self.broker.dispatch()

    @asynccontextmanager
    async def _or_again(self, name: str) -> AsyncGenerator[None]:
        """A call without which a command is not acknowledged; where it fails, the command has to come again."""
        try:
            async with self.calling(name):
                yield
        except UnavailableError:
            self._down = True
            self.disconnect()
            self._returning = asyncio.ensure_future(self._reconnect_soon())
            raise

    def disconnect(self) -> None:
        """The connection is gone; acknowledgements of what came over it are worth nothing."""
        self._connection += 1
        self.broker.requeue(list(self.unacknowledged.values()))
        self.unacknowledged.clear()
        self._live.clear()

    # ------------------------------------------------------------ commands

    async def commands(self) -> AsyncIterator[Delivery]:
        """Deliveries over reconnections, until `stop_consuming`."""
        self._consuming = True
        self.broker.attach(self)
        while (delivery := await self._deliveries.get()) is not None:
            if delivery.sent_on or self._command_of(delivery) is not None:
                yield delivery  # else it comes again

    @property
    def has_room(self) -> bool:
        """Whether the broker may hand on another command."""
        return self._consuming and not self._down and len(self.unacknowledged) < self._prefetch

    def hand_on(self, command: Command) -> None:
        """Take a command from the broker."""
        self.unacknowledged[command.number] = command
        self._deliveries.put_nowait(
            Delivery(
                routing_key=command.routing_key,
                body=command.body,
                message_id=command.message_id,
                correlation_id=command.correlation_id,
                reply_to=command.reply_to,
                user_id=command.user_id,
                expires_in_s=command.expires_in_s,
                redelivered=command.deliveries > 1,
                token=_Token(command, self._connection),
            )
        )

    async def send_on(self, delivery: Delivery, node_id: str) -> bool:
        """Hand a query to another node's daemon."""
        async with self.calling("send_on"):
            self._check_there("sending on")
            other = self.broker.bus_of(node_id)
            token = delivery.token
            if other is None or not isinstance(token, _Token):
                return False
            there = _Token(token.command, other.connection)
            other.take_over(replace(delivery, user_id=None, sent_on=True, token=there))
            return True

    def take_over(self, delivery: Delivery) -> None:
        """A query that another daemon has sent on to this one."""
        self._deliveries.put_nowait(delivery)

    @property
    def connection(self) -> int:
        """Number of the present connection."""
        return self._connection

    async def wakeups(self) -> AsyncIterator[str]:
        """Routing keys of the events of other nodes."""
        while True:
            yield await self._wakes.get()

    def wake(self, routing_key: str) -> None:
        """Another daemon has published an event."""
        self._wakes.put_nowait(routing_key)

    async def stop_consuming(self) -> None:
        """End `commands()`."""
        self._consuming = False
        self._deliveries.put_nowait(None)

    async def ack(self, delivery: Delivery) -> None:
        """Acknowledge; one whose connection is gone is ignored, and so is an outage: the command comes again."""
        try:
            async with self.calling("ack"):
                command = self._command_of(delivery)
                if command is not None:
                    del self.unacknowledged[command.number]
                    self.broker.acked.append(command)
                    self.broker.dispatch()
        except UnavailableError:
            return

    async def dead_letter(self, delivery: Delivery, error: str) -> None:
        """Keep a command with the reason, then acknowledge it; one whose connection is gone comes again."""
        command = self._command_of(delivery)
        if command is None:
            return
        async with self._or_again("dead_letter"):
            self._check_there("dead-lettering")
            user = {} if delivery.user_id is None else {USER_HEADER: delivery.user_id}
            self.broker.bury(command, {ERROR_HEADER: error[:1000], **user})
        await self.ack(delivery)

    async def reply(self, delivery: Delivery, body: bytes) -> None:
        """Answer where an answer was asked for; a command whose connection is gone comes again."""
        if delivery.reply_to:
            self._check_there("replying")
            if not self._is_current(delivery):
                raise UnavailableError("the broker is away (replying: the command's connection is gone)")
            async with self._or_again("reply"):
                self.broker.answer(Answer(delivery.reply_to, delivery.correlation_id or delivery.message_id, body))

    def _is_current(self, delivery: Delivery) -> bool:
        """Whether a delivery came over the present connection."""
        return isinstance(delivery.token, _Token) and delivery.token.connection == self._connection

    def _command_of(self, delivery: Delivery) -> Command | None:
        """The command of a delivery that can still be acknowledged."""
        token = delivery.token
        if not isinstance(token, _Token) or token.connection != self._connection:
            return None
        return self.unacknowledged.get(token.command.number)

    # ------------------------------------------------------------ events

    async def publish(self, event: OutboxEvent) -> None:
        """Publish a durable event."""
        async with self.calling("publish"):
            self._check_there("publishing")
            self.broker.publish(event, self)

    def publish_live(self, routing_key: str, event: CloudEvent) -> None:
        """Send an event soon, or never."""
        if self.broker.away:
            self._live.refuse()
            return
        body = event.model_dump_json(exclude={"sequence"}).encode()
        self._live.put(LiveMessage(routing_key, body, event.id, event.type))
        if not self._sending:
            self._sending = True
            asyncio.get_running_loop().call_soon(self._send_live)

    def statistics(self) -> LiveStatistics:
        """A snapshot of the live events."""
        return self._live.statistics()

    def _send_live(self) -> None:
        self._sending = False
        while (message := self._live.take()) is not None:
            self.broker.live.append((message.routing_key, CloudEvent.model_validate_json(message.body)))

    # ------------------------------------------------------------ state

    async def check(self) -> str:
        """`ok`, or what is wrong."""
        try:
            async with self.calling("check"):
                self._check_there("checking")
        except UnavailableError as error:
            return str(error)
        return "ok"

    def _check_there(self, doing: str) -> None:
        if self.broker.away:
            raise UnavailableError(f"the broker is away ({doing}: not connected)")
