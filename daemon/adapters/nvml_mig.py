"""MIG instances as devices of their own: which number each has on its node.

An instance has no index of NVML's that would be one among GPUs, so it gets 1000 + 10 x the GPU's index + its place
there: 1032 is the third one of GPU 3. It keeps that for as long as the daemon runs, whatever happens to its
neighbours, because leases name devices by index; NVML may number those that are left anew.
"""

from collections.abc import Mapping, Sequence

FIRST = 1000
MOST_ON_GPU = 10
"""NVML allows seven."""


def gpu_of(index: int) -> int:
    """NVML's index of the GPU that a device is, or is a part of."""
    return index if index < FIRST else (index - FIRST) // MOST_ON_GPU


class Instances:
    """The numbers that were given, by GPU and by the instances' own ids."""

    def __init__(self) -> None:
        self._given: dict[int, Mapping[str, int]] = {}

    def numbered(self, gpu: int, uuids: Sequence[str]) -> Mapping[str, int]:
        """A number for each of the instances that a GPU has now, which come in NVML's order."""
        before = self._given.get(gpu, {})
        numbers = {uuid: before[uuid] for uuid in uuids if uuid in before}
        places = [FIRST + MOST_ON_GPU * gpu + place for place in range(MOST_ON_GPU)]
        for place, uuid in enumerate(uuids):
            if uuid not in numbers:
                taken = set(numbers.values())
                numbers[uuid] = next(number for number in (places[place], *places) if number not in taken)
        self._given[gpu] = numbers
        return numbers
