"""What every bus does with commands: deliveries, acknowledgements, dead letters, replies."""

import asyncio

from daemon.ports import Delivery
from schemas.commands import ERROR_HEADER, MAX_BODY_BYTES
from tests.adapters.bus.conftest import World
from tests.adapters.bus.peers import Reader


async def test_a_delivery_has_all_of_its_properties(world: World) -> None:
    reader = Reader(world.bus)
    waiting = asyncio.create_task(reader.next())
    await asyncio.sleep(0.05)
    await world.peer.send(
        "job.create", b'{"a": 1}', message_id="m1", correlation_id="c1", reply_to="somewhere", user_id="guest"
    )
    assert await waiting == Delivery(
        routing_key="job.create",
        body=b'{"a": 1}',
        message_id="m1",
        correlation_id="c1",
        reply_to="somewhere",
        user_id="guest",
        redelivered=False,
    )


async def test_a_bare_command_has_none(world: World) -> None:
    await world.peer.send("job.get")
    delivery = await Reader(world.bus).next()
    assert (delivery.correlation_id, delivery.reply_to, delivery.user_id) == (None, None, None)


async def test_commands_that_were_sent_before_come_in_order(world: World) -> None:
    for number in range(300):
        await world.peer.send("job.get", str(number).encode())
    reader = Reader(world.bus)
    for number in range(300):
        delivery = await reader.next()
        assert delivery.body == str(number).encode()
        await world.bus.ack(delivery)


async def test_an_acknowledged_command_is_gone(world: World) -> None:
    await world.peer.send("job.get", b"1")
    delivery = await Reader(world.bus).next()
    await world.bus.ack(delivery)
    await world.bus.ack(delivery)
    await world.close(world.bus)
    assert await Reader(await world.another()).nothing()


async def test_unacknowledged_commands_come_again_and_say_so(world: World) -> None:
    reader = Reader(world.bus)
    for body in (b"1", b"2", b"3"):
        await world.peer.send("job.get", body, message_id="m" + body.decode())
    first, second, third = [await reader.next() for _ in range(3)]
    await world.bus.ack(second)
    await world.close(world.bus)
    again = Reader(await world.another())
    deliveries = [await again.next() for _ in range(2)]
    assert [(one.body, one.message_id, one.redelivered) for one in deliveries] == [
        (first.body, "m1", True),
        (third.body, "m3", True),
    ]


async def test_after_a_cut_commands_go_on_and_old_acknowledgements_count_for_nothing(world: World) -> None:
    reader = Reader(world.bus)
    await world.peer.send("job.get", b"1")
    old = await reader.next()
    world.cut()
    new = await reader.next()
    assert (new.body, new.redelivered) == (b"1", True)
    await world.bus.ack(old)
    await world.bus.dead_letter(old, "too late")
    await world.close(world.bus)
    again = Reader(await world.another())
    delivery = await again.next()
    assert delivery.body == b"1"
    await again.bus.ack(delivery)
    assert await world.peer.dead() is None


async def test_no_more_than_the_prefetch_is_handed_out(world: World) -> None:
    bus = await world.another(prefetch=5)
    for number in range(12):
        await world.peer.send("job.get", str(number).encode())
    reader = Reader(bus)
    held = [await reader.next() for _ in range(5)]
    sixth = asyncio.create_task(reader.next())
    await asyncio.sleep(0.2)
    assert not sixth.done()
    await bus.ack(held[0])
    assert (await sixth).body == b"5"


async def test_two_daemons_share_the_commands(world: World) -> None:
    one, two = Reader(world.bus), Reader(await world.another())
    both = [asyncio.create_task(one.next()), asyncio.create_task(two.next())]
    await world.consuming(2)
    await world.peer.send("job.get", b"1")
    await world.peer.send("job.get", b"2")
    assert {(await task).body for task in both} == {b"1", b"2"}


async def test_stop_consuming_ends_the_commands_and_acknowledgements_still_work(world: World) -> None:
    reader = Reader(world.bus)
    await world.peer.send("job.get", b"1")
    await world.peer.send("job.get", b"2")
    first = await reader.next()
    await world.bus.stop_consuming()
    rest = await reader.rest()
    for delivery in (first, *rest):
        await world.bus.ack(delivery)
    await world.peer.send("job.get", b"3")
    await world.close(world.bus)
    again = Reader(await world.another())
    left = [b"2", b"3"] if not rest else [b"3"]
    assert [(await again.next()).body for _ in left] == left


async def test_a_large_command_is_delivered_to_be_refused(world: World) -> None:
    body = b"x" * (3 * MAX_BODY_BYTES)
    await world.peer.send("job.create", body)
    delivery = await Reader(world.bus).next()
    assert delivery.body == body
    await world.bus.dead_letter(delivery, "too large")
    letter = await world.peer.dead()
    assert letter is not None
    assert letter.body == body


async def test_an_expired_command_is_never_delivered(world: World) -> None:
    await world.peer.send("job.create", b"old", expires_in_s=0.05)
    await world.peer.send("job.create", b"new")
    await asyncio.sleep(0.2)
    assert (await Reader(world.bus).next()).body == b"new"
    letter = await world.peer.dead()
    assert letter is not None
    assert (letter.body, letter.headers["x-first-death-reason"]) == (b"old", "expired")


async def test_how_long_a_command_may_wait_comes_with_it(world: World) -> None:
    reader = Reader(world.bus)
    for expires_in_s in (30.5, None):
        await world.peer.send("job.create", expires_in_s=expires_in_s)
        assert (await reader.next()).expires_in_s == expires_in_s


# ---------------------------------------------------------------- dead letters


async def test_a_dead_letter_keeps_the_command_and_the_reason(world: World) -> None:
    await world.peer.send(
        "job.cr\N{LATIN SMALL LETTER E WITH ACUTE}ate",
        b"\xff{",
        message_id="m",
        correlation_id="c",
        reply_to="r",
        user_id="guest",
        headers={"mine": "yes"},
    )
    reader = Reader(world.bus)
    delivery = await reader.next()
    await world.bus.dead_letter(delivery, "invalid_json: the body is not UTF-8")
    letter = await world.peer.dead()
    assert letter is not None
    assert (letter.routing_key, letter.body, letter.message_id, letter.correlation_id) == (
        delivery.routing_key,
        b"\xff{",
        "m",
        "c",
    )
    assert letter.headers[ERROR_HEADER] == "invalid_json: the body is not UTF-8"
    assert letter.headers["mine"] == "yes"
    assert letter.headers["x-swift-user"] == "guest"
    assert await world.peer.dead() is None
    await world.close(world.bus)
    assert await Reader(await world.another()).nothing()


async def test_a_reason_without_end_is_cut(world: World) -> None:
    await world.peer.send("job.get")
    await world.bus.dead_letter(await Reader(world.bus).next(), "é" * 100_000)
    letter = await world.peer.dead()
    assert letter is not None
    assert letter.headers[ERROR_HEADER] == "é" * 1000


# ---------------------------------------------------------------- replies


async def test_a_reply_goes_where_it_was_asked_for(world: World) -> None:
    reader = Reader(world.bus)
    await world.peer.send("job.get", message_id="m", correlation_id="c", reply_to=world.peer.reply_queue)
    await world.peer.send("job.get", message_id="m", reply_to=world.peer.reply_queue)
    for body in (b"one", b"two"):
        await world.bus.reply(await reader.next(), body)
    answers = [await world.peer.answer(), await world.peer.answer()]
    assert [(answer.body, answer.correlation_id) for answer in answers if answer] == [(b"one", "c"), (b"two", "m")]


async def test_a_command_that_asks_for_no_reply_gets_none(world: World) -> None:
    await world.peer.send("job.get")
    await world.bus.reply(await Reader(world.bus).next(), b"unasked")
    assert await world.peer.answer() is None


async def test_a_requester_that_is_gone_is_no_error(world: World) -> None:
    reader = Reader(world.bus)
    await world.peer.send("job.get", reply_to="a-queue-that-was-deleted")
    delivery = await reader.next()
    await world.bus.reply(delivery, b"nobody hears")
    await world.bus.ack(delivery)
    await world.peer.send("job.get", b"next")
    assert (await reader.next()).body == b"next"


# ---------------------------------------------------------------- state


async def test_check(world: World) -> None:
    assert await world.bus.check() == "ok"
    await world.peer.send("job.get")
    await Reader(world.bus).next()
    assert await world.bus.check() == "ok"
