"""GPUs that this node had before, and whose driver does not answer when the daemon starts.

The daemon starts all the same: what runs must be watched, whatever the driver says. They are out of use, with the
driver's word for it, and each reading tries again to begin with it.
"""

import asyncio
from collections.abc import Callable, Sequence

from daemon.adapters.nvml import READ_LIMIT_S, NvmlDevices, NvmlError
from daemon.adapters.threads import in_thread
from daemon.core.devices import DeviceFault
from daemon.logs import get_log
from schemas.enums import DeviceState
from schemas.events import Device

log = get_log("nvml")

Begin = Callable[[frozenset[int]], NvmlDevices]
"""Begin with the driver, given the indices that the host had. Raises `NvmlError`."""


class AwaitedGpus:
    """Unhealthy until the driver answers; then the GPUs themselves."""

    def __init__(self, begin: Begin, reason: str, known: Sequence[Device], *, limit_s: float = READ_LIMIT_S) -> None:
        self._begin = begin
        self._reason = reason
        self._known = tuple(known)
        self._limit_s = limit_s
        self._beginning: asyncio.Future[NvmlDevices] | None = None
        self._gpus: NvmlDevices | None = None
        self._there = asyncio.Event()

    @property
    def uses_cuda(self) -> bool:
        """Always."""
        return True

    async def read(self) -> tuple[Device, ...]:
        """As the driver has them, or as they were known, out of use."""
        gpus = await self._try()
        if gpus is not None:
            return await gpus.read()
        lost = {"state": DeviceState.UNHEALTHY, "reason": self._reason, "job_id": None, "processes": ()}
        return tuple(device.model_copy(update=lost) for device in self._known)

    async def faults(self) -> tuple[DeviceFault, ...]:
        """None before the driver answers."""
        while (gpus := await self._try()) is None:
            await self._there.wait()
        return await gpus.faults()

    async def check(self) -> str:
        """What the driver says."""
        return self._reason if self._gpus is None else await self._gpus.check()

    async def close(self) -> None:
        """Let go of NVML, where it was ever begun with."""
        if self._gpus is not None:
            await self._gpus.close()

    async def _try(self) -> NvmlDevices | None:
        """Begin once more, unless the last attempt still hangs in the driver."""
        if self._gpus is not None:
            return self._gpus
        if self._beginning is None:
            had = frozenset(device.index for device in self._known)
            self._beginning = in_thread(lambda: self._begin(had), "nvml start")
        attempt = self._beginning
        done, _ = await asyncio.wait({attempt}, timeout=self._limit_s)
        if not done:
            return None
        if attempt is not self._beginning:  # somebody else has waited for it as well
            return self._gpus
        self._beginning = None
        try:
            self._gpus = attempt.result()
        except NvmlError as error:
            self._reason = str(error)
            return None
        log.info("driver_answers", "the NVIDIA driver answers; its devices are read from now on")
        self._there.set()
        return self._gpus
