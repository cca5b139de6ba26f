"""SWIFT_TRAINER_DEVICES: which devices this daemon has."""

import re
from collections.abc import Sequence

from daemon.adapters.awaited_gpus import AwaitedGpus, Begin
from daemon.adapters.cpu_devices import CpuSlots
from daemon.adapters.nvml import NvmlDevices, NvmlError
from daemon.ports import Devices
from schemas.events import Device

_CPU = re.compile(r"^cpu(?::([0-9]{1,4}))?$")
_LIST = re.compile(r"^[0-9]{1,4}(,[0-9]{1,4})*$")


class DeviceSettingError(Exception):
    """The setting can't be used; the message says what to do."""


class DriverSilentError(DeviceSettingError):
    """The setting means GPUs, and the driver does not have them; `begin` tries again."""

    def __init__(self, reason: str, begin: Begin) -> None:
        super().__init__(reason)
        self.begin = begin


def make_devices(setting: str, node_id: str) -> Devices:
    """The devices of `auto` (NVML), of `0,2,3` (NVML indices), of `cpu` (one slot) or `cpu:N`.

    Raises `DeviceSettingError`, and the kind of it that is `DriverSilentError` where the setting may well be right.
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
        raise DriverSilentError(
            str(error), lambda had: NvmlDevices(node_id, indices, had=had, start_limit_s=None)
        ) from None


def awaited_devices(silent: DriverSilentError, before: Sequence[Device]) -> Devices:
    """The GPUs that a node had before, by its document. Raises the error where it never had any: the setting is wrong.

    CPU slots of an earlier setting are no GPUs; those have an id.
    """
    known = [device for device in before if device.uuid is not None]
    if not known:
        raise silent
    return AwaitedGpus(silent.begin, str(silent), known)
