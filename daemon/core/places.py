"""Where work can run: the free devices of the nodes as a round of planning goes on, and what is kept for whom.

Work that may use the same devices is of one group, and a group knows its nodes by the number of free devices that it
may use there. So finding the tightest place costs the same on a thousand nodes as on ten, and only a change of a node
costs a little for each group. What is free only shrinks within a round.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from daemon.core.devices import is_mig
from daemon.core.links import best_connected
from daemon.core.work import NodeView, Work, end_of
from schemas.enums import DeviceState
from schemas.events import Device

FAR = datetime.max.replace(tzinfo=UTC)
Kind = tuple[str, float | None]
"""What tells devices apart for work that wants some and not others: name and total memory, MiB."""


@dataclass(slots=True)
class Spot:
    """A node that is online, as the round goes on."""

    view: NodeView
    devices: dict[int, Device]
    free: set[int]
    """What anybody may have."""
    fit: frozenset[int]
    """What can be had once it is not leased."""
    leased: dict[int, tuple[str, datetime | None]] = field(default_factory=dict[int, tuple[str, datetime | None]])
    """By device, the job that has it and when that ends at the latest."""
    kept: dict[int, str] = field(default_factory=dict[int, str])
    """By device that is free, the job that it is kept for."""
    awaited: set[int] = field(default_factory=set[int])
    """Leased devices for which work waits already."""
    keeping: "list[Keeping]" = field(default_factory=list["Keeping"])


class Group:
    """The devices of each node that work of one sort may use."""

    def __init__(
        self, spots: Sequence[Spot], kinds: frozenset[Kind] | None, pinned: tuple[int, ...], *, several: bool
    ) -> None:
        self.pinned = pinned
        self._several = several
        self.allowed = [self._allowed(spot, kinds) for spot in spots]
        self.most = max(map(len, self.allowed), default=0)
        """The largest number on one node, free or not."""
        self.free: list[int] = [0] * len(spots)
        """By node, how many of them are free."""
        self._by_free: list[list[int]] = [[] for _ in range(self.most + 1)]
        self.targets: dict[int, list[_Target]] = {}
        """By the number of devices needed, where keeping some is of use, best first."""
        for place, spot in enumerate(spots):
            self.update(place, spot)

    def _allowed(self, spot: Spot, kinds: frozenset[Kind] | None) -> frozenset[int]:
        """Those of these kinds (None: of any)."""
        if kinds is None:
            suiting = frozenset(spot.devices)
        else:
            suiting = frozenset(index for index, device in spot.devices.items() if kind_of(device) in kinds)
        if not self.pinned:
            # CUDA gives a process one instance of a GPU, so several are no use to one job
            return frozenset(i for i in suiting if not is_mig(spot.devices[i])) if self._several else suiting
        return frozenset(self.pinned) if suiting.issuperset(self.pinned) else frozenset()

    def update(self, place: int, spot: Spot) -> None:
        """The free devices of a node have changed."""
        count = len(spot.free & self.allowed[place])
        if count != self.free[place]:
            self.free[place] = count
            heapq.heappush(self._by_free[count], place)

    def tightest(self, count: int) -> int | None:
        """The node with the fewest free devices that are still enough; of several the first."""
        for free in range(count, self.most + 1):
            places = self._by_free[free]
            while places and self.free[places[0]] != free:
                heapq.heappop(places)
            if places:
                return places[0]
        return None


_Target = tuple[bool, datetime, int, int]
"""How good a node is to keep devices on: one that is known to be free in time comes first, the soonest; else the one
with the most free devices; then the first."""


@dataclass(slots=True)
class Keeping:
    """A reservation as the round goes on."""

    work: Work
    place: int
    devices: tuple[int, ...]
    starts_at: datetime | None

    def is_back(self, until: datetime) -> bool:
        """Whether what is used until then is back in time."""
        return self.starts_at is not None and until <= self.starts_at


class Places:
    """All nodes that are online, and all groups of work."""

    def __init__(self, nodes: Iterable[NodeView], now: datetime) -> None:
        self.spots = [_spot(node) for node in sorted(nodes, key=lambda node: node.node_id)]
        self.left = sum(len(spot.free) for spot in self.spots)
        """Devices that anybody may have."""
        self.keeping: list[Keeping] = []
        self._now = now
        self._by_id = {spot.view.node_id: spot for spot in self.spots}
        self._of_wish: dict[tuple[int | None, str | None, tuple[int, ...], bool], Group] = {}
        self._groups: dict[tuple[frozenset[Kind] | None, tuple[int, ...], bool], Group] = {}
        self._kinds: set[Kind] = set()

    def lease(self, job_id: str, node_id: str, devices: Iterable[int], until: datetime | None) -> None:
        """Devices that are given away already. Before any group is asked for."""
        spot = self._by_id.get(node_id)
        if spot is not None:
            for index in devices:
                spot.leased[index] = (job_id, until)
                self.left -= index in spot.free
                spot.free.discard(index)

    def group(self, work: Work) -> Group:
        """The group that work belongs to."""
        wish = (work.memory_mib, work.device_name, work.pinned, work.count > 1)
        group = self._of_wish.get(wish)
        if group is None:
            key = (self._suiting(work), work.pinned, work.count > 1)
            if key not in self._groups:
                self._groups[key] = Group(self.spots, key[0], key[1], several=key[2])
            group = self._of_wish[wish] = self._groups[key]
        return group

    def _suiting(self, work: Work) -> frozenset[Kind] | None:
        """The kinds of devices that suit the work; None: any."""
        if work.memory_mib is None and work.device_name is None:
            return None
        if not self._kinds:
            self._kinds = {kind_of(device) for spot in self.spots for device in spot.devices.values()}
        return frozenset(kind for kind in self._kinds if _suits(work, kind))

    # ------------------------------------------------------------ giving

    def take(self, work: Work, group: Group) -> tuple[int, tuple[int, ...]] | None:
        """The place and the devices that work gets of what anybody may have; None: too few are free anywhere."""
        place = self._least_avoided(work, group) if work.avoid else group.tightest(work.count)
        if place is None:
            return None
        devices = _choose(work, self.spots[place], self.spots[place].free & group.allowed[place])
        self._give(work, place, devices)
        return place, devices

    def borrow(self, work: Work, group: Group, until: datetime, behind: int) -> tuple[int, tuple[int, ...]] | None:
        """The same of what is kept for others too, where it is back before they start; None: there is none.

        Looks at what is kept from the reservation numbered `behind` on.
        """
        for keeping in self.keeping[behind:]:
            if not keeping.is_back(until):
                continue
            spot = self.spots[keeping.place]
            lent = {index for each in spot.keeping if each.is_back(until) for index in each.devices}
            there = (spot.free | (lent & spot.kept.keys())) & group.allowed[keeping.place]
            if len(there) >= work.count:
                devices = _choose(work, spot, there)
                self._give(work, keeping.place, devices)
                return keeping.place, devices
        return None

    def _give(self, work: Work, place: int, devices: tuple[int, ...]) -> None:
        spot = self.spots[place]
        until = end_of(self._now, work.timeout_s)
        for index in devices:
            if spot.kept.pop(index, None) is not None:
                spot.awaited.add(index)
            spot.leased[index] = (work.job_id, until)
        self._withdraw(place, devices)

    def _least_avoided(self, work: Work, group: Group) -> int | None:
        """The node where the fewest devices have to be taken that should be left alone; then the tightest."""
        fits: list[tuple[int, int, int]] = []
        for place, free in enumerate(group.free):
            if free >= work.count:
                spot = self.spots[place]
                good = (spot.free & group.allowed[place]) - _avoided(work, spot)
                fits.append((max(0, work.count - len(good)), free, place))
        return min(fits)[2] if fits else None

    def _withdraw(self, place: int, devices: Iterable[int]) -> None:
        """These are no longer for anybody."""
        spot = self.spots[place]
        before = len(spot.free)
        spot.free.difference_update(devices)
        self.left -= before - len(spot.free)
        for group in self._groups.values():
            group.update(place, spot)

    # ------------------------------------------------------------ keeping

    def keep(self, work: Work, group: Group) -> Keeping | None:
        """Keep what is free on the best node for work that needs more; None: there is nothing to keep or to await."""
        targets = group.targets.get(work.count)
        if targets is None:
            able = (place for place, allowed in enumerate(group.allowed) if len(allowed) >= work.count)
            targets = group.targets[work.count] = [self._target(work, group, place) for place in able]
            heapq.heapify(targets)
        while targets:
            best = self._target(work, group, targets[0][-1])
            if best != targets[0]:  # it has become worse, as all do while a round goes on
                heapq.heapreplace(targets, best)
                continue
            unknown, starts_at, free, place = best
            if unknown and not free:
                heapq.heappop(targets)  # and so it stays
                continue
            return self._keep(work, group, place, None if unknown else starts_at)
        return None

    def keep_at(self, work: Work, group: Group, place: int, awaited: Iterable[int]) -> Keeping:
        """Keep what is free on this node, and the devices that are about to be."""
        self.spots[place].awaited.update(awaited)
        return self._keep(work, group, place, None)

    def _keep(self, work: Work, group: Group, place: int, starts_at: datetime | None) -> Keeping:
        spot = self.spots[place]
        devices = tuple(sorted(spot.free & group.allowed[place]))
        if starts_at is not None:
            spot.awaited.update(index for _, index in self._ends(spot, group, place)[: work.count - len(devices)])
        spot.kept.update(dict.fromkeys(devices, work.job_id))
        self._withdraw(place, devices)
        keeping = Keeping(work, place, devices, starts_at)
        self.keeping.append(keeping)
        spot.keeping.append(keeping)
        return keeping

    def _target(self, work: Work, group: Group, place: int) -> _Target:
        missing = work.count - group.free[place]
        ends = self._ends(self.spots[place], group, place)
        if len(ends) < missing:
            return (True, FAR, -group.free[place], place)
        return (False, ends[missing - 1][0], -group.free[place], place)

    def _ends(self, spot: Spot, group: Group, place: int) -> list[tuple[datetime, int]]:
        """When leased devices that nobody waits for yet are free again, the first one first."""
        allowed = (group.allowed[place] & spot.fit) - spot.awaited
        return sorted(
            (until, index) for index, (_, until) in spot.leased.items() if until is not None and index in allowed
        )


def _spot(node: NodeView) -> Spot:
    devices = {device.index: device for device in node.devices}
    free = {index for index, device in devices.items() if device.state is DeviceState.FREE}
    leased = (index for index, device in devices.items() if device.state is DeviceState.LEASED)
    return Spot(node, devices, free, frozenset([*free, *leased]))


def kind_of(device: Device) -> Kind:
    """What of a device work can ask for."""
    return device.name, device.memory_total_mib


def _suits(work: Work, kind: Kind) -> bool:
    name, memory_mib = kind
    enough = work.memory_mib is None or (memory_mib is not None and memory_mib >= work.memory_mib)
    return enough and (work.device_name is None or fnmatchcase(name.lower(), work.device_name.lower()))


def _avoided(work: Work, spot: Spot) -> set[int]:
    """The node's devices that the work should leave alone."""
    return {index for node_id, index in work.avoid if node_id == spot.view.node_id}


def _choose(work: Work, spot: Spot, there: set[int]) -> tuple[int, ...]:
    """Of these devices, those that the work gets: none that it should avoid, none that is kept, close to each other."""
    if work.pinned:
        return work.pinned
    avoided = _avoided(work, spot)
    ranked = sorted(there, key=lambda index: (index in avoided, index in spot.kept, index))
    needless = ranked[work.count :]
    worst = ranked[work.count - 1]
    if not needless or worst in avoided or worst in spot.kept:
        return tuple(sorted(ranked[: work.count]))
    good = [index for index in ranked if index not in avoided and index not in spot.kept]
    return best_connected(good, work.count, spot.devices)
