"""CPU slots as devices: for hosts without a GPU, and for tests. A slot is a number of jobs at once, not a core."""

import asyncio

from daemon.core.devices import DeviceFault
from schemas.events import Device


class CpuSlots:
    """`count` slots with the indices 0 to `count` - 1."""

    def __init__(self, count: int, node_id: str) -> None:
        self._devices = tuple(Device(node_id=node_id, index=index, name=f"CPU slot {index}") for index in range(count))

    @property
    def uses_cuda(self) -> bool:
        """Never."""
        return False

    async def read(self) -> tuple[Device, ...]:
        """The slots; they have no figures."""
        return self._devices

    async def faults(self) -> tuple[DeviceFault, ...]:
        """There never are any."""
        return await asyncio.get_running_loop().create_future()

    async def check(self) -> str:
        """Always well."""
        return "ok"

    async def close(self) -> None:
        """Nothing is open."""
