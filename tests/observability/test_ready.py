"""`/readyz` says what is away, and `/healthz` answers all the same."""

from pathlib import Path

import pytest

from tests.e2e.conftest import Settings
from tests.e2e.harness import Daemon
from tests.faults.conftest import own_services, pair
from tests.faults.services import Name, Services
from tests.observability.scrape import answers, get, scrape
from tests.waiting import until

__all__ = ["own_services", "pair"]

pytestmark = pytest.mark.services


@pytest.mark.parametrize(("name", "part"), [("rabbitmq", "broker"), ("mongod", "store")])
async def test_it_is_ready_while_broker_and_store_are_there(
    pair: Services, settings: Settings, work: Path, port: int, name: Name, part: str
) -> None:
    urls = {"SWIFT_TRAINER_AMQP_URL": pair.amqp_url, "SWIFT_TRAINER_MONGODB_URL": pair.mongodb_url}
    await pair.down(name)
    daemon = Daemon({**settings, **urls}, work)
    await daemon.start()

    async def ready() -> bool:
        return (await get(port, "/readyz"))[0] == 200

    async def away() -> bool:
        status, text = await get(port, "/readyz")
        return status == 503 and f"{part}: " in text

    try:
        await until(lambda: answers(port))
        assert await get(port, "/readyz") == (503, "the daemon is starting\n")
        assert await get(port, "/healthz") == (200, "live, starting\n")
        await pair.up(name)
        await until(ready)
        await pair.down(name)
        await until(away)
        assert (await get(port, "/healthz"))[0] == 200

        async def shown_as_away() -> bool:
            return (await scrape(port)).sum(f"swift_trainer_{part}_up") == 0

        await until(shown_as_away)
        await pair.up(name)
        await until(ready)
    finally:
        assert await daemon.stop() == 0
