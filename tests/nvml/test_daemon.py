"""The daemon as a process on eight GPUs: the real `pynvml`, a stand-in for NVML's library, a stand-in for swift."""

import asyncio
import signal
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import MakeModel, MakeSettings, Settings
from tests.e2e.harness import Daemon, Event, Json, Probe, probe, processes_of, running_daemon
from tests.nvml.standin import GPUS, Driver

pytestmark = pytest.mark.services
READ_LIMIT_S = 10.0
"""As `daemon/adapters/nvml.py` has it: how long a reading may take."""


@pytest.fixture
def settings(make_settings: MakeSettings, standin_command: str, apart: Driver) -> Settings:
    """Settings for a daemon that finds the stand-ins."""
    chosen = {
        "devices": "auto",
        "swift_version": "4.6.0",
        "gpu_interval_seconds": 0.5,
        "stop_grace_seconds": 2,
        "poll_seconds": 0.5,
    }
    return {**make_settings(standin_command, **chosen), **apart.environment}


class Room:
    """A daemon on GPUs, its driver, and what is needed to use it."""

    def __init__(self, found: Probe, daemon: Daemon, driver: Driver, model: str, data: str) -> None:
        self.probe = found
        self.daemon = daemon
        self.driver = driver
        self._model = model
        self._data = data
        self._jobs = 0

    async def create(self, **more: object) -> str:
        """Start a job; its id."""
        self._jobs += 1
        request = {
            "training_type": "llm",
            "model_path": self._model,
            "datasets": [self._data],
            "output_dir": f"out/{self._jobs}",
            "logging_steps": 1,
            "dataloader_num_workers": 1,
            "auto_export": False,
            "start": True,
            **more,
        }
        return (await self.probe.call("job.create", request))["job_id"]

    async def running(self, **more: object) -> str:
        """Start a job and wait until it trains; its id."""
        job_id = await self.create(**more)
        await self.probe.status(job_id, "running")
        return job_id

    async def cancelled(self, job_id: str) -> Json:
        """Stop a job; what its last event says."""
        await self.probe.call("job.stop", {"job_id": job_id, "grace_seconds": 2})
        return (await self.probe.status(job_id, "cancelled"))["data"]

    async def gpus(self) -> list[Json]:
        return (await self.probe.call("gpu.list"))["gpus"]

    async def told(self, index: int, timeout_s: float = 30, **wanted: object) -> Json:
        """Wait until a device's event tells this of it, from now on or as the last that was told."""

        def tells(event: Event) -> bool:
            return event["_key"] == f"gpu.node-1.{index}" and wanted.items() <= event["data"].items()

        last = [event for event in self.probe.events if event["_key"] == f"gpu.node-1.{index}"][-1:]
        if last and tells(last[0]):
            return last[0]["data"]
        number = sum(map(tells, self.probe.events)) + 1
        return (await self.probe.until(tells, timeout_s, number))["data"]

    async def wait_reason(self, job_id: str, part: str) -> str:
        """Wait until a job's reason to wait has this in it; the reason."""
        until_s = time.monotonic() + 20
        while True:
            (reason,) = [
                job["wait_reason"] for job in (await self.probe.call("queue.list"))["jobs"] if job["job_id"] == job_id
            ]
            if part in reason:
                return reason
            assert time.monotonic() < until_s, reason


@pytest.fixture
async def room(
    settings: Settings, work: Path, amqp_url: str, apart: Driver, make_model: MakeModel, data: str
) -> AsyncGenerator[Room]:
    """A daemon with eight GPUs, whose trainings go on until they are stopped."""
    async with probe(amqp_url) as found, running_daemon(settings, work, found) as daemon:
        model = make_model(steps=100_000, step_seconds=0.05)
        yield Room(found, daemon, apart, model, data)
        assert "device_unreadable" not in daemon.log()


async def test_a_job_on_the_device_that_it_was_given(room: Room) -> None:
    driver = room.driver
    driver.change(3, used=4, util=0, temp=33, power=70_000)
    await room.told(3, temperature=33.0)
    gpus = await room.gpus()
    assert [(gpu["index"], gpu["state"]) for gpu in gpus] == [(index, "free") for index in range(GPUS)]
    assert {gpu["memory_total_mib"] for gpu in gpus} == {81_559.0}
    assert gpus[3]["name"] == "NVIDIA H100 80GB HBM3"
    assert gpus[3]["uuid"] == "GPU-00000003-aaaa-bbbb-cccc-0123456789ab"
    assert (gpus[3]["memory_used_mib"], gpus[3]["utilization"], gpus[3]["power"]) == (4.0, 0.0, 70.0)

    job_id = await room.running(gpu_id="3")
    trainers = processes_of(job_id)
    assert trainers
    for process in trainers:
        environment = process.environ()
        assert environment["CUDA_VISIBLE_DEVICES"] == "3"
        assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"

    driver.use(3, trainers[-1].pid, 20_000)
    driver.change(3, util=88, temp=64, power=400_000)
    used = await room.probe.until(
        lambda event: (
            event["_key"] == f"job.{job_id}.progress"
            and [gpu["memory_used_mib"] for gpu in event["data"]["gpus"]] == [20_004.0]
        )
    )
    (gpu,) = used["data"]["gpus"]
    assert (gpu["index"], gpu["memory_total_mib"]) == (3, 81_559.0)
    assert (gpu["utilization"], gpu["temperature"], gpu["power"]) == (88.0, 64.0, 400.0)
    leased = (await room.gpus())[3]
    assert (leased["state"], leased["job_id"], leased["reason"]) == ("leased", job_id, None)

    driver.leave(3)
    ended = await room.cancelled(job_id)
    assert (ended["processes_left"], ended["memory_left_mib"]) == (0, 0.0)

    calls = driver.calls()
    assert len(calls) > 150, "two readings at least"
    assert room.daemon.pid not in {call.thread for call in calls}, "the event loop's thread has called the driver"


async def test_a_foreign_process_keeps_its_device_and_is_named(room: Room, stranger: int) -> None:
    room.driver.use(5, stranger, 30_000)
    await room.told(5, state="foreign")
    user = psutil.Process(stranger).username()
    named = f"in use by pid {stranger} (sleep) of {user} for less than 1 min: 30000 MiB"
    assert (await room.gpus())[5]["reason"] == named

    pinned = await room.create(gpu_id="5")
    assert await room.wait_reason(pinned, named) == f"device 5 is foreign ({named})"
    others = await room.running(gpu_count=7)
    assert (await room.probe.call("job.get", {"job_id": others}))["devices"] == [0, 1, 2, 3, 4, 6, 7]
    more = await room.create(gpu_count=1, output_dir="out/more")
    assert named in await room.wait_reason(more, "device 5 is foreign")

    room.driver.leave(5)
    await room.probe.status(pinned, "running")
    assert (await room.probe.call("job.get", {"job_id": pinned}))["devices"] == [5]
    for job_id in (more, others, pinned):
        await room.cancelled(job_id)


async def test_memory_that_a_job_leaves_behind_is_said_and_keeps_its_device(room: Room) -> None:
    job_id = await room.running(gpu_id="2")
    pid = processes_of(job_id)[-1].pid
    room.driver.use(2, pid, 9000)
    await room.told(2, memory_used_mib=9004.0)
    assert (await room.cancelled(job_id))["memory_left_mib"] == 9000.0
    left = await room.told(2, state="foreign")
    assert left["reason"] == f"in use by pid {pid} (unknown) of unknown: 9000 MiB"
    room.driver.leave(2)
    assert (await room.told(2, state="free"))["reason"] is None


async def test_who_waits_for_a_device_does_not_get_it_with_memory_that_a_job_has_left(room: Room) -> None:
    """Though it is claimed within milliseconds of the job's end, and a reading takes longer than that."""
    first = await room.running(gpu_id="2")
    room.driver.use(2, processes_of(first)[-1].pid, 9000)
    await room.told(2, memory_used_mib=9004.0)
    second = await room.create(gpu_id="2")
    await room.wait_reason(second, first)
    room.driver.slow(2000)
    await room.cancelled(first)
    reason = await room.wait_reason(second, "foreign")
    assert "9000 MiB" in reason
    assert (await room.probe.call("job.status", {"job_id": second}))["status"] == "queued"
    room.driver.leave(2)
    await room.probe.status(second, "running")
    await room.cancelled(second)


async def test_sick_devices_are_shown_and_never_given(room: Room) -> None:
    driver = room.driver
    job_id = await room.running(gpu_id="6")
    driver.lose(1)
    driver.change(2, mig=1)
    driver.change(4, ecc=3)
    await room.told(4, state="drained")
    gpus = {gpu["index"]: gpu for gpu in await room.gpus()}
    assert {index for index, gpu in gpus.items() if gpu["state"] == "unhealthy"} == {1, 2}
    assert gpus[1]["reason"] == "NVML: GPU is lost"
    assert "in MIG mode and has no instance" in gpus[2]["reason"]
    assert gpus[4]["reason"].startswith("3 memory errors that ECC could not correct since the driver was loaded; ")
    status = await room.probe.call("system.status")
    assert (status["status"], "device 1: NVML: GPU is lost" in status["devices"]) == ("degraded", True)

    rest = await room.running(gpu_count=4)
    assert (await room.probe.call("job.get", {"job_id": rest}))["devices"] == [0, 3, 5, 7]
    waiting = await room.create(gpu_id="1")
    assert await room.wait_reason(waiting, "lost") == "device 1 is unhealthy (NVML: GPU is lost)"
    assert (await room.probe.call("job.status", {"job_id": job_id}))["status"] == "running"

    driver.heal()
    await room.probe.status(waiting, "running")
    for one in (job_id, rest, waiting):
        await room.cancelled(one)


async def test_a_device_with_a_hardware_error_is_drained_over_a_restart_until_it_is_brought_back(room: Room) -> None:
    driver = room.driver
    job_id = await room.running(gpu_id="3")
    driver.xid(2, 13)
    driver.xid(3, 95)
    drained = await room.told(3, state="drained")
    assert drained["reason"] == "Xid 95, uncontained memory error; see node.resume"
    assert (await room.gpus())[3]["job_id"] == job_id, "its job goes on"
    assert (await room.gpus())[2]["state"] == "free", "13 is the application's"
    event = await room.probe.until(lambda event: event["data"].get("devices") == [3])
    assert event["data"]["reason"] == "device 3 is drained: Xid 95, uncontained memory error"
    assert (await room.probe.call("job.status", {"job_id": job_id}))["status"] == "running"
    await room.cancelled(job_id)

    assert await room.daemon.stop() == 0
    await room.daemon.start()
    waiting = await room.create(gpu_id="3")
    assert "Xid 95" in await room.wait_reason(waiting, "device 3 is drained")
    await room.probe.call("node.resume", {"node_id": "node-1", "devices": [3]})
    await room.probe.status(waiting, "running")
    await room.cancelled(waiting)

    calls = driver.calls()
    assert room.daemon.pid not in {call.thread for call in calls}, "the event loop's thread has called the driver"


async def test_a_driver_that_is_silent_at_the_start_leaves_no_job_unwatched(room: Room) -> None:
    job_id = await room.running(gpu_id="3", timeout_seconds=12)
    assert await room.daemon.stop(signal.SIGKILL) == -signal.SIGKILL
    room.driver.fail("nvmlInitWithFlags", "*", 18)
    await room.daemon.start()
    failed = await room.probe.status(job_id, "failed")
    assert failed["data"]["error_code"] == "timeout"
    assert not processes_of(job_id)
    gpus = await room.gpus()
    assert [gpu["state"] for gpu in gpus] == ["unhealthy"] * GPUS
    assert "NVML does not answer" in gpus[3]["reason"]
    assert "NVML does not answer" in (await room.probe.call("system.status"))["devices"]
    room.driver.heal()
    await room.told(3, state="free")
    assert (await room.probe.call("system.status"))["devices"] == "ok"


async def test_jobs_run_on_mig_instances_one_each(room: Room) -> None:
    room.driver.cut(1, "a", "b")
    await room.told(1011, state="free")
    assert [gpu["index"] for gpu in await room.gpus()] == [0, 1010, 1011, 2, 3, 4, 5, 6, 7]
    job_id = await room.running(gpu_id="1011")
    for process in processes_of(job_id):
        environment = process.environ()
        assert environment["CUDA_VISIBLE_DEVICES"] == "MIG-b"
        assert environment["SWIFT_TRAINER_JOB_DEVICES"] == "1011"
    assert (await room.gpus())[2]["job_id"] == job_id
    several = await room.create(gpu_id="0,1010")
    await room.wait_reason(several, "one MIG instance at most (here 1010)")
    for one in (several, job_id):
        await room.cancelled(one)


async def test_a_driver_that_hangs_takes_all_devices_out_and_not_the_daemon(room: Room) -> None:
    job_id = await room.running(gpu_id="0")
    room.driver.hang()
    slowest = await _slowest_answer(room, READ_LIMIT_S + 3)
    assert slowest < READ_LIMIT_S, "commands are answered while the driver hangs"
    gpus = await room.gpus()
    assert {gpu["state"] for gpu in gpus} == {"unhealthy"}
    assert {gpu["reason"] for gpu in gpus} == {"the driver has not answered for 10 s"}
    assert gpus[0]["job_id"] == job_id
    seen = len(room.probe.progress(job_id))
    await room.probe.until(lambda event: event["_key"] == f"job.{job_id}.progress", number=seen + 5)

    room.driver.heal()
    await room.told(0, state="leased")
    await room.told(1, state="free")
    await room.cancelled(job_id)

    seen = len(room.driver.calls())
    room.driver.hang("nvmlDeviceGetPowerUsage", 0)
    await asyncio.to_thread(room.driver.wait_call, "nvmlDeviceGetPowerUsage", 0, seen=seen)
    began = time.monotonic()
    assert await room.daemon.stop() == 0
    assert time.monotonic() - began < READ_LIMIT_S, "it does not wait for the driver to end"


async def _slowest_answer(room: Room, seconds: float) -> float:
    """Ask for so long, one command after the other; the longest wait."""
    slowest, until_s = 0.0, time.monotonic() + seconds
    while time.monotonic() < until_s:
        began = time.monotonic()
        await room.probe.call("job.list")
        slowest = max(slowest, time.monotonic() - began)
        await asyncio.sleep(0.05)
    return slowest
