"""The few calls of NVML, with types: `pynvml` has none, so this file alone knows it, as `Any`.

Each raises `NVML_ERROR` where the driver, or the one device, does not answer. Calls that have versions are made by
version: where the driver lacks one, `pynvml` raises an error of NVML's for those, and one that is none for the others.
"""

import contextlib
import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, NewType, TypeVar

import pynvml

_nvml: Any = pynvml
NVML_ERROR: type[Exception] = _nvml.NVMLError
MIB = 1024 * 1024

_SICK = frozenset(
    {
        _nvml.NVML_ERROR_UNINITIALIZED,
        _nvml.NVML_ERROR_DRIVER_NOT_LOADED,
        _nvml.NVML_ERROR_GPU_IS_LOST,
        _nvml.NVML_ERROR_RESET_REQUIRED,
    }
)
"""What no device answers that is well, whatever it was asked."""

_REFUSALS = frozenset(
    {
        _nvml.NVML_ERROR_NOT_SUPPORTED,
        _nvml.NVML_ERROR_NO_PERMISSION,
        _nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        _nvml.NVML_ERROR_OPERATING_SYSTEM,
    }
)
"""What a driver answers that never will do what it was asked."""

_CLOSENESS = MappingProxyType(
    {
        _nvml.NVML_TOPOLOGY_INTERNAL: 50,
        _nvml.NVML_TOPOLOGY_SINGLE: 40,
        _nvml.NVML_TOPOLOGY_MULTIPLE: 30,
        _nvml.NVML_TOPOLOGY_HOSTBRIDGE: 20,
        _nvml.NVML_TOPOLOGY_NODE: 10,
        _nvml.NVML_TOPOLOGY_SYSTEM: 0,
    }
)

Handle = NewType("Handle", object)
EventSet = NewType("EventSet", object)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Memory:
    """A device's memory in MiB."""

    total_mib: float
    used_mib: float
    free_mib: float
    with_drivers_share: bool
    """Whether the driver counts what it keeps for itself as used."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that computes on a device; its memory where the driver tells it."""

    pid: int
    memory_mib: float | None


class Place(NamedTuple):
    """Where a device is on the PCI bus."""

    domain: int
    bus: int
    device: int


@dataclass(frozen=True, slots=True)
class Link:
    """An NVLink that is up."""

    place: Place | None
    """The other end, where it is told."""
    to_switch: bool


@dataclass(frozen=True, slots=True)
class Xid:
    """An error that the driver has told of."""

    gpu: int
    """The device, as `listen` named it."""
    number: int


def start() -> int:
    """Begin to talk to the driver; how many devices it has."""
    _nvml.nvmlInit()
    return int(_nvml.nvmlDeviceGetCount())


def start_again() -> None:
    """Begin anew where the driver has forgotten us, as one does that was loaded again."""
    try:
        _nvml.nvmlDeviceGetCount()
    except NVML_ERROR as error:
        if _code(error) == _nvml.NVML_ERROR_UNINITIALIZED:
            _nvml.nvmlInit()


def stop() -> None:
    """Talk no more."""
    _nvml.nvmlShutdown()


def handle(index: int) -> Handle:
    """What the other calls name a device by."""
    return Handle(_nvml.nvmlDeviceGetHandleByIndex(index))


def memory(device: Handle) -> Memory:
    """Memory in use; without the driver's own share, where the driver can tell that apart (since version 510)."""
    found = or_none(lambda: _nvml.nvmlDeviceGetMemoryInfo(device, version=_nvml.nvmlMemory_v2))
    old = found is None
    if found is None:
        found = _nvml.nvmlDeviceGetMemoryInfo(device)
    return Memory(found.total / MIB, found.used / MIB, found.free / MIB, with_drivers_share=old)


def utilization(device: Handle) -> float:
    """Percent."""
    return float(_nvml.nvmlDeviceGetUtilizationRates(device).gpu)


def temperature(device: Handle) -> float:
    """Degrees Celsius."""
    return float(_nvml.nvmlDeviceGetTemperature(device, _nvml.NVML_TEMPERATURE_GPU))


def power(device: Handle) -> float:
    """Watt."""
    return float(_nvml.nvmlDeviceGetPowerUsage(device)) / 1000


def uuid(device: Handle) -> str:
    """The device's own id."""
    return _text(_nvml.nvmlDeviceGetUUID(device))


def name(device: Handle) -> str:
    """What its maker calls it."""
    return _text(_nvml.nvmlDeviceGetName(device))


def processes(device: Handle) -> list[Process]:
    """Those that compute on it, as far as this process may see them."""
    try:
        found = _nvml.nvmlDeviceGetComputeRunningProcesses_v3(device)
    except NVML_ERROR as error:
        if _code(error) != _nvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            raise
        found = _nvml.nvmlDeviceGetComputeRunningProcesses_v2(device)  # a driver before version 510
    return [
        Process(int(entry.pid), None if entry.usedGpuMemory is None else entry.usedGpuMemory / MIB) for entry in found
    ]


def ecc_errors(device: Handle) -> int:
    """Memory errors that could not be corrected, since the driver was loaded or the device reset."""
    return int(
        _nvml.nvmlDeviceGetTotalEccErrors(device, _nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, _nvml.NVML_VOLATILE_ECC)
    )


def mig_instances(device: Handle) -> list[Handle] | None:
    """The MIG instances that it is cut into, in NVML's order; None where it is not in MIG mode."""
    if _nvml.nvmlDeviceGetMigMode(device)[0] != _nvml.NVML_DEVICE_MIG_ENABLE:
        return None
    most = or_none(lambda: int(_nvml.nvmlDeviceGetMaxMigDeviceCount(device))) or 0
    found = (_instance(device, number) for number in range(most))
    return [instance for instance in found if instance is not None]


def _instance(device: Handle, number: int) -> Handle | None:
    return or_none(lambda: Handle(_nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, number)))


def place(device: Handle) -> Place:
    """Its own."""
    return _place(_nvml.nvmlDeviceGetPciInfo(device))


def common_ancestor(device: Handle, other: Handle) -> int | None:
    """How close two devices are by PCIe, as `Device.peers` has it; None for a level that is not known here."""
    return _CLOSENESS.get(_nvml.nvmlDeviceGetTopologyCommonAncestor(device, other))


def links(device: Handle) -> list[Link]:
    """Its NVLinks that are up; none where it has no NVLink."""
    found: list[Link] = []
    for number in range(_nvml.NVML_NVLINK_MAX_LINKS):
        state = _link_state(device, number)
        if state is None:
            break
        if state == _nvml.NVML_FEATURE_ENABLED:
            found.append(_link(device, number))
    return found


def _link_state(device: Handle, number: int) -> int | None:
    return or_none(lambda: int(_nvml.nvmlDeviceGetNvLinkState(device, number)))


def _link(device: Handle, number: int) -> Link:
    kind = or_none(lambda: int(_nvml.nvmlDeviceGetNvLinkRemoteDeviceType(device, number)))
    end = or_none(lambda: _place(_nvml.nvmlDeviceGetNvLinkRemotePciInfo(device, number)))
    return Link(end, kind == _nvml.NVML_NVLINK_DEVICE_TYPE_SWITCH)


def _place(info: Any) -> Place:
    return Place(int(info.domain), int(info.bus), int(info.device))


def new_events() -> EventSet:
    """What events are waited for in."""
    return EventSet(_nvml.nvmlEventSetCreate())


def listen(events: EventSet, index: int) -> int:
    """Have a device's Xid errors told there; the number by which they name it."""
    device = handle(index)
    _nvml.nvmlDeviceRegisterEvents(device, _nvml.nvmlEventTypeXidCriticalError, events)
    return _address(device)


def next_xid(events: EventSet, timeout_ms: int) -> Xid | None:
    """Wait for an error; None: there was none for so long."""
    try:
        found = _nvml.nvmlEventSetWait_v2(events, timeout_ms)
    except NVML_ERROR as error:
        if _code(error) == _nvml.NVML_ERROR_TIMEOUT:
            return None
        raise
    return Xid(_address(found.device), int(found.eventData))


def free_events(events: EventSet) -> None:
    """Wait there no more. One that a driver has forgotten is no error."""
    with contextlib.suppress(NVML_ERROR):
        _nvml.nvmlEventSetFree(events)


def is_unknown(error: Exception) -> bool:
    """Whether the driver knows no device of the index that it was asked for."""
    return _code(error) == _nvml.NVML_ERROR_INVALID_ARGUMENT


def is_refusal(error: Exception) -> bool:
    """Whether asking again is of no use."""
    return _code(error) in _REFUSALS


def or_none(call: Callable[[], T]) -> T | None:
    """An answer, or None where this device has none. Raises where the device, or the driver, is not well."""
    try:
        return call()
    except NVML_ERROR as error:
        if _code(error) in _SICK:
            raise
        return None


def _address(device: Any) -> int:
    """Where a handle points to: the same for all handles of one device."""
    return ctypes.cast(device, ctypes.c_void_p).value or 0


def _code(error: Exception) -> int:
    return int(getattr(error, "value", 0))


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
