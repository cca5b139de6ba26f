"""The bus under test: its in-memory twin, and the real one on the suite's RabbitMQ, which is emptied before each test.

Whatever asyncio says on its way (a future whose exception nobody took, a task that was destroyed) fails the test.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable

import aio_pika
import pytest

from daemon.adapters.memory_bus import MemoryBroker, MemoryBus
from daemon.adapters.rabbit import RabbitBus
from daemon.ports import Bus
from schemas.commands import COMMANDS_EXCHANGE, COMMANDS_QUEUE, DEAD_EXCHANGE, DEAD_QUEUE, EVENTS_EXCHANGE
from tests.adapters.bus.peers import MemoryPeer, Peer, RabbitPeer
from tests.adapters.bus.proxy import Proxy
from tests.waiting import until

MakeBus = Callable[..., RabbitBus]


@pytest.fixture(autouse=True)
async def nothing_lost() -> AsyncGenerator[None]:
    """No exception goes unnoticed into asyncio's log."""
    said: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(repr(context)))
    yield
    await asyncio.sleep(0)
    assert not said


@pytest.fixture
async def clean_url(amqp_url: str) -> str:
    """URL of a broker on which nothing of ours is declared."""
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        for queue in (COMMANDS_QUEUE, DEAD_QUEUE):
            await channel.queue_delete(queue)
        for exchange in (COMMANDS_EXCHANGE, DEAD_EXCHANGE, EVENTS_EXCHANGE):
            await channel.exchange_delete(exchange)
    return amqp_url


@pytest.fixture
async def proxy(clean_url: str) -> AsyncGenerator[Proxy]:
    """A way to the broker that can be broken."""
    async with Proxy.before(clean_url) as proxy:
        yield proxy


@pytest.fixture
async def make_rabbit(proxy: Proxy) -> AsyncGenerator[MakeBus]:
    """Makes buses on RabbitMQ, through the proxy; closed at the end."""
    made: list[RabbitBus] = []

    def make(**options: object) -> RabbitBus:
        bus = RabbitBus(proxy.url, node_id=f"n{len(made)}", **options)  # pyright: ignore[reportArgumentType]
        made.append(bus)
        return bus

    yield make
    proxy.flow()
    for bus in made:
        await bus.close()


@pytest.fixture
async def rabbit(make_rabbit: MakeBus) -> RabbitBus:
    """A bus on RabbitMQ, started."""
    bus = make_rabbit()
    await bus.start()
    return bus


@pytest.fixture
async def rabbit_peer(rabbit: RabbitBus, amqp_url: str) -> AsyncGenerator[RabbitPeer]:
    """The other side of `rabbit`."""
    async with RabbitPeer.connect(amqp_url) as peer:
        yield peer


class World:
    """A bus, its other side, and what a contract test may do to them."""

    def __init__(self, bus: Bus, peer: Peer, another: Callable[[int], Bus], cut: Callable[[], None]) -> None:
        self.bus = bus
        self.peer = peer
        self._another = another
        self.cut = cut
        """Break the connections of all buses."""

    async def another(self, prefetch: int = 64) -> Bus:
        """A second daemon's bus on the same broker."""
        bus = self._another(prefetch)
        if isinstance(bus, RabbitBus):
            await bus.start()
        return bus

    async def consuming(self, count: int) -> None:
        """Wait until so many daemons consume commands."""
        await until(lambda: self._consumers(count))

    async def _consumers(self, count: int) -> bool:
        if isinstance(self.bus, RabbitBus):
            session = self.bus._session  # pyright: ignore[reportPrivateUsage]  # it asks the broker
            return session is not None and await session.consumers() == count
        assert isinstance(self.bus, MemoryBus)
        return self.bus.broker.consumers == count

    async def close(self, bus: Bus) -> None:
        """End a daemon's bus."""
        assert isinstance(bus, RabbitBus | MemoryBus)
        await bus.close()


@pytest.fixture
def memory_world() -> World:
    """The twin."""
    broker = MemoryBroker()
    bus = MemoryBus(broker, node_id="n0")

    def another(prefetch: int) -> MemoryBus:
        return MemoryBus(broker, node_id="n1", prefetch=prefetch)

    return World(bus, MemoryPeer(broker), another, broker.cut)


@pytest.fixture
def rabbit_world(rabbit: RabbitBus, rabbit_peer: RabbitPeer, make_rabbit: MakeBus, proxy: Proxy) -> World:
    """The real one."""
    return World(rabbit, rabbit_peer, lambda prefetch: make_rabbit(prefetch=prefetch), proxy.cut)


@pytest.fixture(params=["memory", pytest.param("rabbit", marks=pytest.mark.services)])
def world(request: pytest.FixtureRequest) -> World:
    """Each bus in turn; what holds for one holds for the other."""
    found: World = request.getfixturevalue(f"{request.param}_world")
    return found
