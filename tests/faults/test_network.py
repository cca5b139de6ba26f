"""The network between the daemon and its broker and store cuts, swallows, and loses the answers to what was done."""

import asyncio
from pathlib import Path

import pytest
from pymongo import MongoClient

from tests.e2e.harness import Json
from tests.faults.account import assert_sound
from tests.faults.place import Place, step_reached
from tests.faults.proxy import HEARTBEAT, QUICK_STORE, Proxy
from tests.faults.services import Services
from tests.faults.witness import Witness
from tests.waiting import until

pytestmark = pytest.mark.services

STATUSES = ("pending", "queued", "starting", "running", "completed")


async def test_a_silent_broker_is_noticed_and_nothing_is_lost(place: Place, found: Witness, pair: Services) -> None:
    async with Proxy.before(pair.amqp_url, **HEARTBEAT) as broker:
        await place.daemon(amqp_url=broker.url)
        short = await found.create(place.request(place.model(steps=20, step_seconds=0.05)))
        await step_reached(found, short, 2)
        broker.blackhole()
        await until(lambda: "End time of running main" in place.log(short))
        await until(lambda: "broker_lost" in place.daemon_log() or "connecting anew" in place.daemon_log())
        await broker.heal()
        await found.status(short, "completed")
        late = await found.create(place.request(place.model(steps=3)))  # the consumer is really there
        await found.status(late, "completed")
        await assert_sound(found, short, late)


async def test_a_broker_whose_connections_are_cut_again_and_again(place: Place, found: Witness, pair: Services) -> None:
    async with Proxy.before(pair.amqp_url, **HEARTBEAT) as broker:
        await place.daemon(amqp_url=broker.url)
        jobs: list[str] = []
        for _ in range(4):
            creating = asyncio.create_task(found.create(place.request(place.model(steps=10, step_seconds=0.05))))
            await asyncio.sleep(0.05)  # somewhere in the carrying out
            broker.cut()
            jobs.append(await creating)
        for job_id in jobs:
            await found.status(job_id, "completed")
        assert (await found.order("job.list"))["total"] == len(jobs)
        await assert_sound(found, *jobs)


async def test_an_event_whose_confirmation_is_lost_is_told_again_under_its_id(
    place: Place, found: Witness, pair: Services
) -> None:
    async with Proxy.before(pair.amqp_url, **HEARTBEAT) as broker:
        await place.daemon(amqp_url=broker.url)
        held = place.model(steps=4, hold_at=2)
        job_id = await found.create(place.request(held))
        await step_reached(found, job_id, 2)
        broker.lose_answer_to(f"job.{job_id}.status.completed")
        Path(held, "go").touch()
        await found.status(job_id, "completed")  # the broker has it; the daemon does not know
        broker.cut()
        await until(lambda: found.repeated)
        await assert_sound(found, job_id)


async def test_each_write_of_a_job_may_lose_its_answer(place: Place, found: Witness, pair: Services) -> None:
    async with Proxy.before(pair.mongodb_url, **QUICK_STORE) as store:
        await place.daemon(mongodb_url=store.url)
        await found.order("params.default", {"training_type": "llm"})
        request = place.request(place.model(steps=8, step_seconds=0.02), start=False)
        with MongoClient[Json](pair.mongodb_url) as client:
            jobs = client[place.settings()["SWIFT_TRAINER_MONGODB_DATABASE"]]["jobs"]
            orders: list[asyncio.Task[Json]] = []
            for number, status in enumerate(STATUSES):
                store.lose_answer_to(f".status.{status}")
                if status == "pending":
                    orders.append(asyncio.create_task(found.order("job.create", request)))
                if status == "queued":
                    started = {"job_id": orders[0].result()["job_id"]}
                    orders.append(asyncio.create_task(found.order("job.start", started)))
                await asyncio.wait_for(store.sprung.wait(), 30)
                await until(lambda number=number: jobs.find_one({"status": {"$in": STATUSES[number:]}}))
                store.cut()
                await asyncio.gather(*orders)
        job_id = orders[0].result()["job_id"]
        await found.status(job_id, "completed")
        assert (await found.order("job.list"))["total"] == 1
        statuses = [
            event["data"]["status"] for event in found.durable(job_id) if event["type"] == "swift.job.status.v1"
        ]
        assert statuses == list(STATUSES)
        await assert_sound(found, job_id)


async def test_a_silent_store_is_noticed_and_nothing_is_lost(place: Place, found: Witness, pair: Services) -> None:
    async with Proxy.before(pair.mongodb_url, **QUICK_STORE) as store:
        await place.daemon(mongodb_url=store.url)
        job_id = await found.create(place.request(place.model(steps=40, step_seconds=0.05)))
        await step_reached(found, job_id, 3)
        store.blackhole()
        await until(lambda: "End time of running main" in place.log(job_id))
        await until(lambda: "SWIFT_TRAINER_MONGODB_URL" in place.daemon_log())
        await store.heal()
        await found.status(job_id, "completed")
        await assert_sound(found, job_id)
