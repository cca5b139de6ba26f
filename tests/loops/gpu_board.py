"""Devices with CUDA whose readings, and signs of sickness, a test sets."""

import asyncio

from daemon.core.devices import DeviceFault, health
from schemas.events import Device


class GpuBoard:
    """Devices with CUDA whose readings a test sets."""

    def __init__(self, count: int, node_id: str) -> None:
        self.devices = [
            Device(
                node_id=node_id,
                index=index,
                name="NVIDIA H100",
                memory_total_mib=81559,
                memory_used_mib=0,
                memory_free_mib=81559,
                utilization=0,
            )
            for index in range(count)
        ]
        self.reads = 0
        self._faults: list[DeviceFault] = []
        self._noticed = asyncio.Event()

    @property
    def uses_cuda(self) -> bool:
        return True

    async def read(self) -> tuple[Device, ...]:
        self.reads += 1
        return tuple(self.devices)

    async def faults(self) -> tuple[DeviceFault, ...]:
        await self._noticed.wait()
        self._noticed.clear()
        found, self._faults = tuple(self._faults), []
        return found

    async def check(self) -> str:
        return health(await self.read())

    async def close(self) -> None:
        """Nothing is open."""

    def sicken(self, index: int, evidence: str) -> None:
        """A sign that one device is sick."""
        self._faults.append(DeviceFault(self.devices[index], evidence))
        self._noticed.set()

    def set(self, index: int, **fields: object) -> None:
        """Change the reading of one device."""
        self.devices[index] = self.devices[index].model_copy(update=fields)
