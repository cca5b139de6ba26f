"""Many jobs at once, as a value of their views: who is on the board, in which order, and what ended meanwhile. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from daemon.cli.job_view import EXPORTING, JobView
from daemon.core.lifecycle import ENDED
from schemas.enums import TrainingStatus

LINGER_S = 15.0
"""How long one that has ended stays to be seen."""
UNFINISHED = tuple(status for status in TrainingStatus if status not in ENDED)
_TURNS = (
    TrainingStatus.RUNNING,
    TrainingStatus.STOPPING,
    TrainingStatus.STARTING,
    *(status for status in TrainingStatus if status in ENDED),
    TrainingStatus.QUEUED,
    TrainingStatus.PENDING,
)


@dataclass(frozen=True)
class Wanted:
    """Which jobs are watched; what is not given lets all through."""

    owner: str | None = None
    label: str | None = None
    """A label's name, or `name=value`."""
    statuses: Collection[TrainingStatus] = ()
    job_ids: Collection[str] = ()

    def admits(self, job_id: str, owner: object, labels: Mapping[str, object]) -> bool:
        """Whether a job belongs here, whatever it does now."""
        name, equals, value = (self.label or "").partition("=")
        return (
            (not self.job_ids or job_id in self.job_ids)
            and (self.owner is None or owner == self.owner)
            and (self.label is None or (name in labels and (not equals or labels[name] == value)))
        )

    def shows(self, view: JobView) -> bool:
        """Whether it is to be seen as it stands now."""
        return not self.statuses or view.status in self.statuses


@dataclass
class Board:
    """The jobs that are watched."""

    wanted: Wanted = Wanted()
    views: dict[str, JobView] = field(default_factory=dict[str, JobView])
    _ended_at_s: dict[str, float] = field(default_factory=dict[str, float])
    _counted: set[str] = field(default_factory=set[str])
    """Those whose present end is counted: an export that somebody orders afterwards is none."""
    _ended: Counter[str] = field(default_factory=Counter[str])
    _failed: bool = False

    def put(self, view: JobView, now_s: float) -> None:
        """Take a job in, or what is new of it. One that had ended before it was seen is only shown if asked for."""
        if view.job_id not in self.views and not self.wanted.job_ids:
            if view.ended:
                return
            if view.status in ENDED:  # somebody exports what ended before
                self._counted.add(view.job_id)
        self.views[view.job_id] = view
        if view.status not in ENDED:
            self._counted.discard(view.job_id)
        if not view.ended:
            self._ended_at_s.pop(view.job_id, None)
        elif view.job_id not in self._ended_at_s:
            self._ended_at_s[view.job_id] = now_s
            self._count(view)

    def _count(self, view: JobView) -> None:
        self._failed = self._failed or not view.succeeded
        if view.job_id not in self._counted:
            self._counted.add(view.job_id)
            self._ended[view.status] += 1

    def unfinished(self) -> set[str]:
        """Those that wait, run or export, as far as is known here."""
        return {job_id for job_id, view in self.views.items() if not view.ended}

    def ended_of(self, job_ids: Collection[str]) -> bool:
        """Whether all of these have ended, or are gone."""
        return all(job_id not in self.views or self.views[job_id].ended for job_id in job_ids)

    @property
    def all_succeeded(self) -> bool:
        """Whether each that ended while it was watched completed, its export too."""
        return not self._failed

    def drop(self, job_id: str) -> None:
        """It was deleted."""
        self.views.pop(job_id, None)
        self._ended_at_s.pop(job_id, None)
        self._counted.discard(job_id)

    def age(self, now_s: float) -> None:
        """Let go of those that ended a while ago."""
        for job_id in [found for found, at_s in self._ended_at_s.items() if now_s - at_s > LINGER_S]:
            self.drop(job_id)

    def shown(self) -> list[JobView]:
        """What is to be seen: running ones first, those that wait last, older before newer."""
        seen = filter(self.wanted.shows, self.views.values())
        return sorted(seen, key=lambda view: (_TURNS.index(view.status), view.created_at, view.job_id))

    def tally(self) -> str:
        """`2 running, 1 queued, 1 exporting; ended since: 1 completed`."""
        left = [view for view in self.views.values() if not view.ended]
        now = Counter[str](EXPORTING if view.status in ENDED else view.status for view in left)
        ended = _listed(self._ended, (status for status in TrainingStatus if status in ENDED))
        unfinished = _listed(now, (*(status for status in _TURNS if status in UNFINISHED), EXPORTING))
        return (unfinished or "nothing unfinished") + (f"; ended since: {ended}" if ended else "")


def _listed(counts: Mapping[str, int], names: Iterable[str]) -> str:
    return ", ".join(f"{counts[name]} {name}" for name in names if counts.get(name))
