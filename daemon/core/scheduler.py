"""The scheduler: who starts where, and why everybody else waits. A pure function of what is known.

Each piece of work has its turn (`turns`), and gets the tightest place that is free (`places`). Work that can't start
yet has kept for it what is free on the node that comes closest to fitting it, so that smaller work behind it can't take
those devices for ever. Where it is known when the rest becomes free, because what runs there has a time limit, smaller
work that is over by then may borrow what is kept. Work that no node could ever run says so, and has nothing kept.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from daemon.core import reasons
from daemon.core.dependencies import Statuses, hopeless, unmet
from daemon.core.places import Group, Places
from daemon.core.preemption import Victims
from daemon.core.turns import Turns
from daemon.core.work import (
    EQUAL,
    Held,
    Interruption,
    NodeView,
    Plan,
    Reservation,
    Shares,
    Start,
    Work,
    WorkKind,
    end_of,
)
from schemas.enums import NodeState

_Shape = tuple[Group, int]
"""Work of one shape fits, or does not, all alike."""


def plan(
    waiting: Sequence[Work],
    nodes: Sequence[NodeView],
    held: Sequence[Held],
    now: datetime,
    shares: Shares = EQUAL,
    blocked: Mapping[str, str] = MappingProxyType({}),
    statuses: Statuses = MappingProxyType({}),
    cut: frozenset[str | None] = frozenset(),
    preempts: bool = False,
) -> Plan:
    """Decide what starts now. The answer depends on the arguments alone, not on their order.

    `blocked` has the trainings that something else than devices keeps from starting, each with the reason; `statuses`
    the jobs that others come after; `cut` the owners who have more work than is in `waiting`;
    `preempts` is whether running trainings give way to a higher priority.
    """
    decision = _Round(nodes, held, now, shares, statuses)
    decision.victims = Victims(held) if preempts else None
    turns = Turns(waiting, held, shares, cut)
    for work in turns:
        if turns.ran_out and decision.left is None:
            decision.left = decision.places.left
        reason = blocked.get(work.job_id) if work.kind is WorkKind.TRAIN else None
        if decision.look_at(work, reason):
            turns.charge(work.owner, work.count)
    if turns.ran_out and decision.left is None:
        decision.left = decision.places.left
    return decision.plan()


class _Round:
    """One look at all that waits, turn by turn."""

    def __init__(
        self, nodes: Sequence[NodeView], held: Sequence[Held], now: datetime, shares: Shares, statuses: Statuses
    ) -> None:
        self._statuses = statuses
        self._nodes = nodes
        self._now = now
        self._shares = shares
        self.places = Places((node for node in nodes if node.state is NodeState.ONLINE), now)
        self._has: dict[str | None, int] = {}
        """Devices by owner."""
        for item in sorted(held, key=lambda item: (item.job_id, item.kind)):
            self.places.lease(item.job_id, item.node_id, item.devices, item.until)
            self._has[item.owner] = self._has.get(item.owner, 0) + len(item.devices)
        self._full: dict[str | None, str] = {}
        """By owner, the job that waits for the owner's quota."""
        self._stuck: set[_Shape] = set()
        """What fits nowhere any more, because what is free only shrinks."""
        self._dry: set[_Shape] = set()
        """Of these, what there is nothing to keep for any more."""
        self._tried: dict[_Shape, tuple[datetime, int]] = {}
        """Borrowing until then failed, at so many reservations."""
        self._starts: list[Start] = []
        self._waits: list[tuple[Work, str | None]] = []
        """Without a reason: to be said when all is decided, because it is the same for all of one shape."""
        self._turns: list[Work] = []
        self._hopeless: list[tuple[Work, str]] = []
        self.left: int | None = None
        self.victims: Victims | None = None
        self._interruptions: list[Interruption] = []
        self._unyielding: dict[_Shape, int] = {}
        """The highest priority that nobody has room to give way to."""

    def look_at(self, work: Work, blocked: str | None) -> bool:
        """Decide about one piece of work: whether it takes its owner's turn."""
        self._turns.append(work)
        reason = self._why_not_now(work, blocked)
        if reason is not None:
            self._waits.append((work, reason))
            return False
        self._devices_for(work)
        return True

    def _why_not_now(self, work: Work, blocked: str | None) -> str | None:
        """What keeps it from starting, whatever is free."""
        if blocked is not None:
            return blocked
        if work.after and (reason := self._why_after(work)) is not None:
            return reason
        if work.not_before is not None and work.not_before > self._now:
            return f"waits until {reasons.at(work.not_before)}, before which it may not start"
        if not self.places.spots:
            return reasons.why_no_node(self._nodes)
        group = self.places.group(work)
        return reasons.why_never(work, self.places, group) if group.most < work.count else self._why_quota(work)

    def _why_quota(self, work: Work) -> str | None:
        """What the owner's quota keeps from starting."""
        most = self._shares.most_devices(work.owner)
        if most is None:
            return None
        if work.owner in self._full:
            return reasons.why_after_other(work, self._full[work.owner])
        has = self._has.get(work.owner, 0)
        if has + work.count <= most:
            return None
        if work.count <= most:
            self._full[work.owner] = work.job_id
        return reasons.why_quota(work, self._shares, has)

    def _why_after(self, work: Work) -> str | None:
        reason = hopeless(work, self._statuses)
        if reason is not None:
            self._hopeless.append((work, reason))
            return reason
        return unmet(work, self._statuses)

    def _devices_for(self, work: Work) -> None:
        """Start it, or keep for it what there is."""
        group = self.places.group(work)
        shape = (group, work.count)
        found = None if shape in self._stuck else self.places.take(work, group)
        if found is None:
            self._stuck.add(shape)
            found = self._borrow(work, shape)
        if found is not None:
            place, devices = found
            self._starts.append(Start(work, self.places.spots[place].view.node_id, devices))
            self._has[work.owner] = self._has.get(work.owner, 0) + work.count
            return
        if self._makes_room(work, shape):
            self._waits.append((work, None))
            return
        keeping = None if shape in self._dry else self.places.keep(work, group)
        if keeping is None:
            self._dry.add(shape)
        self._waits.append((work, None))

    def _makes_room(self, work: Work, shape: _Shape) -> bool:
        """Whether running trainings give way to the work."""
        if self.victims is None or work.kind is not WorkKind.TRAIN or work.priority <= self._unyielding.get(shape, -1):
            return False
        found = self.victims.take(work, shape[0], self.places)
        if found is None:
            self._unyielding[shape] = work.priority
            return False
        place, victims = found
        if not victims:  # enough is ending there
            return False
        self.places.keep_at(work, shape[0], place, (index for item in victims for index in item.devices))
        self._interruptions += [Interruption(item.job_id, item.node_id, work) for item in victims]
        return True

    def _borrow(self, work: Work, shape: _Shape) -> tuple[int, tuple[int, ...]] | None:
        until = end_of(self._now, work.timeout_s)
        if until is None:
            return None
        failed_until, looked_at = self._tried.get(shape, (until, 0))
        behind = looked_at if until >= failed_until else 0
        found = self.places.borrow(work, shape[0], until, behind)
        if found is None:
            self._tried[shape] = (min(until, failed_until), len(self.places.keeping))
        return found

    # ------------------------------------------------------------ the answer

    def plan(self) -> Plan:
        """What was decided."""
        kept = {(keeping.work.job_id, keeping.work.kind): keeping for keeping in self.places.keeping}
        behind: dict[tuple[_Shape, int | None, str | None], str] = {}
        waits: list[tuple[Work, str]] = []
        for work, said in self._waits:
            if said is not None:
                waits.append((work, said))
                continue
            group = self.places.group(work)
            keeping = kept.get((work.job_id, work.kind))
            if keeping is not None:
                waits.append((work, reasons.why_kept(work, self.places, group, keeping)))
                continue
            key = ((group, work.count), work.memory_mib, work.device_name)
            if key not in behind:
                behind[key] = reasons.why_behind(work, self.places, group)
            waits.append((work, behind[key]))
        return Plan(
            starts=tuple(self._starts),
            waits=tuple(waits),
            turns=tuple(self._turns),
            reservations=tuple(
                Reservation(each.work, self.places.spots[each.place].view.node_id, each.devices, each.starts_at)
                for each in self.places.keeping
            ),
            interruptions=tuple(self._interruptions),
            hopeless=tuple(self._hopeless),
            left=self.left or 0,
        )
