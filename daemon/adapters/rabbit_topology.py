"""The exchanges and queues of the contract, declared with every new session.

Somebody may have made a queue before us with other arguments (to publish before the daemon ever ran, or through a
definitions file): it is used as it is, and what it lacks is said. An exchange of another type would lose messages, so
that stays an error.
"""

from collections.abc import Awaitable, Callable

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import ChannelPreconditionFailed
from pamqp.common import Arguments

from daemon.logs import get_log
from schemas.commands import COMMANDS_EXCHANGE, COMMANDS_QUEUE, DEAD_EXCHANGE, DEAD_QUEUE, EVENTS_EXCHANGE

log = get_log("rabbit")

DELIVERY_LIMIT = 100
COMMANDS_ARGUMENTS: Arguments = {
    "x-queue-type": "quorum",
    "x-dead-letter-exchange": DEAD_EXCHANGE,
    "x-delivery-limit": DELIVERY_LIMIT,
}
DEAD_ARGUMENTS: Arguments = {"x-queue-type": "quorum"}


async def declare_topology(connection: AbstractConnection) -> None:
    """Have the exchanges, queues and bindings. Raises aio-pika's errors."""
    topic, fanout = aio_pika.ExchangeType.TOPIC, aio_pika.ExchangeType.FANOUT

    async def exchanges(channel: AbstractChannel) -> None:
        await channel.declare_exchange(COMMANDS_EXCHANGE, topic, durable=True)
        await channel.declare_exchange(EVENTS_EXCHANGE, topic, durable=True)
        await channel.declare_exchange(DEAD_EXCHANGE, fanout, durable=True)

    async def bindings(channel: AbstractChannel) -> None:
        await (await channel.get_queue(DEAD_QUEUE, ensure=False)).bind(DEAD_EXCHANGE)
        await (await channel.get_queue(COMMANDS_QUEUE, ensure=False)).bind(COMMANDS_EXCHANGE, "#")

    await _on_channel(connection, exchanges)
    for name, arguments in ((DEAD_QUEUE, DEAD_ARGUMENTS), (COMMANDS_QUEUE, COMMANDS_ARGUMENTS)):
        await _declare_queue(connection, name, arguments)
    await _on_channel(connection, bindings)


async def _declare_queue(connection: AbstractConnection, name: str, arguments: Arguments) -> None:
    async def declare(channel: AbstractChannel) -> None:
        await channel.declare_queue(name, durable=True, arguments=arguments)

    try:
        await _on_channel(connection, declare)
    except ChannelPreconditionFailed as error:
        log.warning(
            "queue_differs",
            f"the queue {name} was made with other arguments and is used as it is: {error}. To have it as it should "
            f"be, let it run empty and delete it (rabbitmqctl delete_queue {name}); it is made again",
        )


async def _on_channel(connection: AbstractConnection, act: Callable[[AbstractChannel], Awaitable[None]]) -> None:
    """Do something on a channel of its own, because the broker closes the channel of a refused declaration."""
    async with connection.channel() as channel:
        await act(channel)
