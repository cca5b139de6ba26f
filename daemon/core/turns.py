"""Whose turn it is: priority, then the owners' fair shares, then age.

Of one priority, the owner comes next who has the fewest devices for their weight; of one owner, the oldest work. What
an owner has is what they hold now and what their work further ahead gets or waits for. So the turns of two owners with
long queues alternate, whichever of them was first, and who comes late is not behind the whole queue of another.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence

from daemon.core.work import Held, Shares, Waiting, Work

_Key = tuple[int, float, float, str, str, str]


def order(work: Iterable[Work]) -> list[Work]:
    """By priority (highest first), then age, then id, so that the order is total: the turns of one owner."""
    return sorted(work, key=lambda item: (-item.priority, item.queued_at, item.job_id, item.kind))


def front(work: Sequence[Work], limit: int) -> Waiting:
    """The front of the queue, `work` being in order: everything, or as much of each owner's as `limit` has room for."""
    if len(work) <= limit:
        return Waiting(tuple(work))
    return first_of_each(work, share_of(limit, len({item.owner for item in work})))


def share_of(limit: int, owners: int) -> int:
    """How much of each owner's work is read where there is room for `limit`."""
    return max(1, limit // owners)


def first_of_each(work: Iterable[Work], each: int) -> Waiting:
    """So much of each owner's, `work` being in order."""
    seen: dict[str | None, int] = {}
    chosen: list[Work] = []
    for item in work:
        seen[item.owner] = seen.get(item.owner, 0) + 1
        if seen[item.owner] <= each:
            chosen.append(item)
    return Waiting(tuple(chosen), frozenset(owner for owner, count in seen.items() if count > each))


class Turns:
    """Hands out work, one by one; between two of them the owner of the last may be charged for it."""

    def __init__(
        self, waiting: Iterable[Work], held: Iterable[Held], shares: Shares, cut: frozenset[str | None]
    ) -> None:
        self._shares = shares
        self._cut = {owner or "" for owner in cut}
        self._queues: dict[str, list[Work]] = {}
        for work in reversed(order(waiting)):  # so that the next one is at the end
            self._queues.setdefault(work.owner or "", []).append(work)
        self._has: dict[str, int] = {}
        for item in held:
            self.charge(item.owner, len(item.devices))
        self.ran_out = False
        """An owner whose queue is cut has nothing more here, so what comes now may not be theirs to take."""

    def charge(self, owner: str | None, devices: int) -> None:
        """So many devices more are the owner's, or wait to be."""
        self._has[owner or ""] = self._has.get(owner or "", 0) + devices

    def __iter__(self) -> Iterator[Work]:
        """All of it, each with its turn."""
        heap = [self._key(owner) for owner in self._queues]
        heapq.heapify(heap)
        while heap:
            owner = heap[0][-1]
            queue = self._queues[owner]
            yield queue.pop()
            if queue:
                heapq.heapreplace(heap, self._key(owner))
            else:
                heapq.heappop(heap)
                self.ran_out = self.ran_out or owner in self._cut

    def _key(self, owner: str) -> _Key:
        """By this the heads of the owners' queues compare. An owner's own changes only with their own turns."""
        head = self._queues[owner][-1]
        share = self._has.get(owner, 0) / self._shares.weight(owner)
        return (-head.priority, share, head.queued_at.timestamp(), head.job_id, head.kind, owner)
