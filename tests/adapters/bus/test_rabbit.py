"""What only RabbitMQ can show: the topology, direct reply-to, checked users, and commands made to do harm."""

import asyncio
import time
from datetime import UTC, datetime
from decimal import Decimal

import aio_pika
import pika
import pytest
from aio_pika.abc import HeadersType
from aio_pika.exceptions import ChannelPreconditionFailed
from yarl import URL

from daemon.adapters.rabbit import RabbitBus, check_broker
from daemon.ports import Delivery, UnavailableError
from schemas.commands import (
    COMMANDS_EXCHANGE,
    COMMANDS_QUEUE,
    DEAD_EXCHANGE,
    DEAD_QUEUE,
    ERROR_HEADER,
    EVENTS_EXCHANGE,
)
from tests.adapters.bus.conftest import MakeBus
from tests.adapters.bus.peers import LIMIT_S, RabbitPeer, Reader

pytestmark = pytest.mark.services

DIRECT = "amq.rabbitmq.reply-to"


# ---------------------------------------------------------------- topology


async def test_the_topology_is_that_of_the_contract(rabbit: RabbitBus, amqp_url: str) -> None:
    """Declaring it again with the same words is allowed, with others refused: so those are the words."""
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        for name, kind in ((COMMANDS_EXCHANGE, "topic"), (EVENTS_EXCHANGE, "topic"), (DEAD_EXCHANGE, "fanout")):
            await channel.declare_exchange(name, kind, durable=True)
        await channel.declare_queue(
            COMMANDS_QUEUE,
            durable=True,
            arguments={"x-queue-type": "quorum", "x-dead-letter-exchange": DEAD_EXCHANGE, "x-delivery-limit": 100},
        )
        await channel.declare_queue(DEAD_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        with pytest.raises(ChannelPreconditionFailed):
            await channel.declare_queue(COMMANDS_QUEUE, durable=True)
    assert await rabbit.check() == "ok"


async def test_it_connects_to_what_is_there_already(rabbit: RabbitBus, amqp_url: str) -> None:
    assert await check_broker(amqp_url, None) == "ok"


async def test_a_command_of_any_name_reaches_the_daemon(rabbit: RabbitBus, rabbit_peer: RabbitPeer) -> None:
    await rabbit_peer.send("no.such.command.at.all")
    assert (await Reader(rabbit).next()).routing_key == "no.such.command.at.all"


# ---------------------------------------------------------------- who is there


async def said_of(url: URL) -> str:
    with pytest.raises(UnavailableError, match="SWIFT_TRAINER_AMQP_URL") as raised:
        await check_broker(str(url), None)
    return str(raised.value)


async def test_a_wrong_url_says_what_to_do(amqp_url: str) -> None:
    url = URL(amqp_url)
    said = await said_of(url.with_password("a-secret"))
    assert "wrong user or password" in said
    assert "a-secret" not in said
    assert "virtual host" in await said_of(url.with_path("/nowhere"))
    assert "is the broker running" in await said_of(url.with_port(1))


async def test_what_is_no_url_at_all() -> None:
    with pytest.raises(UnavailableError, match="SWIFT_TRAINER_AMQP_URL"):
        await check_broker("amqp://[", None)


async def test_a_missing_bundle_is_said_at_once() -> None:
    with pytest.raises(FileNotFoundError, match="SWIFT_TRAINER_AMQP_CA_FILE"):
        RabbitBus("amqps://localhost/", node_id="n", ca_file="/no/such/file.pem")


async def test_the_broker_refuses_a_wrong_user_id(rabbit: RabbitBus, rabbit_peer: RabbitPeer) -> None:
    with pytest.raises(ChannelPreconditionFailed, match="user_id"):
        await rabbit_peer.send("job.get", user_id="somebody-else")
    assert await Reader(rabbit).nothing()


# ---------------------------------------------------------------- direct reply-to


def direct_call(url: str, body: bytes, *, wait: bool) -> tuple[bytes, str | None] | None:
    """A command by another client library, answered by direct reply-to; without `wait` it leaves at once."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        got: list[tuple[bytes, str | None]] = []
        channel.basic_consume(
            DIRECT, lambda _channel, _method, about, body: got.append((body, about.correlation_id)), auto_ack=True
        )
        about = pika.BasicProperties(reply_to=DIRECT, correlation_id="c-1")
        channel.basic_publish(COMMANDS_EXCHANGE, "job.get", body, about)
        end = time.monotonic() + LIMIT_S
        while wait and not got and time.monotonic() < end:
            connection.process_data_events(0.2)  # pyright: ignore[reportArgumentType]  # pika's stubs say int
        return got[0] if got else None


async def test_direct_reply_to(rabbit: RabbitBus, amqp_url: str) -> None:
    reader = Reader(rabbit)
    waiting = asyncio.create_task(reader.next())
    await asyncio.sleep(0.1)
    call = asyncio.create_task(asyncio.to_thread(direct_call, amqp_url, b"hello", wait=True))
    delivery = await waiting
    assert delivery.reply_to is not None
    assert delivery.reply_to.startswith(DIRECT)
    await rabbit.reply(delivery, b"answer")
    await rabbit.ack(delivery)
    assert await call == (b"answer", "c-1")


async def test_a_direct_requester_that_is_gone_is_no_error(
    rabbit: RabbitBus, rabbit_peer: RabbitPeer, amqp_url: str
) -> None:
    await asyncio.to_thread(direct_call, amqp_url, b"gone", wait=False)
    reader = Reader(rabbit)
    delivery = await reader.next()
    await rabbit.reply(delivery, b"nobody hears")
    await rabbit.ack(delivery)
    await rabbit_peer.send("job.get", b"next")
    assert (await reader.next()).redelivered is False


# ---------------------------------------------------------------- harm


@pytest.mark.parametrize(
    "reply_to",
    [DIRECT, f"{DIRECT}.", f"{DIRECT}.garbage", f"{DIRECT}.g2dkABFyYWJiaXRAbG9jYWxob3N0AAAB.x==", "é" * 127, " ", "#"],
)
async def test_no_reply_address_breaks_the_connection(
    rabbit: RabbitBus, rabbit_peer: RabbitPeer, reply_to: str
) -> None:
    """An address that the broker refuses would close the channel; then the command would come again, for ever."""
    reader = Reader(rabbit)
    try:
        await rabbit_peer.send("job.get", b"bad", reply_to=reply_to)
    except ChannelPreconditionFailed:
        return  # the broker refuses it from its sender
    bad = await reader.next()
    await rabbit.reply(bad, b"answer")
    await rabbit.ack(bad)
    await rabbit_peer.send("job.get", b"next")
    after = await reader.next()
    assert (after.body, after.redelivered) == (b"next", False)


HEADERS: dict[str, HeadersType] = {
    "of all kinds": {
        "none": None,
        "bool": True,
        "large": 2**63 - 1,
        "float": 0.1,
        "decimal": Decimal("1.5"),
        "bytes": bytearray(b"\xff\x00"),  # pyright: ignore[reportAssignmentType]
        "time": datetime(2030, 1, 1, tzinfo=UTC),
        "list": [1, "two", [3.0, {"four": 5}]],
        "table": {"a": {"b": {"c": []}}},
        "é" * 60: "ä" * 1000,
    },
    "too many": {f"h{number:04}": "x" * 100 for number in range(900)},
    "one too large": {"h": "x" * 100_000},
    "one of ours": {ERROR_HEADER: "forged", "x-swift-user": "forged"},
}


@pytest.mark.parametrize("name", HEADERS)
async def test_no_headers_keep_a_command_from_the_dead_letters(
    rabbit: RabbitBus, rabbit_peer: RabbitPeer, amqp_url: str, name: str
) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        exchange = await (await connection.channel()).get_exchange(COMMANDS_EXCHANGE, ensure=False)
        await exchange.publish(aio_pika.Message(b"{", headers=HEADERS[name]), "job.create")
    reader = Reader(rabbit)
    await rabbit.dead_letter(await reader.next(), "invalid_json")
    letter = await rabbit_peer.dead()
    assert letter is not None
    assert (letter.body, letter.headers[ERROR_HEADER]) == (b"{", "invalid_json")
    await rabbit_peer.send("job.get", b"next")
    after = await reader.next()
    assert (after.body, after.redelivered) == (b"next", False)


ODD: dict[str, dict[str, object]] = {
    "ids that are not UTF-8": {"message_id": b"caf\xe9", "correlation_id": b"\xff\xfe", "type": b"\x80"},
    "long ones": {"message_id": b"\xe9" * 255, "correlation_id": b"\xe9" * 255, "app_id": b"\xe9" * 255},
    "microseconds": {"timestamp": 1_800_000_000_000_000, "correlation_id": b"c"},
    "a header's name": {"headers": {b"caf\xe9": 1, "when": datetime(2030, 1, 1, tzinfo=UTC)}, "correlation_id": b"c"},
    "the highest priority": {"priority": 255, "correlation_id": b"c"},
    "a reply address": {"reply_to": b"nowhere\xe9", "correlation_id": b"c"},
}


@pytest.mark.parametrize("name", ODD)
async def test_no_property_keeps_the_others_from_the_daemon(
    rabbit: RabbitBus, rabbit_peer: RabbitPeer, amqp_url: str, name: str
) -> None:
    """A frame that can't be decoded would end the connection, again and again, with all that is under way."""
    properties = pika.BasicProperties(**{"reply_to": rabbit_peer.reply_queue, **ODD[name]})  # pyright: ignore[reportArgumentType]

    def send() -> None:
        with pika.BlockingConnection(pika.URLParameters(amqp_url)) as connection:
            connection.channel().basic_publish(COMMANDS_EXCHANGE, "job.get", b"odd", properties)

    await asyncio.to_thread(send)
    await rabbit_peer.send("job.get", b"next")
    reader = Reader(rabbit)
    odd = await reader.next()
    assert (odd.body, odd.redelivered) == (b"odd", False)
    (odd.message_id or "").encode()
    await rabbit.reply(odd, b"answer")
    if ODD[name].get("reply_to") is None:
        answer = await rabbit_peer.answer()
        assert answer is not None
        sent = ODD[name]["correlation_id"]
        assert answer.correlation_id is not None
        assert answer.correlation_id.encode("utf-8", "surrogateescape") == sent, "as it was, to its very bytes"
    await rabbit.dead_letter(odd, "invalid_json")
    letter = await rabbit_peer.dead()
    assert letter is not None
    assert letter.body == b"odd"
    assert (await reader.next()).body == b"next"


async def test_a_command_that_kills_its_daemons_ends_among_the_dead(make_rabbit: MakeBus, amqp_url: str) -> None:
    """After 100 deliveries without an acknowledgement the broker takes it out of the way."""
    bus = make_rabbit()
    await bus.start()
    async with RabbitPeer.connect(amqp_url) as peer, await aio_pika.connect(amqp_url) as connection:
        await peer.send("job.create", b"poison")
        queue = await (await connection.channel()).get_queue(COMMANDS_QUEUE, ensure=False)
        deliveries = 0
        while (message := await queue.get(fail=False)) is not None:
            deliveries += 1
            await message.reject(requeue=True)
        assert deliveries == 101
        letter = await peer.dead()
        assert letter is not None
        assert (letter.body, letter.headers["x-first-death-reason"]) == (b"poison", "delivery_limit")


async def test_a_delivery_of_another_adapter_is_not_ours_to_acknowledge(rabbit: RabbitBus) -> None:
    stranger = Delivery(routing_key="job.get", body=b"{}")
    await rabbit.ack(stranger)
    await rabbit.dead_letter(stranger, "no")
    await rabbit.reply(stranger, b"no")
    assert await rabbit.check() == "ok"
