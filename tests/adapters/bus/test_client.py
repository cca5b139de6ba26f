"""The client on a real broker: what is under way when the connection goes, and who a command is from."""

import asyncio

import aio_pika
import pytest

from daemon.adapters.rabbit import RabbitBus
from daemon.client import Client, ClientError
from daemon.client.connection import user_of
from schemas.commands import COMMANDS_QUEUE
from tests.adapters.bus.proxy import Proxy
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.usefixtures("rabbit")]


@pytest.mark.parametrize(
    ("url", "user"),
    [
        ("amqp://alice:secret@host/", "alice"), ("amqps://team%40a%2Fb:x@host:5671/vhost?heartbeat=5", "team@a/b"),
        ("amqp://host/", "guest"), ("amqp://:secret@host/", "guest"),
    ],
)  # fmt: skip
def test_the_user_of_a_url(url: str, user: str) -> None:
    assert user_of(url) == user


async def waiting(url: str) -> int:
    """How many commands wait in the queue."""
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).declare_queue(COMMANDS_QUEUE, passive=True)
        return queue.declaration_result.message_count or 0


async def test_a_call_under_way_ends_with_the_connection(clean_url: str, proxy: Proxy) -> None:
    async def sent() -> bool:
        return await waiting(clean_url) == 1

    async with Client(proxy.url) as client:
        call = asyncio.create_task(client.call("system.status", timeout_s=60))
        await until(sent)
        assert not call.done()
        proxy.cut()
        with pytest.raises(ClientError, match="connection to the broker went"):
            await call
        await client.wait_lost()
        with pytest.raises(ClientError, match=r"system\.status could not be sent"):
            await client.call("system.status", timeout_s=5)


@pytest.mark.parametrize(
    ("signed", "owner", "user"), [(True, None, "guest"), (False, None, None), (False, "guest", "guest")]
)
async def test_a_command_is_from_the_user_that_the_broker_knows(
    clean_url: str, rabbit: RabbitBus, signed: bool, owner: str | None, user: str | None
) -> None:
    async with Client(clean_url, signed=signed) as client:
        call = asyncio.create_task(client.call("job.list", owner=owner, timeout_s=60))
        delivery = await anext(rabbit.commands())
        await rabbit.ack(delivery)
        assert delivery.user_id == user
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_forged_user_is_refused_and_ends_the_client(clean_url: str) -> None:
    async with Client(clean_url) as client:
        with pytest.raises(ClientError, match="user_id"):
            await client.call("job.list", owner="alice", timeout_s=60)
        await client.wait_lost()
