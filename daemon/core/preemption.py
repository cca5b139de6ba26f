"""Who has to give way: which running trainings are interrupted for work of a higher priority, where that is allowed.

As few and as unimportant ones as will do: on the node where the most important of them matters least, then where the
fewest devices are lost; of one priority those first that have run for the shortest time. What is ending already counts
as room, unless other work waits for it.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from daemon.core.places import Group, Places
from daemon.core.work import Held, Work

_BEGINNING = datetime.min.replace(tzinfo=UTC)


class Victims:
    """The trainings that may be interrupted, as a round goes on."""

    def __init__(self, held: Iterable[Held]) -> None:
        self._yielding: dict[str, list[Held]] = {}
        self._leaving: dict[str, set[int]] = {}
        for item in sorted(held, key=lambda item: (item.since or _BEGINNING, item.job_id), reverse=True):
            if item.yields_to is not None:
                self._yielding.setdefault(item.node_id, []).append(item)
            elif item.until is not None:
                self._leaving.setdefault(item.node_id, set()).update(item.devices)
        for items in self._yielding.values():
            items.sort(key=lambda item: item.yields_to or 0)

    def take(self, work: Work, group: Group, places: Places) -> tuple[int, list[Held]] | None:
        """The place and the trainings that give way; none of them where enough is ending there. None: nobody can."""
        best: tuple[tuple[int, int, int], list[Held]] | None = None
        for place, allowed in enumerate(group.allowed):
            if len(allowed) >= work.count:
                found = self._on(work, group, places, place)
                if found is not None:
                    key = (max((item.yields_to or 0 for item in found), default=-1), _lost(found), place)
                    if best is None or key < best[0]:
                        best = (key, found)
        if best is None:
            return None
        for item in best[1]:
            self._yielding[item.node_id].remove(item)
        return best[0][-1], best[1]

    def _on(self, work: Work, group: Group, places: Places, place: int) -> list[Held] | None:
        spot = places.spots[place]
        usable = (group.allowed[place] & spot.fit) - spot.awaited
        ending = usable & self._leaving.get(spot.view.node_id, set())
        missing = work.count - group.free[place] - len(ending)
        chosen: list[Held] = []
        for item in self._yielding.get(spot.view.node_id, []):
            gained = len(usable.intersection(item.devices))
            if missing > 0 and gained and (item.yields_to or 0) < work.priority:
                chosen.append(item)
                missing -= gained
        if missing > 0:
            return None
        for item in reversed(chosen[:-1]):  # what turns out to be needless goes on
            gained = len(usable.intersection(item.devices))
            if missing + gained <= 0:
                chosen.remove(item)
                missing += gained
        return chosen


def _lost(found: list[Held]) -> int:
    return sum(len(item.devices) for item in found)
