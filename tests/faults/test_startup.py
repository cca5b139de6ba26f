"""The daemon starts before its broker and its store are there."""

import signal
import time

import pytest

from tests.faults.account import assert_sound
from tests.faults.place import Place
from tests.faults.proxy import Proxy
from tests.faults.services import Services
from tests.faults.witness import Witness
from tests.waiting import until

pytestmark = pytest.mark.services

AT_ONCE_S = 10.0
"""The driver of the store gives a look for a server 3 s; and this machine may be busy."""
HINTS = {"store": "check that it runs, and SWIFT_TRAINER_MONGODB_URL", "broker": "check SWIFT_TRAINER_AMQP_URL"}


async def test_it_waits_for_store_and_broker_says_so_and_then_works(
    place: Place, found: Witness, pair: Services
) -> None:
    async with Proxy.before(pair.amqp_url) as broker, Proxy.before(pair.mongodb_url) as store:
        broker.refuse()
        store.refuse()
        daemon = await place.daemon(amqp_url=broker.url, mongodb_url=store.url)
        await until(lambda: HINTS["store"] in place.daemon_log())
        await store.heal()
        await until(lambda: HINTS["broker"] in place.daemon_log())
        await broker.heal()
        job_id = await found.create(place.request(place.model(steps=3)))
        await found.status(job_id, "completed")
        await assert_sound(found, job_id)
        await place.end(daemon, signal.SIGTERM)


@pytest.mark.parametrize("away", ["store", "broker"])
@pytest.mark.parametrize("how", ["refuses", "is silent"])
async def test_sigterm_ends_the_waiting_at_once(place: Place, pair: Services, away: str, how: str) -> None:
    async with Proxy.before(pair.amqp_url) as broker, Proxy.before(pair.mongodb_url) as store:
        missing = {"store": store, "broker": broker}[away]
        if how == "refuses":
            missing.refuse()
        else:
            missing.blackhole()
        daemon = await place.daemon(amqp_url=broker.url, mongodb_url=store.url)
        if how == "refuses":
            await until(lambda: HINTS[away] in place.daemon_log())
        else:
            await until(lambda: missing.connections)
        since = time.monotonic()
        assert await place.end(daemon, signal.SIGTERM) == 0, place.daemon_log()
        assert time.monotonic() - since < AT_ONCE_S
