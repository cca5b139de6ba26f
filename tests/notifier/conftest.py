"""What the tests of this room share: queues and buses of their own on the suite's RabbitMQ."""

import uuid
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable

import aio_pika
import pytest

from daemon.adapters.rabbit import RabbitBus
from daemon.notifier.apprise_target import knows
from tests.e2e.conftest import data, make_model, make_settings, standin_settings, work

__all__ = ["data", "make_model", "make_settings", "standin_settings", "work"]

MakeQueue = Callable[[], Awaitable[str]]


@pytest.fixture(scope="session", autouse=True)
def plugins() -> None:
    """Apprise loads its plug-ins at the first URL, and one of them imports a module that Python will drop."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'imghdr' is deprecated", DeprecationWarning)
        assert knows("json://127.0.0.1")


@pytest.fixture
async def make_queue(amqp_url: str) -> AsyncGenerator[MakeQueue]:
    """Names of queues that nobody has; deleted at the end."""
    names: list[str] = []

    async def make() -> str:
        names.append(f"swift.notifications.{uuid.uuid4().hex}")
        return names[-1]

    yield make
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        for name in names:
            await channel.queue_delete(name)


@pytest.fixture
async def bus(amqp_url: str) -> AsyncGenerator[RabbitBus]:
    """The daemon's own adapter, to publish events with."""
    found = RabbitBus(amqp_url, node_id="n1")
    await found.start()
    yield found
    await found.close()
