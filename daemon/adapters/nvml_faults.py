"""What tells that a device is sick, gathered until somebody asks: memory errors of readings, and Xid errors."""

import asyncio

from daemon.adapters.nvml_reading import Reading, ecc_evidence
from daemon.core.devices import DeviceFault
from daemon.core.xid import evidence_of
from daemon.logs import get_log
from schemas.events import Device

log = get_log("nvml")


class Faults:
    """Used on the event loop's thread alone."""

    def __init__(self) -> None:
        self._new: list[DeviceFault] = []
        self._noticed = asyncio.Event()
        self._ecc_errors: dict[str | int, int] = {}
        """The counts that are known, by the device's own id."""

    async def take(self) -> tuple[DeviceFault, ...]:
        """Wait until there are some."""
        await self._noticed.wait()
        self._noticed.clear()
        found, self._new = tuple(self._new), []
        return found

    def read(self, readings: tuple[Reading, ...]) -> None:
        """A reading: a count of memory errors that has risen is new evidence, one that stays is not."""
        for reading in readings:
            if reading.ecc_errors is None:
                continue
            key = reading.device.uuid or reading.device.index
            if reading.ecc_errors > self._ecc_errors.get(key, 0):
                self._notice(DeviceFault(reading.device, ecc_evidence(reading.ecc_errors)))
            self._ecc_errors[key] = reading.ecc_errors

    def xid(self, device: Device, number: int) -> None:
        """An Xid error; most are the application's."""
        evidence = evidence_of(number)
        log.warning("xid", evidence or f"Xid {number}, nothing against the device", device=device.index)
        if evidence is not None:
            self._notice(DeviceFault(device, evidence))

    def _notice(self, fault: DeviceFault) -> None:
        known = any(one.device.index == fault.device.index and one.evidence == fault.evidence for one in self._new)
        if not known:  # a device that repeats itself tells nothing new
            self._new.append(fault)
            self._noticed.set()
