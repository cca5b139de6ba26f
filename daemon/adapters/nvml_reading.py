"""What one reading of a GPU asks, and what makes it unhealthy. On the thread of `nvml` alone: every call may block.

A GPU is unhealthy when NVML calls it lost or in want of a reset, when its memory had errors that could not be
corrected, and when it is in MIG mode and not cut into instances. One that is cut is not a device itself, its instances
are. What a device merely does not tell (no sensor, no permission) is None.
"""

import contextlib
import time
from dataclasses import dataclass, replace

import psutil

from daemon.adapters import nvml_calls
from daemon.adapters.nvml_calls import NVML_ERROR, Handle, Process, or_none
from daemon.adapters.nvml_identities import Identities
from daemon.adapters.nvml_topology import Peers, Topology
from daemon.core.devices import OldDriversDevice, SeenProcess, age_text
from daemon.logs import get_log
from schemas.enums import DeviceState
from schemas.events import Device, DeviceProcess

log = get_log("nvml")

NO_INSTANCE = (
    "it is in MIG mode and has no instance to run on; make some (nvidia-smi mig -i {index} -cgi PROFILES -C), end that "
    "mode (nvidia-smi -i {index} -mig 0), or leave it out of SWIFT_TRAINER_DEVICES"
)
NOT_THERE = "the driver has no device of this index: has one fallen off the bus (nvidia-smi -L)?"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reading found of one device."""

    device: Device
    ecc_errors: int | None = None
    """Memory errors that could not be corrected, since the driver was loaded or the device reset; None: not read."""


def read_all(node_id: str, indices: tuple[int, ...], topology: Topology, identities: Identities) -> tuple[Reading, ...]:
    """These GPUs, each for itself, or the instances that they are cut into; with how close they are to each other."""
    with contextlib.suppress(NVML_ERROR):  # then every device says why
        nvml_calls.start_again()
    readings = [reading for index in indices for reading in _read_gpu(node_id, index, identities)]
    peers = topology.peers_of([reading.device for reading in readings])
    return tuple(_with_peers(reading, peers.get(reading.device.index)) for reading in readings)


def _with_peers(reading: Reading, peers: Peers | None) -> Reading:
    return replace(reading, device=reading.device.model_copy(update={"peers": dict(peers)})) if peers else reading


def unreadable(node_id: str, index: int, reason: str, uuid: str | None = None) -> Device:
    """A device of which nothing is known now but why."""
    return Device(node_id=node_id, index=index, uuid=uuid, name="unknown", state=DeviceState.UNHEALTHY, reason=reason)


def _read_gpu(node_id: str, index: int, identities: Identities) -> list[Reading]:
    try:
        return _read(node_id, index, nvml_calls.handle(index), identities)
    except NVML_ERROR as error:
        reason = NOT_THERE if nvml_calls.is_unknown(error) else f"NVML: {error}"
    except Exception as error:  # what one device answers must not take the others with it
        log.crash("device_unreadable", "an answer that is not understood", error, index=index)
        reason = f"its answer is not understood: {type(error).__name__}: {error}"
    known = identities.of(index).items()
    return [Reading(unreadable(node_id, number, reason, uuid)) for uuid, number in known] or [
        Reading(unreadable(node_id, index, reason))
    ]


def _read(node_id: str, index: int, handle: Handle, identities: Identities) -> list[Reading]:
    parts = or_none(lambda: nvml_calls.mig_instances(handle))
    ecc_errors = or_none(lambda: nvml_calls.ecc_errors(handle)) or 0
    fault = f"{ecc_evidence(ecc_errors)}; reset it (nvidia-smi -i {index} -r)" if ecc_errors else None
    if parts is None:
        device = _device(node_id, index, handle, handle, fault)
        identities.whole(index, device.uuid)
        return [Reading(device, ecc_errors)]
    named = {uuid: part for part in parts if (uuid := or_none(lambda part=part: nvml_calls.uuid(part))) is not None}
    numbers = identities.cut(index, list(named))
    if not named:
        return [Reading(unreadable(node_id, index, fault or NO_INSTANCE.format(index=index)), ecc_errors)]
    return [Reading(_device(node_id, numbers[uuid], part, handle, fault), ecc_errors) for uuid, part in named.items()]


def _device(node_id: str, index: int, handle: Handle, gpu: Handle, fault: str | None) -> Device:
    """A GPU, or an instance of it: that has the sensors and the memory errors of the whole."""
    memory = nvml_calls.memory(handle)
    kind = OldDriversDevice if memory.with_drivers_share else Device
    return kind(
        node_id=node_id,
        index=index,
        uuid=or_none(lambda: nvml_calls.uuid(handle)),
        name=or_none(lambda: nvml_calls.name(handle)) or "unknown",
        memory_total_mib=memory.total_mib,
        memory_used_mib=memory.used_mib,
        memory_free_mib=memory.free_mib,
        utilization=or_none(lambda: nvml_calls.utilization(handle)),
        temperature=or_none(lambda: nvml_calls.temperature(gpu)),
        power=or_none(lambda: nvml_calls.power(gpu)),
        state=DeviceState.FREE if fault is None else DeviceState.UNHEALTHY,
        reason=fault,
        processes=tuple(_seen(entry) for entry in or_none(lambda: nvml_calls.processes(handle)) or ()),
    )


def ecc_evidence(errors: int) -> str:
    """Memory errors, for a person."""
    return f"{errors} memory error{'s' if errors > 1 else ''} that ECC could not correct since the driver was loaded"


def _seen(entry: Process) -> DeviceProcess:
    """A process with what the system knows of it: nothing where it is gone, or in a container of its own."""
    user = command = age = None
    try:
        process = psutil.Process(entry.pid)
        with process.oneshot():
            command = process.name()
            age = age_text(time.time() - process.create_time())
            user = process.username()
    except (psutil.Error, OSError):
        pass
    return SeenProcess(pid=entry.pid, memory_mib=entry.memory_mib, user=user, command=command, age=age)
