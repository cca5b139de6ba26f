"""The clock that is moved by hand: the order of sleepers, time limits, and loops that never rest."""

import asyncio

import pytest

from daemon.adapters.manual_clock import ManualClock


async def test_time_stands_still_until_it_is_moved() -> None:
    clock = ManualClock()
    before = (clock.now(), clock.monotonic())
    await asyncio.sleep(0.01)
    assert (clock.now(), clock.monotonic()) == before
    await clock.advance(2.5)
    assert ((clock.now() - before[0]).total_seconds(), clock.monotonic() - before[1]) == (2.5, 2.5)


async def test_sleepers_wake_in_the_order_of_their_times() -> None:
    clock = ManualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *pauses: float) -> None:
        for pause in pauses:
            await clock.sleep(pause)
            woken.append((name, clock.monotonic() - 1000.0))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("a", 3, 3))
        group.create_task(sleeper("b", 1, 1, 1))
        await clock.advance(5)
        assert woken == [("b", 1), ("b", 2), ("a", 3), ("b", 3)]
        assert (clock.sleepers, clock.next_in_s) == (1, 1.0)
        await clock.advance(1)
    assert woken[-1] == ("a", 6)
    assert (clock.sleepers, clock.next_in_s) == (0, None)


async def test_what_a_sleeper_does_is_done_before_the_next_wakes() -> None:
    clock = ManualClock()
    seen: list[int] = []
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def producer() -> None:
        for number in range(3):
            await clock.sleep(1)
            queue.put_nowait(number)

    async def consumer() -> None:
        while True:
            seen.append(await queue.get())
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(consumer()), asyncio.create_task(producer())]
    await clock.advance(2)
    assert seen == [0, 1]
    await clock.advance(1)
    assert seen == [0, 1, 2]
    tasks[0].cancel()


async def test_an_event_is_waited_for_at_most_so_long() -> None:
    clock = ManualClock()
    event = asyncio.Event()
    waiting = asyncio.create_task(clock.wait(event, 10))
    await clock.advance(9.9)
    assert not waiting.done()
    await clock.advance(0.1)
    assert waiting.result() is False
    waiting = asyncio.create_task(clock.wait(event, 10))
    await clock.settle()
    event.set()
    event.clear()
    await clock.settle()
    assert waiting.result() is True
    event.set()
    assert await clock.wait(event, 10)
    assert await clock.wait(event, 0)
    event.clear()
    assert not await clock.wait(event, 0)
    assert clock.sleepers == 0


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = ManualClock()
    sleeping = asyncio.create_task(clock.sleep(5))
    await clock.settle()
    sleeping.cancel()
    await clock.settle()
    assert clock.sleepers == 0
    await clock.advance(10)
    assert sleeping.cancelled()


async def test_until_goes_from_sleeper_to_sleeper() -> None:
    clock = ManualClock()
    ticks: list[int] = []

    async def tick() -> None:
        while True:
            await clock.sleep(7)
            ticks.append(1)

    ticking = asyncio.create_task(tick())
    await clock.until(lambda: len(ticks) == 3)
    assert clock.monotonic() == 1021.0
    with pytest.raises(TimeoutError, match="not within 20 s"):
        await clock.until(lambda: len(ticks) == 9, 20)
    ticking.cancel()
    await clock.settle()
    with pytest.raises(TimeoutError, match="nobody sleeps"):
        await clock.until(lambda: False)


async def test_a_loop_that_spins_is_found() -> None:
    clock = ManualClock()

    async def spin() -> None:
        while True:
            await clock.sleep(0)

    spinning = asyncio.create_task(spin())
    with pytest.raises(RuntimeError, match="spins without waiting"):
        await clock.settle()
    spinning.cancel()
