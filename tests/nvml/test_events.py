"""Xid errors through the real `pynvml`: told at once, on a thread of their own, whatever the driver does."""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from daemon.adapters.nvml import NvmlDevices
from daemon.adapters.nvml_events import XidThread
from daemon.core.devices import DeviceFault
from tests.nvml.standin import FUNCTION_NOT_FOUND, GPU_IS_LOST, NO_PERMISSION, UNKNOWN, Driver
from tests.waiting import until

FALLEN_OFF, APPLICATION, MEMORY = 79, 13, 48
LISTENING = "nvmlEventSetWait_v2"


@asynccontextmanager
async def listening(driver: Driver) -> AsyncGenerator["Ears"]:
    """Devices whose events are waited for."""
    devices = NvmlDevices("n", None)
    await devices.read()
    ears = Ears(devices)
    task = asyncio.create_task(ears.hear())
    try:
        await asyncio.to_thread(driver.wait_call, LISTENING, -1)
        yield ears
    finally:
        task.cancel()
        driver.heal()
        await devices.close()


class Ears:
    """What was noticed so far."""

    def __init__(self, devices: NvmlDevices) -> None:
        self.devices = devices
        self.heard: list[DeviceFault] = []

    async def hear(self) -> None:
        while True:
            self.heard += await self.devices.faults()

    async def wait(self, count: int) -> list[tuple[int, str]]:
        """So many faults: index and evidence of each."""
        await until(lambda: len(self.heard) >= count)
        return [(fault.device.index, fault.evidence) for fault in self.heard]


async def test_a_hardware_error_is_evidence_against_its_device_and_the_applications_is_not(driver: Driver) -> None:
    async with listening(driver) as ears:
        driver.xid(2, APPLICATION)
        driver.xid(5, FALLEN_OFF)
        assert await ears.wait(1) == [(5, "Xid 79, GPU has fallen off the bus")]
        assert ears.heard[0].device.uuid == "GPU-00000005-aaaa-bbbb-cccc-0123456789ab"
        driver.xid(5, FALLEN_OFF)
        assert len(await ears.wait(2)) == 2, "after it was brought back the same error is evidence again"


async def test_memory_errors_are_evidence_when_there_are_more_of_them(driver: Driver) -> None:
    async with listening(driver) as ears:
        driver.change(4, ecc=2)
        for _ in range(3):
            await ears.devices.read()
        driver.change(4, ecc=3)
        await ears.devices.read()
        counts = [
            (4, f"{count} memory errors that ECC could not correct since the driver was loaded") for count in (2, 3)
        ]
        assert await ears.wait(2) == counts
        driver.lose(4)
        await ears.devices.read()
        driver.heal()
        await ears.devices.read()
        driver.change(4, ecc=0)
        await ears.devices.read()
        driver.change(4, ecc=1)
        await ears.devices.read()
        assert (await ears.wait(3))[2][1].startswith("1 memory error that")


async def test_a_lost_gpu_can_not_be_registered_and_the_others_are_heard(driver: Driver) -> None:
    driver.fail("nvmlDeviceRegisterEvents", 3, GPU_IS_LOST)
    async with listening(driver) as ears:
        driver.xid(3, FALLEN_OFF)
        driver.xid(6, MEMORY)
        assert [index for index, _ in await ears.wait(1)] == [6]


async def test_events_come_on_a_thread_of_their_own_while_readings_go_on(driver: Driver) -> None:
    async with listening(driver) as ears:
        await ears.devices.read()
        calls = driver.calls()
        waiting = {call.thread for call in calls if call.function == LISTENING}
        assert len(waiting) == 1
        assert waiting.isdisjoint(call.thread for call in calls if call.function == "nvmlDeviceGetName")
        assert threading.get_native_id() not in waiting


async def test_a_thread_that_hangs_in_the_driver_is_left_behind(driver: Driver) -> None:
    async with listening(driver) as ears:
        seen = len(driver.calls())
        driver.hang(LISTENING)
        await asyncio.to_thread(driver.wait_call, LISTENING, -1, seen=seen)
        assert len(await ears.devices.read()) == 8
        assert await ears.devices.check() == "ok"


# ---------------------------------------------------------------- the thread itself


def heard(driver: Driver) -> tuple[XidThread, list[tuple[int, int]]]:
    """A thread that listens to all devices, and what it tells."""
    NvmlDevices("n", None)  # begins with NVML
    told: list[tuple[int, int]] = []
    return XidThread(tuple(range(8)), lambda gpu, number: told.append((gpu, number)), again_s=0.01), told


@pytest.mark.parametrize(
    ("function", "code"),
    [
        ("nvmlEventSetCreate", FUNCTION_NOT_FOUND),
        ("nvmlDeviceRegisterEvents", NO_PERMISSION),
        (LISTENING, FUNCTION_NOT_FOUND),
    ],
)
def test_a_driver_that_refuses_is_said_once_and_done_without(
    driver: Driver, caplog: pytest.LogCaptureFixture, function: str, code: int
) -> None:
    driver.fail(function, "*", code)
    with caplog.at_level(logging.WARNING):
        thread, _ = heard(driver)
        assert thread.ended()
    (record,) = [record for record in caplog.records if record.name == "swift_trainer.nvml"]
    assert "tells of no Xid errors" in record.getMessage()


def test_an_answer_that_is_not_understood_is_said_and_done_without(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def nothing(*_: object) -> None:
        """No answer, and no error either."""

    monkeypatch.setattr("pynvml.nvmlEventSetWait_v2", nothing)
    thread, _ = heard(driver)
    assert thread.ended()
    assert "not understood" in caplog.text


async def test_after_a_failure_and_a_driver_that_was_loaded_again_it_listens_anew(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    thread, told = heard(driver)
    try:
        await asyncio.to_thread(driver.wait_call, LISTENING, -1)
        driver.fail(LISTENING, "*", UNKNOWN)
        await until(lambda: [call.function for call in driver.calls()].count("nvmlEventSetCreate") >= 3)
        assert len([record for record in caplog.records if "listening again" in record.getMessage()]) == 1
        driver.heal()
        driver.reload()
        await NvmlDevices("n", None).read()  # as the next reading does

        def tells() -> bool:
            driver.xid(1, FALLEN_OFF)  # again: what was told before it listened is not heard
            return (1, FALLEN_OFF) in told

        await until(tells, poll_s=0.2)
    finally:
        thread.stop()


async def test_a_gpu_that_was_lost_is_heard_again_when_it_is_back(driver: Driver) -> None:
    driver.lose(4)
    thread, told = heard(driver)
    try:
        await asyncio.to_thread(driver.wait_call, LISTENING, -1)
        driver.heal()

        def tells() -> bool:
            driver.xid(4, MEMORY)
            return (4, MEMORY) in told

        await until(tells, poll_s=0.2)
    finally:
        thread.stop()
