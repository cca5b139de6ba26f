"""Which devices of a node work well together: those that NVML calls close, by NVLink before PCIe before the sockets."""

from collections.abc import Mapping, Sequence

from schemas.events import Device


def best_connected(there: Sequence[int], count: int, devices: Mapping[int, Device]) -> tuple[int, ...]:
    """So many of these devices, close to each other; the first ones where nothing is known of that.

    Greedy: from each device on, the closest to those already chosen comes next; the best of these sets is taken, and of
    several the one with the lowest indices. Looks at count x n² pairs, of the few devices of one node.
    """
    first = tuple(sorted(there[:count]))
    if count == 1 or len(there) == count or not any(devices[index].peers for index in there):
        return first
    best = min(_grown(seed, there, count, devices) for seed in there)
    return best[1]


def _grown(seed: int, there: Sequence[int], count: int, devices: Mapping[int, Device]) -> tuple[int, tuple[int, ...]]:
    """The set around a device, with its closeness as a negative number."""
    chosen, total = [seed], 0
    gained = {index: closeness(devices, seed, index) for index in there if index != seed}
    while len(chosen) < count:
        following = min(gained, key=lambda index: (-gained[index], index))
        total += gained.pop(following)
        chosen.append(following)
        for index in gained:
            gained[index] += closeness(devices, following, index)
    return -total, tuple(sorted(chosen))


def closeness(devices: Mapping[int, Device], one: int, other: int) -> int:
    """How close two devices are; 0 where nobody knows."""
    return devices[one].peers.get(str(other), 0)
