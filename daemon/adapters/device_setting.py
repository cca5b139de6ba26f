"""SWIFT_TRAINER_DEVICES: which devices this daemon has."""

import re

from daemon.adapters.cpu_devices import CpuSlots
from daemon.adapters.nvml import NvmlDevices, NvmlError
from daemon.ports import Devices

_CPU = re.compile(r"^cpu(?::([0-9]{1,4}))?$")
_LIST = re.compile(r"^[0-9]{1,4}(,[0-9]{1,4})*$")


class DeviceSettingError(Exception):
    """The setting can't be used; the message says what to do."""


def make_devices(setting: str, node_id: str) -> Devices:
    """The devices of `auto` (NVML), of `0,2,3` (NVML indices), of `cpu` (one slot) or `cpu:N`.

    Raises `DeviceSettingError`.
    """
    text = "".join(setting.lower().split())
    cpu = _CPU.match(text)
    if cpu:
        count = int(cpu[1] or 1)
        if count == 0:
            raise DeviceSettingError("SWIFT_TRAINER_DEVICES=cpu:0 leaves no slot; give at least cpu:1")
        return CpuSlots(count, node_id)
    if text != "auto" and not _LIST.match(text):
        raise DeviceSettingError(
            f"SWIFT_TRAINER_DEVICES={setting!r} is not understood; use auto, indices such as 0,2,3, cpu, or cpu:N"
        )
    indices = None if text == "auto" else tuple(int(part) for part in text.split(","))
    if indices is not None and len(set(indices)) != len(indices):
        raise DeviceSettingError(f"SWIFT_TRAINER_DEVICES={setting!r} names a device twice")
    try:
        return NvmlDevices(node_id, indices)
    except NvmlError as error:
        raise DeviceSettingError(str(error)) from None
