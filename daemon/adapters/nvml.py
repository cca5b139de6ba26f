"""NVIDIA GPUs through NVML (`nvidia-ml-py`), on a thread of their own.

A driver can hang, and a GPU can fall off the bus; both take devices out of use and never the daemon: every reading has
a time limit, and what one device does not answer is None for it alone. A thread that hangs in the driver can't be
ended; it is left behind, no second one is sent after it, and it does not keep the daemon from ending. What is asked of
a device, and what makes it unhealthy, is in `nvml_reading`; the driver's events have a thread of their own in
`nvml_events`.
"""

import asyncio
import contextlib
import threading

from daemon.adapters import nvml_calls
from daemon.adapters.nvml_calls import NVML_ERROR
from daemon.adapters.nvml_events import XidThread
from daemon.adapters.nvml_faults import Faults
from daemon.adapters.nvml_identities import Identities, gpu_of
from daemon.adapters.nvml_reading import Reading, read_all, unreadable
from daemon.adapters.nvml_topology import Topology
from daemon.adapters.threads import in_thread
from daemon.core.devices import DeviceFault, health
from schemas.enums import DeviceState
from schemas.events import Device

READ_LIMIT_S = 10.0
START_LIMIT_S = 30.0


class NvmlError(Exception):
    """NVML can't be used; the message says what to do."""


class NvmlDevices:
    """The GPUs of this host, or those of them that a setting names."""

    def __init__(
        self,
        node_id: str,
        indices: tuple[int, ...] | None,
        *,
        had: frozenset[int] = frozenset(),
        read_limit_s: float = READ_LIMIT_S,
        start_limit_s: float | None = START_LIMIT_S,
    ) -> None:
        """`had` are indices that this host has had: one of them that is missing is out of use, and no wrong setting."""
        self._node_id = node_id
        self._read_limit_s = read_limit_s
        self._last: tuple[Device, ...] = ()
        self._reading: asyncio.Future[tuple[Reading, ...]] | None = None
        self._topology = Topology()
        self._identities = Identities()
        self._faults = Faults()
        self._events: XidThread | None = None
        count = _start(start_limit_s)
        missing = sorted(set(indices or ()) - set(range(count)) - had)
        if missing:
            named = ", ".join(map(str, missing))
            there = f"0 to {count - 1}" if count else "none"
            raise NvmlError(
                f"SWIFT_TRAINER_DEVICES names device {named}, which this host does not have; it has {there}"
            )
        if not count:
            raise NvmlError("the NVIDIA driver has no device; on a host without a GPU set SWIFT_TRAINER_DEVICES=cpu")
        self._indices = tuple(range(count)) if indices is None else indices

    @property
    def uses_cuda(self) -> bool:
        """Always."""
        return True

    async def read(self) -> tuple[Device, ...]:
        """All devices with their present use. Never raises for a device; a driver that hangs makes all unhealthy.

        Whoever asks while a reading is under way gets the next one: a job that has ended since that one began would
        still be on its devices.
        """
        until_s = asyncio.get_running_loop().time() + self._read_limit_s
        if self._reading is not None:
            await _wait_until(until_s, self._reading)
        if self._reading is None or self._reading.done():
            self._reading = in_thread(self._read_all, "nvml")
        if await _wait_until(until_s, self._reading):
            readings = self._reading.result()
            self._faults.read(readings)
            self._last = tuple(reading.device for reading in readings)
            return self._last
        reason = f"the driver has not answered for {self._read_limit_s:g} s"
        known = self._last or tuple(unreadable(self._node_id, index, reason) for index in self._indices)
        return tuple(device.model_copy(update={"state": DeviceState.UNHEALTHY, "reason": reason}) for device in known)

    def _read_all(self) -> tuple[Reading, ...]:
        return read_all(self._node_id, self._indices, self._topology, self._identities)

    async def faults(self) -> tuple[DeviceFault, ...]:
        """Wait for what tells that devices are sick; the first call begins to listen to the driver's events."""
        if self._events is None:
            loop = asyncio.get_running_loop()

            def tell(gpu: int, number: int) -> None:
                with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
                    loop.call_soon_threadsafe(self._on_xid, gpu, number)

            self._events = XidThread(self._indices, tell)
        return await self._faults.take()

    def _on_xid(self, gpu: int, number: int) -> None:
        """Evidence against the GPU, or all its instances: what the hardware wants is a reset of the whole."""
        known = [device for device in self._last if gpu_of(device.index) == gpu]
        for device in known or [unreadable(self._node_id, gpu, "")]:
            self._faults.xid(device, number)

    async def check(self) -> str:
        """`ok`, or which devices are unhealthy."""
        return health(await self.read())

    async def close(self) -> None:
        """Let go of NVML, unless a thread hangs in it."""
        if self._events is not None:
            self._events.stop()
        if self._reading is None or self._reading.done():
            await asyncio.wait({in_thread(self._stop, "nvml stop")}, timeout=self._read_limit_s)

    def _stop(self) -> None:
        if self._events is None or self._events.ended():
            with contextlib.suppress(NVML_ERROR):
                nvml_calls.stop()


def _start(limit_s: float | None) -> int:
    """Begin with NVML, however long it takes where there is no limit; the number of devices. Raises `NvmlError`."""
    found: list[int | Exception] = []

    def begin() -> None:
        try:
            found.append(nvml_calls.start())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=begin, name="nvml start", daemon=True)
    thread.start()
    thread.join(limit_s)
    answer = found[0] if found else TimeoutError(f"nothing for {limit_s or 0:g} s")
    if isinstance(answer, Exception):
        raise NvmlError(
            f"NVML does not answer ({answer}): is the NVIDIA driver installed, and can this user use it (nvidia-smi)? "
            "On a host without a GPU set SWIFT_TRAINER_DEVICES=cpu"
        )
    return answer


async def _wait_until(until_s: float, reading: "asyncio.Future[tuple[Reading, ...]]") -> bool:
    """Whether it is done by then, by the loop's time."""
    left_s = max(0.0, until_s - asyncio.get_running_loop().time())
    done, _ = await asyncio.wait({reading}, timeout=left_s)
    return bool(done)
