"""What the bus on RabbitMQ does when things break: connections, consumers, queues, the broker itself."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import aio_pika
import pytest

from daemon.adapters import rabbit as rabbit_module
from daemon.adapters.rabbit import RabbitBus
from daemon.ports import UnavailableError
from deploy.services import descendants, end, load, rabbitmq_env
from schemas.commands import COMMANDS_QUEUE, DEAD_QUEUE, EVENTS_EXCHANGE
from tests.adapters.bus.conftest import MakeBus
from tests.adapters.bus.peers import LIMIT_S, RabbitPeer, Reader, make_event, make_live
from tests.adapters.bus.proxy import Proxy
from tests.waiting import until

pytestmark = pytest.mark.services

REPO = Path(__file__).resolve().parents[3]
QUORUM_SAVED_S = 1.5
"""RabbitMQ 3.10 notes a new quorum queue on disk up to a second late; a kill before that loses the queue."""
CTL = "/usr/lib/rabbitmq/bin/rabbitmqctl"


async def is_ok(bus: RabbitBus) -> bool:
    return await bus.check() == "ok"


async def consumes(bus: RabbitBus, other_than: str | None = None) -> bool:
    """Whether the bus has a consumer (and not one with this tag)."""
    return consumer(bus) not in {None, other_than}


async def is_away(bus: RabbitBus) -> bool:
    return "the broker is away" in await bus.check()


async def is_said(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return text in caplog.text


@pytest.fixture
async def admin(amqp_url: str) -> AsyncGenerator[aio_pika.abc.AbstractChannel]:
    """A channel that bypasses the proxy."""
    async with await aio_pika.connect(amqp_url) as connection:
        yield await connection.channel()


# ---------------------------------------------------------------- cuts


async def test_while_the_broker_is_away_everything_says_so(rabbit: RabbitBus, proxy: Proxy) -> None:
    proxy.refusing = True
    proxy.cut()
    await until(lambda: is_away(rabbit), 0.01)
    with pytest.raises(UnavailableError):
        await rabbit.publish(make_event(1))
    before = rabbit.statistics().dropped
    rabbit.publish_live("job.j.progress", make_live(1))
    assert rabbit.statistics().dropped == before + 1
    proxy.refusing = False
    await until(lambda: is_ok(rabbit))
    await rabbit.publish(make_event(1))


async def test_a_publish_that_a_cut_leaves_in_doubt_is_unavailable(rabbit: RabbitBus, proxy: Proxy) -> None:
    proxy.stall()
    publishing = [asyncio.create_task(rabbit.publish(make_event(number))) for number in range(1, 6)]
    await asyncio.sleep(0.1)
    proxy.cut()
    results = await asyncio.gather(*publishing, return_exceptions=True)
    assert [type(result) for result in results] == [UnavailableError] * 5


async def test_a_publish_that_close_interrupts_is_unavailable_and_not_cancelled(
    make_rabbit: MakeBus, proxy: Proxy
) -> None:
    """aio-pika cancels what waits on a connection that is closed on this side; no loop may end because of that."""
    bus = make_rabbit()
    await bus.start()
    proxy.stall()
    publishing = asyncio.create_task(bus.publish(make_event(1)))
    await asyncio.sleep(0.1)
    closing = asyncio.create_task(bus.close())
    with pytest.raises(UnavailableError):
        await publishing
    proxy.flow()
    await closing


async def test_a_cancelled_publisher_is_cancelled(rabbit: RabbitBus, proxy: Proxy) -> None:
    proxy.stall()
    publishing = asyncio.create_task(rabbit.publish(make_event(1)))
    await asyncio.sleep(0.1)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    proxy.flow()
    await rabbit.publish(make_event(1))


async def test_a_confirmation_that_does_not_come_is_unavailable(
    rabbit: RabbitBus, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbit_module, "CONFIRM_LIMIT_S", 0.2)
    proxy.stall()
    with pytest.raises(UnavailableError):
        await rabbit.publish(make_event(1))
    proxy.flow()
    await rabbit.publish(make_event(1))


async def test_many_cuts_leave_nothing_behind(rabbit: RabbitBus, proxy: Proxy, amqp_url: str) -> None:
    reader = Reader(rabbit)
    async with RabbitPeer.connect(amqp_url) as peer:
        for number in range(50):
            await peer.send("job.get", str(number).encode())
        held = [await reader.next()]
        for _ in range(8):
            await until(lambda: is_ok(rabbit))
            proxy.cut()
            held.append(await reader.next())
        assert rabbit._deliveries.qsize() < 50  # pyright: ignore[reportPrivateUsage]  # the bound is the point
        await rabbit.ack(held[-1])
        rest = [await reader.next() for _ in range(49)]
        assert sorted(int(one.body) for one in (held[-1], *rest)) == list(range(50))
    assert len([task for task in asyncio.all_tasks() if task.get_name() == "broker connection"]) == 1


async def test_close_sends_the_live_events_that_wait(make_rabbit: MakeBus, amqp_url: str) -> None:
    bus = make_rabbit()
    await bus.start()
    async with RabbitPeer.connect(amqp_url) as peer:
        for number in range(200):
            bus.publish_live("job.j.log", make_live(number))
        await bus.close()
        assert len([await peer.event() for _ in range(200)]) == 200
    bus.publish_live("job.j.log", make_live(999))
    assert bus.statistics().dropped == 1


async def test_start_waits_for_the_broker(make_rabbit: MakeBus, proxy: Proxy) -> None:
    proxy.refusing = True
    bus = make_rabbit()
    starting = asyncio.create_task(bus.start())
    await asyncio.sleep(0.5)
    assert not starting.done()
    proxy.refusing = False
    async with asyncio.timeout(LIMIT_S):
        await starting
    assert await bus.check() == "ok"


async def test_a_bug_in_the_keeper_does_not_leave_the_daemon_deaf(
    make_rabbit: MakeBus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = rabbit_module.Session.open
    calls = 0

    async def broken(*args: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyError("a bug")
        return await real(*args, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(rabbit_module.Session, "open", broken)
    bus = make_rabbit()
    async with asyncio.timeout(LIMIT_S):
        await bus.start()
    assert "a bug; beginning anew" in caplog.text


# ---------------------------------------------------------------- consumers and queues


async def test_a_deleted_command_queue_is_noticed_and_made_again(
    rabbit: RabbitBus, rabbit_peer: RabbitPeer, admin: aio_pika.abc.AbstractChannel
) -> None:
    """The broker tells that it ended our consumer: no need to wait for the next check, which is 30 s away."""
    reader = Reader(rabbit)
    waiting = asyncio.create_task(reader.next())
    await until(lambda: is_ok(rabbit))
    await admin.queue_delete(COMMANDS_QUEUE)
    async with asyncio.timeout(5):
        await asyncio.sleep(0.2)
        await until(lambda: is_ok(rabbit))
        await rabbit_peer.send("job.get", b"after")
        assert (await waiting).body == b"after"


async def test_a_deleted_dead_letter_queue_is_made_again(
    rabbit: RabbitBus, rabbit_peer: RabbitPeer, admin: aio_pika.abc.AbstractChannel
) -> None:
    await rabbit_peer.send("job.get", b"bad")
    reader = Reader(rabbit)
    delivery = await reader.next()
    await admin.queue_delete(DEAD_QUEUE)
    with pytest.raises(UnavailableError, match="made again"):
        await rabbit.dead_letter(delivery, "why")
    await rabbit.dead_letter(await reader.next(), "why")
    assert await rabbit_peer.dead() is not None


def consumer(bus: RabbitBus) -> str | None:
    """The tag of the bus's consumer, where it has one."""
    session = bus._session  # pyright: ignore[reportPrivateUsage]  # there is no other way to make a broker forget
    return session and session._consumer  # pyright: ignore[reportPrivateUsage]


async def lose_consumer(bus: RabbitBus) -> None:
    """End the consumer behind the back of the adapter, as if the broker had forgotten it."""
    tag, session = consumer(bus), bus._session  # pyright: ignore[reportPrivateUsage]
    assert tag is not None
    assert session is not None
    await session._queue.cancel(tag)  # pyright: ignore[reportPrivateUsage]


async def test_a_consumer_that_the_broker_does_not_count_is_made_again(make_rabbit: MakeBus, amqp_url: str) -> None:
    bus = make_rabbit(consumer_check_s=0.3)
    await bus.start()
    async with RabbitPeer.connect(amqp_url) as peer:
        waiting = asyncio.create_task(Reader(bus).next())
        await until(lambda: consumes(bus))
        await lose_consumer(bus)
        assert "no consumer" in await bus.check()
        await peer.send("job.get", b"after")
        assert (await waiting).body == b"after"


async def test_a_lost_consumer_is_renewed_though_another_daemon_consumes(make_rabbit: MakeBus, amqp_url: str) -> None:
    """The broker's count is not zero then, so it can't tell."""
    bus, other = make_rabbit(consumer_check_s=0.3), make_rabbit()
    await bus.start()
    await other.start()
    async with RabbitPeer.connect(amqp_url) as peer:
        others = asyncio.create_task(Reader(other).next())
        waiting = asyncio.create_task(Reader(bus).next())
        await until(lambda: consumes(bus))
        await until(lambda: consumes(other))
        lost = consumer(bus)
        await lose_consumer(bus)
        assert await bus.check() == "ok"
        await until(lambda: consumes(bus, other_than=lost))
        await other.stop_consuming()
        with pytest.raises(StopAsyncIteration):
            await others
        await peer.send("job.get", b"after")
        assert (await waiting).body == b"after"


async def test_renewing_the_consumer_loses_and_repeats_nothing(make_rabbit: MakeBus, amqp_url: str) -> None:
    bus = make_rabbit(consumer_check_s=0.005)
    await bus.start()
    count = 400

    async def send(peer: RabbitPeer) -> None:
        for number in range(count):
            await peer.send("job.get", str(number).encode())
            if number % 20 == 0:
                await asyncio.sleep(0.03)

    async with RabbitPeer.connect(amqp_url) as peer:
        reader = Reader(bus)
        sending = asyncio.create_task(send(peer))
        got: list[int] = []
        for _ in range(count):
            delivery = await reader.next()
            got.append(int(delivery.body))
            await bus.ack(delivery)
        await sending
    assert got == list(range(count))


async def test_a_queue_with_other_arguments_is_said_and_used_as_it_is(
    make_rabbit: MakeBus, admin: aio_pika.abc.AbstractChannel, amqp_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await admin.declare_queue(COMMANDS_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    bus = make_rabbit()
    async with asyncio.timeout(LIMIT_S):
        await bus.start()
    assert f"the queue {COMMANDS_QUEUE} was made with other arguments" in caplog.text
    assert "rabbitmqctl delete_queue" in caplog.text
    async with RabbitPeer.connect(amqp_url) as peer:
        await peer.send("gpu.list")
        assert (await Reader(bus).next()).routing_key == "gpu.list"
    await admin.queue_delete(COMMANDS_QUEUE)


async def test_an_exchange_of_another_type_is_said_and_waited_out(
    make_rabbit: MakeBus, admin: aio_pika.abc.AbstractChannel, caplog: pytest.LogCaptureFixture
) -> None:
    await admin.exchange_delete(EVENTS_EXCHANGE)
    await admin.declare_exchange(EVENTS_EXCHANGE, "fanout", durable=True)
    bus = make_rabbit()
    starting = asyncio.create_task(bus.start())
    await until(lambda: is_said(caplog, "made with other arguments"))
    assert not starting.done()
    assert EVENTS_EXCHANGE in caplog.text
    await admin.exchange_delete(EVENTS_EXCHANGE)
    async with asyncio.timeout(LIMIT_S):
        await starting
    assert await bus.check() == "ok"


# ---------------------------------------------------------------- the broker itself


@pytest.fixture
def node(services_dir: Path) -> Iterator[Path]:
    """The folder of a RabbitMQ that may be ill-treated; it is up again after the test."""
    if os.environ.get("SWIFT_TRAINER_AMQP_URL"):
        pytest.skip("the broker was given by its URL, so it is not ours to kill")
    yield services_dir
    start(services_dir)


def start(folder: Path) -> None:
    """Have RabbitMQ run."""
    argv = [sys.executable, "-m", "deploy.services", "rabbitmq", "up", "--dir", str(folder)]
    subprocess.run(argv, cwd=REPO, check=True, capture_output=True, timeout=100)


def kill(folder: Path) -> None:
    """End RabbitMQ as a power cut does."""
    record = load(folder, "rabbitmq")
    for pid in descendants(record):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    end(record, signal.SIGKILL)
    end({"pid": record["epmd_pid"], "start": record["epmd_start"]}, signal.SIGKILL)


def set_watermark(folder: Path, value: str) -> None:
    """How much memory the broker may use before it is alarmed."""
    env = rabbitmq_env(folder, load(folder, "rabbitmq"))
    argv = [CTL, "-n", env["RABBITMQ_NODENAME"], "set_vm_memory_high_watermark", value]
    subprocess.run(argv, env=env, check=True, capture_output=True, timeout=60)


async def test_a_killed_broker_comes_back_and_nothing_is_lost(node: Path, clean_url: str, make_rabbit: MakeBus) -> None:
    bus = make_rabbit()
    await bus.start()
    reader = Reader(bus)
    async with RabbitPeer.connect(clean_url) as peer:
        for number in range(10):
            await peer.send("job.get", str(number).encode())
        first = await reader.next()
        await bus.ack(first)
        await reader.next()
    await asyncio.sleep(QUORUM_SAVED_S)
    await asyncio.to_thread(kill, node)
    with pytest.raises(UnavailableError):
        await bus.publish(make_event(1))
    await asyncio.to_thread(start, node)
    seen: set[int] = set()
    while not set(range(1, 10)) <= seen:
        delivery = await reader.next(60)
        seen.add(int(delivery.body))
        await bus.ack(delivery)
    await bus.publish(make_event(1))
    assert await bus.check() == "ok"


async def test_an_alarm_is_told_and_waited_out(
    node: Path, rabbit: RabbitBus, rabbit_peer: RabbitPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is short of memory takes nothing from publishers, without an error and for as long as it lasts."""
    monkeypatch.setattr(rabbit_module, "CONFIRM_LIMIT_S", 0.5)
    reader = Reader(rabbit)
    await rabbit_peer.send("job.get", b"1")
    delivery = await reader.next()

    async def publish_for_ever() -> None:
        while True:
            await rabbit.publish(make_event(1))

    try:
        await asyncio.to_thread(set_watermark, node, "0.0001")
        with pytest.raises(UnavailableError):
            await publish_for_ever()
        assert "alarm" in await rabbit.check()
        await rabbit.ack(delivery)
    finally:
        await asyncio.to_thread(set_watermark, node, "0.4")
    await until(lambda: is_ok(rabbit))
    await rabbit.publish(make_event(2))
    await rabbit_peer.send("job.get", b"2")
    assert (await reader.next()).body == b"2"
