"""The scheduling: one guarded write claims, hints wake, a slow poll stands behind them, and no race gives twice."""

import asyncio
from collections import defaultdict
from datetime import timedelta

import pytest

from daemon.core.moves import stop_ordered, with_internal
from daemon.loops import fleet
from schemas.enums import ErrorCode, ExportStatus, TrainingStatus
from schemas.events import DeviceProcess
from schemas.jobs import StopOrder
from tests.loops.gpu_board import GpuBoard
from tests.loops.rig import World

SCHEDULING = ("scheduling",)
POLL_S = 2.0


async def test_a_claim_is_one_write_of_status_lease_and_event(world: World) -> None:
    async with world.daemon("intake"):
        job_id = await world.create()
    before = await world.job(job_id)
    world.journal.clear()
    host = world.make().runs
    host.before_call = _not_adopted
    async with world.daemon(*SCHEDULING):
        after = await world.job(job_id)
        assert world.journal.count("store.update_job") == 1
        assert after.internal.revision == before.internal.revision + 1
        assert (after.status, after.devices, after.node_id, after.attempt) == (
            TrainingStatus.STARTING,
            (0,),
            "node-a",
            1,
        )
        event = after.internal.outbox[-1]
        assert event.sequence == before.internal.sequence + 1
        assert event.event.data["status"] == "starting"
        assert after.swift_argv[:2] == ("/env/bin/swift", "sft")
        assert after.log_file_path == f"/state/logs/llm_training_{job_id}.log"


async def _not_adopted(call: str) -> None:
    if call == "adopt":
        await asyncio.Event().wait()


async def test_a_hint_starts_at_once(world: World) -> None:
    async with world.daemon():
        began = world.clock.monotonic()
        job_id = await world.create()
        await world.clock.settle()
        assert world.clock.monotonic() == began
        assert world.process(job_id).alive


async def test_a_hint_that_was_lost_costs_a_poll(world: World) -> None:
    async with world.daemon(*SCHEDULING, node_id="node-a", devices=1):
        async with world.daemon("intake", node_id="node-b", devices=0):
            job_id = await world.create()  # the hint is given at node-b, which has no devices
        await world.clock.settle()
        assert (await world.job(job_id)).status is TrainingStatus.QUEUED
        await world.clock.advance(POLL_S)
        assert (await world.job(job_id)).status is TrainingStatus.STARTING


async def test_many_that_can_not_start_hold_up_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "MOST_WAITING", 2)
    async with world.daemon():
        for _ in range(20):
            await world.create(gpu_id="7", priority=10)
        job_id = await world.create()
        await world.clock.advance(POLL_S)
        assert world.process(job_id).alive
        assert (await world.reply("queue.list")).result["total"] == 20  # pyright: ignore[reportOptionalSubscript]


async def test_a_device_that_becomes_free_starts_the_next_at_once(world: World) -> None:
    async with world.daemon(devices=1):
        first, second = await world.create(), await world.create()
        await world.clock.advance(POLL_S)
        assert (await world.job(second)).status is TrainingStatus.QUEUED
        began = world.clock.monotonic()
        (await world.training(first)).process.end(1)
        await world.clock.until(lambda: len(world.hosts["node-a"].spawned) == 2, 10)
        assert world.clock.monotonic() - began < POLL_S
        assert (await world.job(second)).devices == (0,)


async def test_a_waiting_job_says_why(world: World) -> None:
    async with world.daemon(devices=1):
        first = await world.create()
        second = await world.create()
        await world.clock.settle()
        reason = f"needs 1 device, 0 of 1 free on node-a: device 0 runs job {first}"
        assert (await world.job(second)).wait_reason == reason
        assert (await world.job(first)).wait_reason is None
        writes = world.faults.calls["note_wait_reasons"]
        await world.clock.advance(10 * POLL_S)
        assert world.faults.calls["note_wait_reasons"] == writes, "a reason that is the same is not written again"


async def test_who_waits_for_its_time_waits_and_starts_then(world: World) -> None:
    async with world.daemon("intake"):
        job_id = await world.create()
    job = await world.job(job_id)
    later = world.clock.now() + timedelta(seconds=60)
    assert await world.store.update_job(job, with_internal(job, not_before=later))
    async with world.daemon(*SCHEDULING):
        await world.clock.advance(59)
        job = await world.job(job_id)
        assert job.status is TrainingStatus.QUEUED
        assert (job.wait_reason or "").startswith("waits until 2030-01-01 00:01:00 UTC")
        await world.clock.advance(1 + POLL_S)
        assert (await world.job(job_id)).status is TrainingStatus.STARTING


async def test_who_loses_the_race_for_a_document_spawns_nothing(world: World) -> None:
    async with world.daemon("intake"):
        job_id = await world.create()

    async def cancel() -> None:
        job = await world.job(job_id)
        order = StopOrder(grace_s=1, save=False, requested_at=world.clock.now())
        assert await world.store.update_job(job, stop_ordered(job, order, by="node-b"))

    world.faults.meddlers["update_job"] = cancel
    async with world.daemon(*SCHEDULING):
        await world.clock.advance(POLL_S)
        job = await world.job(job_id)
        assert (job.status, job.devices, job.attempt) == (TrainingStatus.CANCELLED, (), 0)
        assert not world.hosts["node-a"].spawned


async def test_a_claim_looks_again_where_somebody_else_wrote_first(world: World) -> None:
    async with world.daemon("intake"):
        job_id = await world.create()

    async def touch() -> None:
        job = await world.job(job_id)
        assert await world.store.update_job(job, job.model_copy(update={"labels": {"seen": "yes"}}))

    world.faults.meddlers["update_job"] = touch
    async with world.daemon(*SCHEDULING):
        await world.clock.settle()
        job = await world.job(job_id)
        assert (job.status, job.labels) == (TrainingStatus.STARTING, {"seen": "yes"})
        assert len(world.hosts["node-a"].spawned) == 1


async def test_a_claim_whose_answer_was_lost_is_carried_on(world: World) -> None:
    async with world.daemon("intake", "scheduling", "outbox"):
        world.faults.gates["waiting"] = asyncio.Event()
        job_id = await world.create()
        world.faults.losing["update_job"] = 1
        world.faults.gates.pop("waiting").set()
        await world.clock.advance(60)
        assert world.process(job_id).alive
        assert len(world.hosts["node-a"].spawned) == 1


async def test_scheduling_waits_while_the_store_is_away_and_goes_on(world: World) -> None:
    async with world.daemon():
        job_id = await world.create(start=False)
        world.faults.away = True
        await world.clock.advance(600)
        world.faults.away = False
        await world.result("job.start", {"job_id": job_id})
        await world.clock.advance(30)
        assert world.process(job_id).alive


@pytest.mark.parametrize("seed", range(3))
async def test_two_nodes_on_one_store_never_give_a_device_or_a_job_twice(world: World, seed: int) -> None:
    async with (
        world.daemon(node_id="node-a", devices=2),
        world.daemon(node_id="node-b", devices=3),
    ):
        jobs = [await world.create(gpu_count=1 + (number + seed) % 2) for number in range(12)]
        for _ in range(60):
            await world.clock.advance(POLL_S)
            await no_device_twice(world, jobs)
            running = [process for host in world.hosts.values() for process in host.alive]
            if running:
                running[seed % len(running)].end(1)
        await world.clock.advance(POLL_S)
        spawned = [spec.run_id for host in world.hosts.values() for spec in host.spawned]
        assert sorted(spawned) == sorted(f"{job_id}-1" for job_id in jobs)
        assert all(host.spawned for host in world.hosts.values())


async def no_device_twice(world: World, jobs: list[str]) -> None:
    owners: dict[tuple[str | None, int], list[str]] = defaultdict(list)
    for job_id in jobs:
        job = await world.job(job_id)
        if job.status in {TrainingStatus.STARTING, TrainingStatus.RUNNING, TrainingStatus.STOPPING}:
            for index in job.devices:
                owners[job.node_id, index].append(job_id)
    assert all(len(holders) == 1 for holders in owners.values()), dict(owners)


async def test_an_ms_swift_that_is_not_there_fails_the_job_and_says_what_to_do(world: World) -> None:
    daemon = world.make()
    daemon.toolchain.missing = "no such command: swift; set SWIFT_TRAINER_SWIFT_COMMAND"
    async with daemon.running():
        job_id = await world.create()
        await world.clock.settle()
        job = await world.job(job_id)
        assert (job.status, job.error_code) == (TrainingStatus.FAILED, ErrorCode.SPAWN_FAILED)
        assert job.error_message == daemon.toolchain.missing
        assert not daemon.runs.spawned
        await world.clock.advance(POLL_S)
    assert world.routes(job_id) == ["status.pending", "status.queued", "status.failed"]


async def test_an_option_that_this_ms_swift_has_not_fails_the_job_and_names_it(world: World) -> None:
    async with world.daemon("intake"):
        job_id = await world.create()
    job = await world.job(job_id)
    await world.store.update_job(job, job.model_copy(update={"extra_args": {"no_such_option": 1}}))
    async with world.daemon(*SCHEDULING):
        job = await world.job(job_id)
        assert (job.status, job.error_code) == (TrainingStatus.FAILED, ErrorCode.BAD_ARGUMENT)
        assert "extra_args.no_such_option" in (job.error_message or "")


async def test_a_job_of_many_devices_has_a_port_of_its_own(world: World) -> None:
    async with world.daemon(devices=GpuBoard(4, "node-a")) as daemon:
        first, second = await world.create(gpu_count=2), await world.create(gpu_id="3,2")
        await world.clock.settle()
        specs = {spec.run_id: spec.env for spec in daemon.runs.spawned}
        assert specs[f"{first}-1"]["CUDA_VISIBLE_DEVICES"] == "0,1"
        assert specs[f"{second}-1"]["CUDA_VISIBLE_DEVICES"] == "3,2"
        assert specs[f"{first}-1"]["NPROC_PER_NODE"] == "2"
        assert specs[f"{first}-1"]["MASTER_PORT"] != specs[f"{second}-1"]["MASTER_PORT"]


async def test_a_device_in_foreign_use_is_left_alone_until_it_is_free(world: World) -> None:
    gpus = GpuBoard(1, "node-a")
    gpus.set(0, processes=(DeviceProcess(pid=7, memory_mib=9000, user="bob", command="python"),))
    async with world.daemon("intake", "scheduling", "outbox", "telemetry", devices=gpus):
        job_id = await world.create()
        await world.clock.settle()
        job = await world.job(job_id)
        assert "pid 7 (python) of bob: 9000 MiB" in (job.wait_reason or "")
        gpus.set(0, processes=())
        await world.clock.advance(10.1)
        assert (await world.job(job_id)).status is TrainingStatus.STARTING


async def test_a_drained_node_starts_nothing_and_says_so(world: World) -> None:
    async with world.daemon():
        await world.result("node.drain", {"node_id": "node-a"})
        job_id = await world.create()
        await world.clock.advance(POLL_S)
        job = await world.job(job_id)
        assert (job.status, job.wait_reason) == (TrainingStatus.QUEUED, "every node is drained (node-a)")
        await world.result("node.resume", {"node_id": "node-a"})
        await world.clock.settle()
        assert (await world.job(job_id)).status is TrainingStatus.STARTING


async def test_a_silent_node_gets_nothing(world: World) -> None:
    async with world.daemon("intake", node_id="node-b", devices=8):
        pass
    async with world.daemon("intake", "scheduling", "heartbeat", node_id="node-a", devices=1, lease_seconds=30):
        await world.clock.advance(31)
        job_id = await world.create(gpu_count=4)
        await world.clock.settle()
        reason = (await world.job(job_id)).wait_reason
        assert reason == "needs 4 devices on one node; the largest, node-a, has 1"


async def test_an_export_is_claimed_by_one_of_two_nodes(world: World) -> None:
    async with world.daemon("intake"):
        job_id = await world.create()
    job = await world.job(job_id)
    ended = job.model_copy(update={"status": TrainingStatus.CANCELLED, "completed_at": world.clock.now()})
    assert await world.store.update_job(job, ended)
    world.files.add_checkpoint(str(job.run_dir), 5)
    async with world.daemon(node_id="node-a", devices=1), world.daemon(node_id="node-b", devices=1):
        await world.result("job.export", {"job_id": job_id})
        await world.clock.advance(2 * POLL_S)
        spawned = [spec.run_id for host in world.hosts.values() for spec in host.spawned]
        assert spawned == [f"{job_id}-export-1"]
        assert (await world.job(job_id)).export_status is ExportStatus.RUNNING
