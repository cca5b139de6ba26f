"""How close a host's GPUs are to each other. Asked once, and again when there is one that was not seen before.

On the thread of `nvml` alone. Links to an NVSwitch count between all GPUs that have such links: NVML then names the
switch as the other end, and every GPU behind it is reached with all of them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from types import MappingProxyType

from daemon.adapters import nvml_calls
from daemon.adapters.nvml_calls import NVML_ERROR, Handle, Place, or_none
from daemon.core.devices import is_mig
from daemon.logs import get_log
from schemas.events import Device

log = get_log("nvml")

NVLINK = 100
"""Closeness of a pair with NVLink, to which the number of links is added."""

Peers = Mapping[str, int]
NOBODY: Peers = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Gpu:
    """One GPU, and where its links go to."""

    index: int
    handle: Handle
    place: Place | None
    links: Counter[Place] = field(default_factory=Counter[Place])
    switch_links: int = 0


class Topology:
    """The closeness of all pairs, remembered."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._peers: dict[int, dict[str, int]] = {}

    def peers_of(self, devices: Sequence[Device]) -> Mapping[int, Peers]:
        """For each of these indices its closeness to others, by their indices as text. A lost device is no new one.

        MIG instances have no peers: a job has one of them or none.
        """
        read = [device for device in devices if device.memory_total_mib is not None and not is_mig(device)]
        seen = {device.uuid: device.index for device in read if device.uuid is not None}
        if not self._known.issuperset(seen):
            self._known = frozenset(seen)
            try:
                self._peers = _read(sorted(seen.values()))
            except Exception as error:  # work can be placed without it
                log.crash("topology_unreadable", "an answer that is not understood; done without", error)
                self._peers = {}
        return self._peers


def _read(indices: list[int]) -> dict[int, dict[str, int]]:
    gpus = [gpu for gpu in map(_gpu, indices) if gpu is not None]
    peers: dict[int, dict[str, int]] = {gpu.index: {} for gpu in gpus}
    for one, other in combinations(gpus, 2):
        closeness = _closeness(one, other)
        if closeness is not None:
            peers[one.index][str(other.index)] = peers[other.index][str(one.index)] = closeness
    return peers


def _gpu(index: int) -> _Gpu | None:
    """A GPU with its links; None where it is lost meanwhile."""
    try:
        handle = nvml_calls.handle(index)
        links = nvml_calls.links(handle)
        place = or_none(lambda: nvml_calls.place(handle))
    except NVML_ERROR:
        return None
    direct = Counter(link.place for link in links if link.place is not None and not link.to_switch)
    return _Gpu(index, handle, place, direct, sum(link.to_switch for link in links))


def _closeness(one: _Gpu, other: _Gpu) -> int | None:
    """As `Device.peers` has it; None where it is not told."""
    direct = one.links[other.place] if other.place is not None else 0
    links = direct + min(one.switch_links, other.switch_links)
    if links:
        return NVLINK + links
    try:
        return or_none(lambda: nvml_calls.common_ancestor(one.handle, other.handle))
    except NVML_ERROR:
        return None
