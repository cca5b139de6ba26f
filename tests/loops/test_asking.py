"""The commands, one by one: what those that change nothing answer, of a job and of the whole."""

from datetime import datetime

import pytest

from daemon.loops import fleet
from schemas.enums import DeviceState, ReplyErrorCode
from schemas.replies import JobEvents, JobList, JobLogs, JobMetrics, JobStatus, NodeList, QueueList
from tests.loops.gpu_board import GpuBoard
from tests.loops.jobs import VLM, S, code_of, refused
from tests.loops.rig import CREATE, World

# ---------------------------------------------------------------- asking


async def test_get_and_status_show_a_job_and_nothing_of_the_daemons_own(world: World) -> None:
    async with world.daemon("intake"):
        job_id = await world.create()
        document = await world.result("job.get", {"job_id": job_id})
        assert document["id"] == job_id
        assert "internal" not in document
        status = JobStatus.model_validate(await world.result("job.status", {"job_id": job_id}))
        assert (status.job_id, status.status, status.progress) == (job_id, S.QUEUED, 0.0)
        assert status.wait_reason


async def test_a_list_is_filtered_paged_and_newest_first(world: World) -> None:
    async with world.daemon("intake"):
        jobs: list[str] = []
        for number in range(5):
            more = VLM if number == 4 else {}
            jobs.append(await world.create(start=number % 2 == 0, labels={"n": str(number)}, **more))
            await world.clock.advance(1)

        async def listed(**filters: object) -> list[int]:
            found = JobList.model_validate(await world.result("job.list", filters))
            return [jobs.index(str(job["id"])) for job in found.jobs]

        assert await listed() == [4, 3, 2, 1, 0]
        assert await listed(size=2, page=2) == [2, 1]
        assert await listed(status="queued") == [4, 2, 0]
        assert await listed(status=["pending", "failed"]) == [3, 1]
        assert await listed(training_type="vlm") == [4]
        assert await listed(label="n=3") == [3]
        assert await listed(label="n") == [4, 3, 2, 1, 0]
        assert await listed(owner="nobody") == []
        page = JobList.model_validate(await world.result("job.list", {"size": 1}))
        assert (page.total, page.total_llm, page.total_vlm) == (5, 4, 1)


async def test_logs_are_a_tail_or_a_range_of_whole_lines_masked(world: World) -> None:
    async with world.daemon():
        job_id = await world.create()
        empty = JobLogs.model_validate(await world.result("job.logs", {"job_id": job_id}))
        assert empty.lines == ()
        await world.clock.settle()
        world.process(job_id).write("".join(f"line {number}\n" for number in range(1000)))
        world.process(job_id).write("\rbar 1\rbar 2\rbar 3\nhub_token=geheim\n")
        tail = JobLogs.model_validate(await world.result("job.logs", {"job_id": job_id, "tail": 3}))
        assert tail.lines == ("line 999", "bar 3", "hub_token=***")
        for bounds in ({"limit": 1000}, {"max_lines": 7}, {"limit": 300, "max_lines": 50}):
            lines: list[str] = []
            offset, eof = 0, False
            while not eof:
                body = {"job_id": job_id, "offset": offset, **bounds}
                part = JobLogs.model_validate(await world.result("job.logs", body))
                assert part.offset == offset < part.next_offset
                assert 0 < len(part.lines) <= bounds.get("max_lines", 1000)
                lines += part.lines
                offset, eof = part.next_offset, part.eof
            assert lines == [*(f"line {number}" for number in range(1000)), "bar 3", "hub_token=***"]


@pytest.mark.parametrize("limit", [1, 9, 30, 500])
async def test_no_range_of_a_log_shows_a_part_of_a_token(world: World, limit: int) -> None:
    token = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"  # noqa: S105 - it opens nothing
    text = f"begin\r\nuse {token} ok\rbar\n\n{'x' * 60} {token}\nend, unfinished"
    async with world.daemon():
        job_id = await world.create()
        await world.clock.settle()
        world.process(job_id).write(text)
        for offset in range(len(text) + 1):
            body = {"job_id": job_id, "offset": offset, "limit": limit}
            part = JobLogs.model_validate(await world.result("job.logs", body))
            assert not any(token[at : at + 4] in line for line in part.lines for at in range(len(token) - 3))
            assert part.next_offset > offset or part.eof
            assert part.next_offset >= offset
            at_start = offset == 0 or text[offset - 1] in "\r\n"
            assert part.offset == offset if at_start else part.offset <= offset
        lines: list[str] = []
        offset, eof = 0, False
        while not eof:
            body = {"job_id": job_id, "offset": offset, "limit": limit}
            part = JobLogs.model_validate(await world.result("job.logs", body))
            lines += part.lines
            offset, eof = part.next_offset, part.eof
        assert lines[0] == "begin"
        assert lines[-2:] == ["bar", f"{'x' * 60} ***"]
        assert text[offset:] == "end, unfinished"


async def test_a_line_longer_than_any_is_shown_once_and_passed(world: World) -> None:
    async with world.daemon():
        job_id = await world.create()
        await world.clock.settle()
        world.process(job_id).write("first\n" + "x" * 200_000 + "\nlast\n")
        seen: list[str] = []
        offset, eof = 0, False
        while not eof:
            body = {"job_id": job_id, "offset": offset, "limit": 1000}
            part = JobLogs.model_validate(await world.result("job.logs", body))
            assert offset < part.next_offset
            seen += part.lines
            offset, eof = part.next_offset, part.eof
        assert [line[:5] for line in seen] == ["first", "xxxxx", "last"]
        assert 60_000 < len(seen[1]) < 70_000


async def test_a_log_on_another_node_is_asked_for_there(world: World) -> None:
    async with world.daemon() as near, world.daemon("intake", node_id="node-b"):
        job_id = await world.create()
        await world.clock.advance(3)
        job = await world.job(job_id)
        world.process(job_id, node_id=job.node_id or "").write("hello\n")
        answers = [JobLogs.model_validate(await world.result("job.logs", {"job_id": job_id})) for _ in range(4)]
        assert {answer.lines for answer in answers} == {("hello",)}
        assert near.bus.broker.unacknowledged == 0


async def test_a_log_on_a_node_that_is_away_is_said_to_be_there(world: World) -> None:
    async with world.daemon():
        job_id = await world.create()
        await world.clock.settle()
    async with world.daemon("intake", node_id="node-b"):
        refusal = await refused(world, "job.logs", {"job_id": job_id})
        assert refusal.code is ReplyErrorCode.UNAVAILABLE
        assert "node-a" in refusal.message


async def test_events_and_metrics_are_there_behind_a_number(world: World) -> None:
    async with world.daemon():
        job_id = await world.create(auto_export=False)
        await world.clock.settle()
        (await world.training(job_id)).finish(steps=(1, 3, 5))
        await world.clock.advance(3)
        events = JobEvents.model_validate(await world.result("job.events", {"job_id": job_id, "after": 2, "limit": 2}))
        assert [event.sequence for event in events.events] == [3, 4]
        metrics = JobMetrics.model_validate(await world.result("job.metrics", {"job_id": job_id, "after_step": 1}))
        assert [point.step for point in metrics.points] == [3, 5]


async def test_defaults_are_those_of_the_request(world: World) -> None:
    async with world.daemon("intake"):
        llm = await world.result("params.default", {"training_type": "llm"})
        vlm = await world.result("params.default", {"training_type": "vlm"})
        assert (llm["lora_rank"], llm["save_steps"], vlm["lora_rank"], vlm["vit_lr"]) == (8, 50, 16, 1e-5)


# ---------------------------------------------------------------- the whole


async def test_the_queue_is_shown_in_its_order_with_reasons(world: World) -> None:
    async with world.daemon(devices=1):
        running = await world.create()
        await world.clock.settle()
        low = await world.create(gpu_id="0")
        await world.clock.advance(1)
        high = await world.create(priority=9)
        await world.clock.advance(3)
        queue = QueueList.model_validate(await world.result("queue.list"))
        assert [(entry.job_id, entry.position) for entry in queue.jobs] == [(high, 1), (low, 2)]
        assert all(running in entry.wait_reason for entry in queue.jobs)
        assert queue.jobs[1].gpu_id == "0"


async def test_a_long_queue_is_shown_in_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one owner has most of it, of whom a round reads only a share."""
    monkeypatch.setattr(fleet, "MOST_WAITING", 4)
    async with world.daemon(devices=1):
        await world.create()
        await world.clock.settle()
        body = {**CREATE, "start": True}
        for number in range(12):
            owner = "ben" if number == 11 else "anna"
            reply = await world.reply("job.create", {**body, "output_dir": f"out/{number}"}, user_id=owner)
            assert reply.ok

        async def page(**fields: int) -> QueueList:
            return QueueList.model_validate(await world.result("queue.list", fields))

        pages = [await page(page=number, size=5) for number in (1, 2, 3, 4)]
        assert [len(found.jobs) for found in pages] == [5, 5, 2, 0]
        assert {found.total for found in pages} == {12}
        listed = [job for found in pages for job in found.jobs]
        assert [job.position for job in listed] == list(range(1, 13))
        assert len({job.job_id for job in listed}) == 12
        assert (await page(page=1)).jobs == (await page(size=1000)).jobs == tuple(listed)
        assert await code_of(world, "queue.list", {"page": 11}) is ReplyErrorCode.INVALID_REQUEST


async def test_a_job_behind_what_is_looked_at_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "MOST_WAITING", 2)
    async with world.daemon(devices=1):
        await world.create()
        await world.clock.settle()
        waiting: list[str] = []
        for _ in range(4):
            waiting.append(await world.create())
            await world.clock.advance(2)
        told = "behind the first 2 of the queue, which are looked at first: 3 are before it"
        for command in ("job.get", "job.status"):
            reasons = [(await world.result(command, {"job_id": job_id}))["wait_reason"] for job_id in waiting]
            assert "device 0 runs job" in str(reasons[0])
            assert reasons[3] == told


async def test_the_systems_state_names_what_is_wrong(world: World) -> None:
    async with world.daemon(devices=GpuBoard(1, "node-a")):
        status = await world.result("system.status")
        assert status["status"] == "ok"
        assert {status[part] for part in ("broker", "store", "devices", "swift")} == {"ok"}
        assert status["counts"] == dict.fromkeys(map(str, S), 0)
        assert datetime.fromisoformat(str(status["time"])) == world.clock.now()
        assert status["store_skew_seconds"] == 0


async def test_the_state_of_the_devices_is_answered_from_the_last_reading(world: World) -> None:
    """A driver that is asked by each of a hundred commands has no time left for telemetry."""
    board = GpuBoard(2, "node-a")
    async with world.daemon("intake", "telemetry", devices=board) as daemon:
        board.set(1, state=DeviceState.UNHEALTHY, reason="NVML: GPU is lost")
        await world.clock.advance(daemon.ctx.settings.gpu_interval_seconds)
        reads = board.reads
        for _ in range(100):
            status = await world.result("system.status")
            assert (status["status"], status["devices"]) == ("degraded", "device 1: NVML: GPU is lost")
        assert board.reads == reads


async def test_a_node_tells_the_room_in_its_folders(world: World) -> None:
    world.files.free = 5000.0
    async with world.daemon(devices=GpuBoard(1, "node-a")) as daemon:
        found = NodeList.model_validate(await world.result("node.list"))
        folders = {daemon.ctx.settings.state_path, daemon.ctx.settings.work_path}
        assert {disk.path: disk.free_mib for disk in found.nodes[0].disks} == {str(path): 5000.0 for path in folders}


async def test_a_node_that_is_not_there_can_not_be_drained(world: World) -> None:
    async with world.daemon("intake"):
        assert await code_of(world, "node.drain", {"node_id": "nobody"}) is ReplyErrorCode.NOT_FOUND
