"""RabbitMQ is killed, stopped and started while trainings run and commands come."""

import signal
from pathlib import Path

import pytest

from tests.faults.account import assert_sound
from tests.faults.place import Place, send, step_reached
from tests.faults.services import Services
from tests.faults.witness import Witness
from tests.waiting import until

pytestmark = pytest.mark.services

ENDED = "End time of running main"


async def test_a_broker_that_is_killed_and_stopped_is_no_failure(place: Place, found: Witness, pair: Services) -> None:
    daemon = await place.daemon()
    held = place.model(steps=120, step_seconds=0.05, save_seconds=0.2, hold_at=100)  # over all of it
    long = await found.create(place.request(held, save_steps=20))
    short = await found.create(place.request(place.model(steps=30, step_seconds=0.05)))
    await step_reached(found, short, 3)
    await pair.kill("rabbitmq")
    await until(lambda: ENDED in place.log(short))  # its whole end falls into the outage
    await pair.up("rabbitmq")
    await found.status(short, "completed")
    assert (await found.job(long))["status"] == "running"
    assert await found.consumers() == 1

    # what the broker has confirmed survives it, and is carried out once
    send(daemon.pid, signal.SIGSTOP)
    request = place.request(place.model(steps=5))
    for message_id in ("first", "first", "second"):
        await found.post("job.create", request, message_id=message_id)
    await pair.down("rabbitmq")
    send(daemon.pid, signal.SIGCONT)
    await until(lambda: "is the broker running? check SWIFT_TRAINER_AMQP_URL" in place.daemon_log())
    await pair.up("rabbitmq")
    Path(held, "go").touch()
    first, second = [await found.create(request, message_id=name) for name in ("first", "second")]
    for job_id in (first, second, long):
        await found.status(job_id, "completed")
    assert (await found.order("job.list"))["total"] == 4
    await assert_sound(found, long, short, first, second)
    await place.end(daemon, signal.SIGTERM)
