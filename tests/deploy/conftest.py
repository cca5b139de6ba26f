"""The broker that the tests of this room share."""

from collections.abc import Iterator

import pytest

from tests.deploy.broker import Broker


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker with the shipped definitions, where the daemon has declared its topology."""
    found = Broker(tmp_path_factory.mktemp("shipped-broker"))
    try:
        found.up()
        yield found
    finally:
        found.down()
