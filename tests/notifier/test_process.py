"""The notifier as a process on a real broker: it is away, is killed, loses the broker, and gets new rules."""

import asyncio
import json
import signal
from pathlib import Path

import aio_pika
import pytest

from daemon.adapters.rabbit import RabbitBus
from schemas.events import CloudEvent
from tests.e2e.test_cli import trainer
from tests.faults.services import Services
from tests.notifier.conftest import MakeQueue
from tests.notifier.notifier import notifier, printing
from tests.notifier.receiver import HANG, Answer, receiver
from tests.notifier.samples import (
    SECRET,
    body_of,
    event,
    export_event,
    node_event,
    outbox,
    rules_text,
    webhook,
    written,
)
from tests.waiting import until

pytestmark = pytest.mark.services

Settings = dict[str, str]


async def publish(bus: RabbitBus, *events: CloudEvent) -> None:
    for found in events:
        await bus.publish(outbox(found))


async def waiting_in(amqp_url: str, queue: str) -> int:
    async with await aio_pika.connect(amqp_url) as connection:
        found = await (await connection.channel()).declare_queue(queue, passive=True)
        return found.declaration_result.message_count or 0


async def test_what_happened_while_it_was_away_is_told_afterwards(
    services: Settings, amqp_url: str, bus: RabbitBus, tmp_path: Path, make_queue: MakeQueue
) -> None:
    queue = await make_queue()
    async with receiver() as found:
        rules = written(tmp_path, rules_text(webhook(found.url)))
        async with notifier(tmp_path, rules, services, "--queue", queue) as told:
            assert await told.stop() == 0
            away = [event(event_id="e1"), export_event("failed", event_id="e2"), node_event("offline", event_id="e3")]
            await publish(bus, *away, away[0], event("swift.job.checkpoint.v1", event_id="x", status="x"))
            bus.publish_live("job.a1b2c3d4e5f6.log", event("swift.job.log.v1", event_id="y"))
            assert not found.calls
            await told.start()
            await found.came(3)
            await publish(bus, event(event_id="e4"))
            await until(lambda: "e4" in found.ids())
        assert sorted(found.ids()) == ["e1", "e2", "e3", "e4"]
        assert {call.body for call in found.calls} >= {body_of(sent) for sent in away}


async def test_killed_between_spool_and_delivery_it_tells_after_the_next_start(
    services: Settings, amqp_url: str, bus: RabbitBus, tmp_path: Path, make_queue: MakeQueue
) -> None:
    queue = await make_queue()
    async with receiver(HANG, HANG) as found:
        rules = written(tmp_path, rules_text(webhook(found.url)))
        async with notifier(tmp_path, rules, services, "--queue", queue) as told:
            await publish(bus, event(event_id="e1"), event(event_id="e2"))
            await found.came(2)
            await until(lambda: waiting_is_zero(amqp_url, queue))
            await told.stop(signal.SIGKILL)
            assert await waiting_in(amqp_url, queue) == 0, "acknowledged: the spool has them"
            await told.start()
            await found.came(4)
            await told.said("notification_told", 2)
            assert await told.stop() == 0
        assert sorted(found.ids()) == ["e1", "e1", "e2", "e2"], "at least once, with the same ids"
        assert "waiting=0" in told.log().splitlines()[-1]


async def waiting_is_zero(amqp_url: str, queue: str) -> bool:
    return await waiting_in(amqp_url, queue) == 0


async def test_rules_are_reread_and_broken_ones_change_nothing(
    services: Settings, bus: RabbitBus, tmp_path: Path, make_queue: MakeQueue
) -> None:
    queue = await make_queue()
    async with receiver() as found:
        rules = written(tmp_path, rules_text(webhook(found.url), when="{status: completed}"))
        async with notifier(tmp_path, rules, services, "--queue", queue) as told:
            rules.write_text("rules:\n  - name: x\n    wen: {}\n")
            told.send(signal.SIGHUP)
            await told.said("rules_broken")
            await publish(bus, event(event_id="e1"))
            await found.came(1)
            rules.write_text(rules_text(webhook(found.url), when="{status: failed}"))
            await told.said("rules_read")
            await publish(bus, event(event_id="e2"), event(event_id="e3", status="failed", error_code="killed"))
            await found.came(2)
            rules.unlink()
            told.send(signal.SIGHUP)
            await told.said("can't be read")
            assert await told.stop() == 0
        assert found.ids() == ["e1", "e3"]
        assert f"{rules}: line 3: rules[0].wen: Extra inputs are not permitted" in told.log()
        assert SECRET not in told.log()


async def test_the_broker_goes_and_comes_back(tmp_path: Path) -> None:
    services = Services(tmp_path)
    try:
        await services.open()
        settings = {"SWIFT_TRAINER_AMQP_URL": services.amqp_url}
        async with receiver(Answer(503)) as found:
            rules = written(tmp_path, rules_text(webhook(found.url)))
            async with notifier(tmp_path, rules, settings) as told:
                bus = RabbitBus(services.amqp_url, node_id="n1")
                await bus.start()
                await publish(bus, event(event_id="e1"))
                await found.came(1)
                await bus.close()
                await services.down("rabbitmq")
                await told.said("broker_away")
                await told.said("notification_told")  # a broker is not needed for what is spooled
                await services.up("rabbitmq")
                await told.said("listening:", 2)
                bus = RabbitBus(services.amqp_url, node_id="n1")
                await bus.start()
                await publish(bus, event(event_id="e2"))
                await found.came(3)
                await bus.close()
                assert await told.stop() == 0
            assert found.ids() == ["e1", "e1", "e2"]
            assert "Traceback" not in told.log()
    finally:
        await services.close()


async def test_a_queue_that_is_deleted_is_made_again(
    services: Settings, amqp_url: str, bus: RabbitBus, tmp_path: Path, make_queue: MakeQueue
) -> None:
    queue = await make_queue()
    async with receiver() as found:
        rules = written(tmp_path, rules_text(webhook(found.url)))
        async with notifier(tmp_path, rules, services, "--queue", queue) as told:
            async with await aio_pika.connect(amqp_url) as connection:
                channel = await connection.channel()
                await channel.queue_delete(queue)
                await told.said("listening:", 2)
            await publish(bus, event(event_id="e1"))
            await found.came(1)


async def test_two_do_not_share_a_spool(services: Settings, tmp_path: Path, make_queue: MakeQueue) -> None:
    async with receiver() as found:
        rules = written(tmp_path, rules_text(webhook(found.url)))
        async with notifier(tmp_path, rules, services, "--queue", await make_queue()) as told:
            own = {**services, "SECRET": SECRET, "SWIFT_TRAINER_STATE_DIR": str(tmp_path / "state")}
            code, _, err = await trainer("notify", str(rules), settings=own)
            assert (code, "another notifier uses it" in err) == (2, True), err
            assert await told.stop() == 0


async def test_a_dry_run_prints_what_would_be_sent_and_sends_nothing(
    services: Settings, bus: RabbitBus, tmp_path: Path
) -> None:
    async with receiver() as found:
        rules = written(tmp_path, rules_text(webhook(found.url), when="{status: completed}"))
        async with printing(tmp_path, rules, services) as lines:
            while not lines.done():  # nothing else tells that it listens
                await publish(bus, event(event_id="e1"), event(event_id="e0", status="running"))
                await asyncio.wait({lines}, timeout=0.1)
            shown = json.loads(lines.result())
        assert shown["event_id"] == "e1"
        assert shown["title"] == "Training a1b2c3d4 is completed"
        assert shown["targets"] == [found.url.replace("hook", "***")]
        assert not found.calls
