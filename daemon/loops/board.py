"""The newest readings of this node, kept for whoever asks: its devices, written by telemetry, supervision and draining,
and the room on its disks, written by the heartbeat.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from schemas.enums import DeviceState
from schemas.events import Device, GpuUse
from schemas.nodes import DeviceDrain


@dataclass(slots=True)
class Board:
    """Devices as last read, and those that must not be used because a process on them can't be ended."""

    devices: tuple[Device, ...] = ()
    quarantine: dict[int, str] = field(default_factory=dict[int, str])
    """Reason by index."""
    drains: tuple[DeviceDrain, ...] = ()
    """Drains that were decided here and do not stand in the node's document yet."""
    rooms: dict[Path, float | None] = field(default_factory=dict[Path, "float | None"])
    """Free space by folder, MiB, as last read; None: it can't be told."""
    looks: dict[Path, asyncio.Task[None]] = field(default_factory=dict[Path, asyncio.Task[None]])
    """The looks that are under way."""

    def current(self) -> tuple[Device, ...]:
        """The devices with quarantined ones marked unhealthy."""
        return tuple(
            device.model_copy(update={"state": DeviceState.UNHEALTHY, "reason": self.quarantine[device.index]})
            if device.index in self.quarantine
            else device
            for device in self.devices
        )

    def use_of(self, indices: tuple[int, ...]) -> tuple[GpuUse, ...]:
        """Use of these devices."""
        return use_of(self.devices, indices)


def use_of(devices: Iterable[Device], indices: tuple[int, ...]) -> tuple[GpuUse, ...]:
    """Use of these devices of a node, where their memory can be read at all (CPU slots have none)."""
    return tuple(
        GpuUse(
            index=device.index,
            memory_used_mib=device.memory_used_mib,
            memory_total_mib=device.memory_total_mib,
            utilization=device.utilization,
            temperature=device.temperature,
            power=device.power,
        )
        for device in devices
        if device.index in indices and device.memory_total_mib is not None
    )
