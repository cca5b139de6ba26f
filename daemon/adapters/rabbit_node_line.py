"""The queue of one node, `swift.node.{node_id}`: what other daemons tell or ask this one, and nobody else.

Bound to the events that mean work (a job was queued, stopped, ended; a node came or went), it wakes this daemon when
another one has changed something. Queries that only this node can answer, because the file is on its disk, are sent on
to it by whoever consumed them; the broker vouches for nobody here, so only queries are taken, and they are from nobody.
It lives as long as this daemon's connection: wake-ups and queries are worth nothing later, and a slow poll stands
behind every wake-up. A broker user who may not have it costs promptness alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelClosed

from daemon.amqp import readable
from daemon.logs import get_log
from schemas.commands import COMMAND_HEADER, EVENTS_EXCHANGE, QUERIES
from schemas.tracing import TRACEPARENT_HEADER, TRACESTATE_HEADER, trace_context

log = get_log("rabbit")

WORK_KEYS = ("job.*.status.*", "job.*.export.*", "node.*.*")
MOST_WAITING = 10_000
PREFETCH = 64
SEND_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class NodeLine:
    """This node's queue, as its daemon uses it."""

    node_id: str
    on_event: Callable[[str], None]
    """Called with the routing key of an event of another node."""
    on_query: Callable[[AbstractIncomingMessage], None]
    """Called with a query that was sent on."""

    async def open(self, connection: AbstractConnection) -> None:
        """Declare the queue and consume it, where the broker lets us."""
        try:
            await self._open(await connection.channel())
        except ChannelClosed as error:
            log.warning(
                "node_line_refused",
                f"no wake-ups from other daemons, they are found by the slow poll: {error}. The user needs to "
                r"configure, write and read ^swift\.node\. and to read swift.events (rabbitmqctl set_permissions)",
            )

    async def _open(self, channel: AbstractChannel) -> None:
        await channel.set_qos(PREFETCH)
        arguments: dict[str, aio_pika.abc.FieldValue] = {"x-max-length": MOST_WAITING}
        queue = await channel.declare_queue(queue_of(self.node_id), auto_delete=True, arguments=arguments)
        for key in WORK_KEYS:
            await queue.bind(EVENTS_EXCHANGE, key)
        await queue.consume(self._receive)

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        command = message.headers.get(COMMAND_HEADER)
        if isinstance(command, str) and command in QUERIES:
            self.on_query(message)
            return
        await message.ack()
        if command is not None:  # whoever may write to the default exchange can send this; a change comes by its queue
            log.warning("query_refused", f"{str(command)[:80]!r} is no query, and only queries are sent on")
        elif message.app_id != self.node_id:
            self.on_event(readable(message.routing_key or ""))


def queue_of(node_id: str) -> str:
    """The name of a node's queue."""
    return f"swift.node.{node_id}"


async def send_on(exchange: AbstractExchange, query: AbstractIncomingMessage, node_id: str) -> bool:
    """Send a query on to another node. False: that has no queue, so its daemon is not there."""
    headers: dict[str, aio_pika.abc.FieldValue] = {COMMAND_HEADER: query.routing_key or ""}
    trace = trace_context(query.headers.get(TRACEPARENT_HEADER), query.headers.get(TRACESTATE_HEADER))
    headers.update(trace.headers if trace else {})
    message = aio_pika.Message(
        query.body,
        headers=headers,
        message_id=query.message_id,
        correlation_id=query.correlation_id,
        reply_to=query.reply_to,
    )
    result = await exchange.publish(message, queue_of(node_id), mandatory=True, timeout=SEND_LIMIT_S)
    return not isinstance(result, DeliveredMessage)
