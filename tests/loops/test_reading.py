"""The log reader: batches of at most one per 100 ms, every byte accounted for, bars drawn once, secrets masked."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.core.moves import about
from daemon.loops.reading import (
    BATCH_BYTES,
    BATCH_INTERVAL_S,
    BATCH_LINES,
    CHUNK_BYTES,
    TURN_BYTES,
    LogReader,
)
from daemon.swift.lines import Line
from schemas.events import CloudEvent, LogData
from tests.core.factory import make_job
from tests.loops.rig import World

LOG = Path("/state/logs/job.log")
KEY = "job.job-1.log"


class Reading:
    """A reader at work on a log of its own."""

    def __init__(self, world: World, offset: int = 0, *, live: bool = True) -> None:
        self.world = world
        self.lines: list[Line] = []
        self.times: list[float] = []
        daemon = world.make()
        publish = daemon.bus.publish_live

        def timed(key: str, event: CloudEvent) -> None:
            self.times.append(world.clock.monotonic())
            publish(key, event)

        daemon.bus.publish_live = timed  # type: ignore[method-assign]
        self.reader = LogReader(daemon.ctx, make_job(), LOG, offset, self._take, live=live)
        self.task = asyncio.ensure_future(self.reader.run())

    async def _take(self, lines: list[Line]) -> None:
        self.lines += lines

    async def write(self, data: str | bytes) -> None:
        self.world.files.append(LOG, data)
        await self.world.clock.settle()

    async def end(self) -> list[LogData]:
        """The run ends; everything that was told."""
        self.reader.run_ended()
        await self.world.clock.settle()
        assert self.task.done()
        self.task.result()
        return [LogData.model_validate(event.data) for event in self.world.live(KEY)]


def is_whole(told: list[LogData], size: int, begin: int = 0) -> None:
    """The batches follow each other without a hole, from the first byte to the last."""
    assert told[0].offset == begin
    assert told[-1].next_offset == size
    for earlier, later in pairwise(told):
        assert earlier.next_offset == later.offset


async def test_lines_are_told_as_they_come(world: World) -> None:
    reading = Reading(world)
    await reading.write("first\nsecond\nhalf of the th")
    assert [line.text for line in reading.lines] == ["first", "second"]
    (event,) = world.live(KEY)
    assert event.id == "job-1-0-log-0"
    assert event.data["lines"] == ["first", "second"]
    assert (event.data["offset"], event.data["next_offset"], event.data["skipped_bytes"]) == (0, 13, 0)
    assert (event.data["job_id"], event.data["owner"]) == (about(make_job())["job_id"], "alice")
    await world.clock.advance(1)
    await reading.write("ird\n")
    told = await reading.end()
    assert [line for batch in told for line in batch.lines] == ["first", "second", "half of the third"]
    is_whole(told, 31)


async def test_at_most_one_batch_in_100_ms_and_none_waits_longer(world: World) -> None:
    reading = Reading(world)
    for number in range(200):
        await reading.write(f"line {number}\n")
        await world.clock.advance(0.013)
    await world.clock.advance(BATCH_INTERVAL_S)
    so_far = [LogData.model_validate(event.data) for event in world.live(KEY)]
    before_the_end = [line for batch in so_far for line in batch.lines]
    assert before_the_end == [f"line {number}" for number in range(200)]
    gaps = [later - earlier for earlier, later in pairwise(reading.times)]
    assert min(gaps) >= BATCH_INTERVAL_S - 1e-9
    assert max(gaps) <= 2 * BATCH_INTERVAL_S
    told = await reading.end()
    is_whole(told, await world.files.size(LOG))


async def test_a_line_by_itself_is_told_without_any_time_passing(world: World) -> None:
    reading = Reading(world)
    await world.clock.advance(10)
    began = world.clock.monotonic()
    await reading.write("alone\n")
    assert reading.times == [began]
    await reading.end()


async def test_what_does_not_fit_is_left_out_and_counted_to_the_byte(world: World) -> None:
    line = "x" * 99 + "\n"
    world.files.append(LOG, line * 3 * BATCH_LINES)
    reading = Reading(world)
    await world.clock.settle()
    told = await reading.end()
    is_whole(told, 300 * BATCH_LINES)
    shown = sum(len(batch.lines) for batch in told)
    assert sum(batch.skipped_bytes for batch in told) == 100 * (3 * BATCH_LINES - shown)
    assert all(len(batch.lines) <= BATCH_LINES for batch in told)
    assert len(reading.lines) == 3 * BATCH_LINES, "what is left out of the events is read all the same"


async def test_long_lines_are_bounded_by_their_bytes(world: World) -> None:
    world.files.append(LOG, ("y" * 30_000 + "\n") * 10)
    reading = Reading(world)
    told = await reading.end()
    is_whole(told, 300_010)
    assert all(sum(map(len, batch.lines)) <= BATCH_BYTES for batch in told)
    assert sum(batch.skipped_bytes for batch in told) == 30_001 * (10 - sum(len(batch.lines) for batch in told))


async def test_a_bar_that_is_drawn_anew_counts_once(world: World) -> None:
    reading = Reading(world)
    await reading.write("before\n" + "".join(f"\rTrain: {number}%" for number in range(50)) + "\rTrain: done\nafter\n")
    told = await reading.end()
    assert [line for batch in told for line in batch.lines] == ["before", "Train: done", "after"]
    assert sum(batch.skipped_bytes for batch in told) == 0
    assert len(reading.lines) == 54, "the parser sees each of them"


async def test_a_bar_shows_its_last_state_in_every_batch(world: World) -> None:
    reading = Reading(world)
    for number in range(10):
        await reading.write("".join(f"\rTrain: {10 * number + digit}%" for digit in range(10)))
        await world.clock.advance(0.11)
    told = await reading.end()
    lines = [line for batch in told for line in batch.lines]
    assert len(lines) <= 11
    assert lines[-1] == "Train: 99%"


async def test_secrets_are_masked(world: World) -> None:
    reading = Reading(world)
    await reading.write("hub_token='hf_abcdefghijABCDEFGHIJ0123456789'\nhttps://bob:geheim@example.org/x\n")
    (batch,) = await reading.end()
    assert batch.lines == ("hub_token='***'", "https://bob:***@example.org/x")


async def test_a_reader_begins_where_it_is_told_to(world: World) -> None:
    world.files.write(LOG, "old\nnew\n")
    reading = Reading(world, offset=4)
    told = await reading.end()
    assert [line.text for line in reading.lines] == ["new"]
    is_whole(told, 8, begin=4)


async def test_a_last_line_without_an_end_is_a_line(world: World) -> None:
    reading = Reading(world)
    await reading.write("Killed")
    assert not reading.lines
    told = await reading.end()
    assert [line.text for line in reading.lines] == ["Killed"]
    is_whole(told, 6)


async def test_a_deaf_watch_costs_a_second(world: World) -> None:
    world.files.deaf = True
    reading = Reading(world)
    await reading.write("unheard\n")
    await world.clock.advance(1)
    assert [line.text for line in reading.lines] == ["unheard"]
    await reading.end()


async def test_an_export_is_read_without_events(world: World) -> None:
    reading = Reading(world, live=False)
    await reading.write("line\n" * 10)
    assert await reading.end() == []
    assert len(reading.lines) == 10


async def test_a_handler_that_waits_holds_the_reading_up(world: World) -> None:
    daemon = world.make()
    gate, taken = asyncio.Event(), 0

    async def slow(lines: list[Line]) -> None:
        nonlocal taken
        taken += len(lines)
        await gate.wait()

    world.files.append(LOG, "0123456\n" * (CHUNK_BYTES // 4))
    reader = LogReader(daemon.ctx, make_job(), LOG, 0, slow)
    task = asyncio.ensure_future(reader.run())
    await world.clock.advance(60)
    assert taken == TURN_BYTES // 8
    gate.set()
    reader.run_ended()
    await world.clock.settle()
    assert task.done()
    assert taken == CHUNK_BYTES // 4


PIECES = st.lists(
    st.one_of(
        st.sampled_from(["\n", "\r", "\r\n", "Train: 5%\r", "a line\n", "", "   \n", "é" * 40, "z" * 3000 + "\n"]),
        st.text(max_size=30),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=PIECES, waits=st.lists(st.sampled_from([0.0, 0.01, 0.2]), min_size=40, max_size=40))
async def test_whatever_is_written_every_byte_is_accounted_for(pieces: list[str], waits: list[float]) -> None:
    world = World()
    reading = Reading(world)
    for piece, wait_s in zip(pieces, waits, strict=False):
        await reading.write(piece)
        await world.clock.advance(wait_s)
    told = await reading.end()
    if told:
        is_whole(told, told[-1].next_offset)
        assert all(batch.offset < batch.next_offset for batch in told)
    covered = told[-1].next_offset if told else 0
    assert not any(line.text.strip() for line in reading.lines if line.end > covered)


@pytest.mark.parametrize("size", [CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
async def test_a_log_as_long_as_a_chunk_is_read_to_its_end(world: World, size: int) -> None:
    world.files.write(LOG, b"x" * (size - 1) + b"\n")
    reading = Reading(world)
    await world.clock.settle()
    assert len(reading.lines) == 1
    is_whole(await reading.end(), size)
