"""The shipped limits on a real broker: dead letters are kept, and a full queue refuses instead of losing."""

import asyncio
import json
from datetime import timedelta

import aio_pika
import pytest
from aio_pika.exceptions import DeliveryError

from deploy.rabbitmq import make_definitions
from tests.deploy.broker import LIMIT_S, Broker

pytestmark = pytest.mark.services


async def test_every_queue_has_its_policy(broker: Broker) -> None:
    async with broker.bus(), broker.channel("subscriber") as channel:
        await channel.declare_queue("swift-subscriber.web", exclusive=True)
        said = await asyncio.to_thread(broker.control, "list_queues", "--formatter", "json", "name", "policy", "type")
    assert {(queue["name"], queue["policy"], queue["type"]) for queue in json.loads(said)} >= {
        ("swift.commands", "swift-commands", "quorum"),
        ("swift.commands.dead", "swift-commands-dead", "quorum"),
        ("swift-subscriber.web", "swift-clients", "classic"),
    }


async def test_dead_letters_are_kept_for_the_operator(broker: Broker) -> None:
    """One that the daemon could not understand, and one that expired while no daemon was there."""
    async with broker.answering():
        await send(broker, b"nonsense")
        assert await dead_letter(broker) == b"nonsense"
    await send(broker, b"expired", expiration=timedelta(seconds=0.2))
    assert await dead_letter(broker) == b"expired"


async def test_a_full_command_queue_refuses_and_loses_nothing(broker: Broker) -> None:
    [shipped] = [entry for entry in make_definitions.policies() if entry["name"] == "swift-commands"]
    limits = shipped["definition"]
    assert isinstance(limits, dict)
    small = json.dumps({**limits, "max-length": 3})
    async with broker.bus():
        pass  # declares the queue
    await asyncio.to_thread(
        broker.control,
        "set_policy",
        "small",
        str(shipped["pattern"]),
        small,
        "--priority",
        "99",
        "--apply-to",
        "queues",
    )
    try:
        accepted = await send_until_refused(broker)
    finally:
        await asyncio.to_thread(broker.control, "clear_policy", "small")
    assert accepted >= 3
    async with broker.bus() as bus, asyncio.timeout(LIMIT_S):
        bodies: list[bytes] = []
        async for delivery in bus.commands():
            bodies.append(delivery.body)
            await bus.ack(delivery)
            if len(bodies) == accepted:
                break
    assert bodies == [f"{number}".encode() for number in range(accepted)]


async def send_until_refused(broker: Broker) -> int:
    """How many were accepted; a quorum queue goes a little beyond its limit."""
    for number in range(1000):
        try:
            await send(broker, f"{number}".encode())
        except DeliveryError:
            return number
    raise AssertionError("nothing was refused")


async def send(broker: Broker, body: bytes, expiration: timedelta | None = None) -> None:
    async with broker.channel("publisher") as channel:
        exchange = await channel.get_exchange("swift.commands", ensure=False)
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, expiration=expiration)
        await exchange.publish(message, routing_key="job.create")


async def dead_letter(broker: Broker) -> bytes:
    async with broker.channel("operator") as channel:
        queue = await channel.get_queue("swift.commands.dead", ensure=False)
        async with queue.iterator(no_ack=True) as messages:
            return (await anext(messages)).body
