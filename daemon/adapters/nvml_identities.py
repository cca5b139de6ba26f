"""Which devices each GPU is: itself, or the MIG instances that it is cut into, each with its number on the node.

An instance has no index of NVML's that would be one among GPUs, so it gets 1000 + 10 x the GPU's index + its place
there: 1032 is the third one of GPU 3. It keeps that for as long as the daemon runs, whatever happens to its
neighbours, because leases name devices by index; NVML may number those that are left anew.

A GPU that is lost tells nothing any more. What it was is remembered here, so that what is held against it then is held
against the same devices when it is back.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

FIRST = 1000
MOST_ON_GPU = 10
"""NVML allows seven."""
NOTHING: Mapping[str, int] = MappingProxyType({})


def gpu_of(index: int) -> int:
    """NVML's index of the GPU that a device is, or is a part of."""
    return index if index < FIRST else (index - FIRST) // MOST_ON_GPU


class Identities:
    """What each GPU was when it was last read: the number of each of its devices, by their own ids."""

    def __init__(self) -> None:
        self._known: dict[int, Mapping[str, int]] = {}

    def of(self, gpu: int) -> Mapping[str, int]:
        """What is known of it; nothing where it was never read."""
        return self._known.get(gpu, NOTHING)

    def whole(self, gpu: int, uuid: str | None) -> None:
        """It is one device."""
        self._known[gpu] = NOTHING if uuid is None else {uuid: gpu}

    def cut(self, gpu: int, uuids: Sequence[str]) -> Mapping[str, int]:
        """It is cut into these instances, in NVML's order; a number for each."""
        before = self.of(gpu)
        numbers = {uuid: before[uuid] for uuid in uuids if uuid in before}
        places = [FIRST + MOST_ON_GPU * gpu + place for place in range(MOST_ON_GPU)]
        for place, uuid in enumerate(uuids):
            if uuid not in numbers:
                taken = set(numbers.values())
                numbers[uuid] = next(number for number in (places[place], *places) if number not in taken)
        self._known[gpu] = numbers
        return numbers
