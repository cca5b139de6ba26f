"""What every bus does with events: durable ones confirmed and in order, live ones soon or never."""

import asyncio

from daemon.adapters.live_queue import LiveMessage, LiveQueue
from daemon.adapters.memory_bus import MemoryBus
from daemon.adapters.rabbit import RabbitBus
from schemas.events import CloudEvent
from tests.adapters.bus.conftest import World
from tests.adapters.bus.peers import make_event, make_live


async def test_events_are_there_when_publish_returns_and_in_order(world: World) -> None:
    for number in range(1, 21):
        await world.bus.publish(make_event(number))
    seen = [await world.peer.event() for _ in range(20)]
    assert [event.message_id for event in seen if event] == [f"j-{number}" for number in range(1, 21)]
    assert seen[0] is not None
    assert seen[0].routing_key == "job.j.status.queued"
    assert CloudEvent.model_validate_json(seen[0].body) == make_event(1).event


async def test_jobs_publish_side_by_side_each_in_its_order(world: World) -> None:
    async def publish(job_id: str) -> None:
        for number in range(1, 11):
            await world.bus.publish(make_event(number, job_id))

    await asyncio.gather(*(publish(f"j{job}") for job in range(10)))
    seen = [await world.peer.event() for _ in range(100)]
    ids = [event.message_id for event in seen if event]
    assert len(ids) == 100
    for job in range(10):
        assert [one for one in ids if one and one.startswith(f"j{job}-")] == [f"j{job}-{n}" for n in range(1, 11)]


async def test_an_event_that_nobody_subscribes_to_is_published_all_the_same(world: World) -> None:
    await world.bus.publish(make_event(1).model_copy(update={"routing_key": "nobody.listens"}))


async def test_live_events_arrive_without_a_sequence(world: World) -> None:
    world.bus.publish_live("job.j.progress", make_live(7))
    seen = await world.peer.event()
    assert seen is not None
    event = CloudEvent.model_validate_json(seen.body)
    assert (seen.routing_key, event.sequence, event.data["number"]) == ("job.j.progress", None, 7)


async def test_publish_live_never_waits_and_is_bounded(world: World) -> None:
    assert isinstance(world.bus, RabbitBus | MemoryBus)
    for number in range(10_500):
        world.bus.publish_live("job.j.progress", make_live(number))
    now = world.bus.statistics()
    assert (now.waiting, now.dropped) == (10_000, 500)
    seen = await world.peer.event()
    assert seen is not None
    assert CloudEvent.model_validate_json(seen.body).data["number"] == 500


# ---------------------------------------------------------------- the queue of live events


def live(number: int, kind: str = "progress", size: int = 10) -> LiveMessage:
    return LiveMessage(f"job.j.{kind}", b"x" * size, f"e{number}", "t")


def taken(queue: LiveQueue) -> list[str]:
    found: list[str] = []
    while (message := queue.take()) is not None:
        found.append(message.event_id)
    return found


def test_where_there_is_no_room_the_oldest_log_batch_goes_first() -> None:
    queue = LiveQueue(most_messages=3)
    for message in (live(1), live(2, "log"), live(3, "log"), live(4), live(5)):
        queue.put(message)
    assert taken(queue) == ["e1", "e4", "e5"]
    assert queue.statistics().dropped == 2


def test_without_logs_the_oldest_goes() -> None:
    queue = LiveQueue(most_messages=2)
    for number in range(1, 5):
        queue.put(live(number))
    assert taken(queue) == ["e3", "e4"]


def test_bytes_are_bounded_too() -> None:
    queue = LiveQueue(most_bytes=100)
    for number in range(1, 5):
        queue.put(live(number, "log" if number == 2 else "progress", 40))
    assert queue.statistics().waiting_bytes <= 100
    assert taken(queue) == ["e3", "e4"]
    queue.put(live(9, size=1000))
    assert taken(queue) == []
    assert queue.statistics().waiting_bytes == 0


def test_what_is_dropped_is_counted() -> None:
    queue = LiveQueue()
    queue.put(live(1))
    queue.clear()
    queue.refuse()
    assert queue.statistics().dropped == 2
    assert queue.statistics().waiting == 0
