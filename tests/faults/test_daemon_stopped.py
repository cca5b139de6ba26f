"""SIGTERM: the daemon ends within its budgets, tells all it knows, and leaves its trainings running, or ends them."""

import signal
import time

import pytest

from daemon import app
from tests.e2e.harness import processes_of
from tests.faults.account import assert_sound
from tests.faults.place import Place, step_reached
from tests.faults.proxy import HEARTBEAT, QUICK_STORE, Proxy
from tests.faults.services import Services
from tests.faults.witness import Witness

pytestmark = pytest.mark.services

QUICK_S = 5.0
STOP_GRACE_S = 2
BUDGET_S = app.INTAKE_BUDGET_S + app.SUPERVISION_BUDGET_S + app.OUTBOX_BUDGET_S + app.NODE_BUDGET_S + app.CLOSE_BUDGET_S


async def test_a_stop_tells_everything_and_leaves_trainings_running(place: Place, found: Witness) -> None:
    daemon = await place.daemon()
    running = await found.create(place.request(place.model(steps=80, step_seconds=0.05)))
    await step_reached(found, running, 5)
    pending = [await found.create(place.request(place.model(), start=False)) for _ in range(20)]
    since = time.monotonic()
    assert await place.end(daemon, signal.SIGTERM) == 0, place.daemon_log()
    assert time.monotonic() - since < QUICK_S
    await found.until(lambda event: event["_key"] == "node.node-1.offline")
    assert all(len(found.durable(job_id)) == 1 for job_id in pending)
    assert len(processes_of(running)) > 2
    await place.daemon()
    await found.status(running, "completed")
    assert (await found.job(running))["attempt"] == 1
    await assert_sound(found, running)


async def test_a_stop_may_end_the_trainings_and_saves_them_first(place: Place, found: Witness) -> None:
    daemon = await place.daemon(on_exit="stop", stop_grace_seconds=STOP_GRACE_S)
    saving = await found.create(place.request(place.model(steps=80, step_seconds=0.05), save_steps=500))
    stubborn = await found.create(place.request(place.model(steps=5000, ignore_sigterm=True, setsid_children=1)))
    for job_id in (saving, stubborn):
        await step_reached(found, job_id, 5)
    since = time.monotonic()
    assert await place.end(daemon, signal.SIGTERM) == 0, place.daemon_log()
    assert time.monotonic() - since < STOP_GRACE_S + app.STOP_MARGIN_S
    assert place.left() == []
    for job_id in (saving, stubborn):
        assert (await found.status(job_id, "cancelled"))["data"]["processes_left"] == 0
    await place.daemon()
    job = await found.job(saving)
    reached = job["current_step"]
    assert job["checkpoint_path"].endswith(f"checkpoint-{reached}")
    assert 5 <= reached < 80
    await found.order("job.resume", {"job_id": saving})
    await found.status(saving, "completed", attempt=2)
    points = (await found.order("job.metrics", {"job_id": saving}))["points"]
    assert [point["step"] for point in points] == list(range(1, 81))
    await assert_sound(found, saving, stubborn)


async def test_a_stop_while_broker_and_store_are_silent_keeps_its_budget(
    place: Place, found: Witness, pair: Services
) -> None:
    async with (
        Proxy.before(pair.amqp_url, **HEARTBEAT) as broker,
        Proxy.before(pair.mongodb_url, **QUICK_STORE) as store,
    ):
        daemon = await place.daemon(amqp_url=broker.url, mongodb_url=store.url)
        job_id = await found.create(place.request(place.model(steps=60, step_seconds=0.05)))
        await step_reached(found, job_id, 5)
        broker.blackhole()
        store.blackhole()
        since = time.monotonic()
        assert await place.end(daemon, signal.SIGTERM) == 0, place.daemon_log()
        assert time.monotonic() - since < BUDGET_S
        await broker.heal()
        await store.heal()
        await place.daemon()
        await found.status(job_id, "completed")
        await assert_sound(found, job_id)
