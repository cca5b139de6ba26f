"""Services that may be killed, and a place for each test that is found empty at its end."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from tests.faults.place import Place
from tests.faults.services import BOTH, Services
from tests.faults.witness import Witness, witness


@pytest.fixture(scope="session")
def own_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A RabbitMQ and a mongod of these tests' own."""
    found = Services(tmp_path_factory.mktemp("faults-services"))
    try:
        asyncio.run(found.open())
        yield found
    finally:
        asyncio.run(found.close())


@pytest.fixture
async def pair(own_services: Services) -> AsyncGenerator[Services]:
    """The services, both running, also after a test that left one down."""
    yield own_services
    for name in BOTH:
        own_services.thaw(name)
        await own_services.up(name)


@pytest.fixture
async def found(pair: Services) -> AsyncGenerator[Witness]:
    """A witness, with an empty queue of commands."""
    async with witness(pair.amqp_url) as connected:
        await connected.purge()
        yield connected


@pytest.fixture
async def place(pair: Services, tmp_path: Path, standin_command: str) -> AsyncGenerator[Place]:
    """A place with the stand-in for swift."""
    made = Place(tmp_path, pair.amqp_url, pair.mongodb_url, standin_command)
    yield made
    await made.close()
