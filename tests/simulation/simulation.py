"""One seed, from the first daemon's start to the rest after the storm.

The storm: daemons on one or two hosts, a stranger's commands, and whatever can go wrong does, at moments that the seed
chooses. Then calm: everything is there again, nothing fails any more, and within an hour every command must be
settled, every job ended or never started, every event published. The audit looks on all the time.
"""

import asyncio
import contextlib
import logging
import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from daemon.adapters.memory_runs import MemoryRuns, Process
from daemon.core.lifecycle import ENDED, EXPORT_UNDER_WAY
from daemon.logs import ROOT
from schemas.enums import TrainingStatus
from tests.loops.rig import World
from tests.simulation.audit import Audit
from tests.simulation.clock import SimLoop
from tests.simulation.daemons import Daemons
from tests.simulation.ending import check_end
from tests.simulation.hosts import Hosts
from tests.simulation.stage import Stage
from tests.simulation.storm import Storm
from tests.simulation.stranger import STOPS_AFTER_S, Stranger
from tests.simulation.twins import SimBroker, SimFiles, SimStore

CALM_LIMIT_S = 3600.0
LEASE_LOOK_S = 0.7
OPERATOR_LOOKS_S = 50.0
AFTERWARDS_S = 40.0
"""Looked on for so long after the end, because late duplicates must change nothing."""
AT_REST = ENDED | {TrainingStatus.PENDING}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a seed."""

    seed: int
    broken: tuple[str, ...]
    trace: tuple[str, ...]

    @property
    def summary(self) -> str:
        """What is broken, and how to see it again."""
        found = "\n".join(f"  - {line}" for line in self.broken)
        command = f"make sim SIM_ARGS='--seed {self.seed}'"
        return f"seed {self.seed} is broken:\n{found}\n  again: {command}"

    @property
    def report(self) -> str:
        """The summary, and what was done."""
        return f"{self.summary}\n" + "\n".join(self.trace)


class Simulation:
    """Everything of one seed."""

    def __init__(self, seed: int) -> None:
        stage = self.stage = Stage(seed)
        world = World(clock=stage.clock)
        self.broker = world.broker = SimBroker(stage.clock)
        self.store = world.store = SimStore(stage.clock.now)
        self.files = world.files = SimFiles(stage.clock)
        self.daemons = Daemons(stage, self.broker, self.store, self.files)
        self.hosts = Hosts(stage, world)
        self.audit = Audit(stage, self.hosts)
        dice = stage.dice("size")
        devices, nodes, self._jobs = dice.randint(1, 3), dice.choice((1, 1, 1, 2)), dice.randint(1, 4)
        self.stranger = Stranger(stage, self.broker, devices, self._told_status, nodes=nodes)
        self.storm = Storm(stage, self.daemons, self.hosts, self.broker, self.files)
        stage.note(f"{nodes} nodes with {devices} devices, {self._jobs} jobs")
        self._wire()
        for node_id in ("a", "b")[:nodes]:
            self.daemons.add(node_id, self._host(node_id), devices)
        if self.daemons.lost_s:
            stage.play(self._runners())
        stage.play(self._operator())

    def _wire(self) -> None:
        """Let the twins tell the audit and be told of faults."""
        faults = self.daemons.faults
        self.files.before_call, self.files.after_call = faults["files"].before, faults["files"].after
        self.store.before_call, self.store.after_call = faults["store"].before, faults["store"].after
        self.files.on_remove = self.audit.removed
        self.store.on_write = self.audit.job_written
        self.store.on_progress = self.audit.progress_noted
        self.store.on_delete = self.audit.job_deleted
        self.audit.on_event = self.stranger.hear

    def _host(self, node_id: str) -> MemoryRuns:
        def spawned(process: Process) -> None:
            job = self.store.jobs.get(process.spec.env["SWIFT_TRAINER_JOB_ID"])
            self.audit.spawned(node_id, process, job)

        return MemoryRuns(
            self.files,
            on_spawn=spawned,
            on_stop=lambda process, stop: self.hosts.stop(self.hosts.runs[process.run_id], stop),
        )

    def _runners(self) -> Iterator[float]:
        """The runners of all hosts keep to the lease without their daemon."""
        while True:
            yield LEASE_LOOK_S
            for node in self.daemons.nodes:
                node.runs.fence()

    def _operator(self) -> Iterator[float]:
        """Somebody mends the devices that were drained as sick, sooner or later."""
        while True:
            yield OPERATOR_LOOKS_S
            for node in self.store.node_records.values():
                if node.internal.drains and self.storm.over:
                    self.broker.send("node.resume", {"node_id": node.node_id})

    def _told_status(self, job_id: str) -> str | None:
        """The status that a subscriber knows of."""
        told = [event.data["status"] for event in self.audit.history(job_id) if "status" in event.data]
        return str(told[-1]) if told else None

    # ------------------------------------------------------------ the run

    async def run(self) -> None:
        """Let it happen until all is quiet, and check the end."""
        self.storm.plan()
        self.stranger.wish(self._jobs, self.storm.lasts_s)
        self.stage.after(self.storm.lasts_s + STOPS_AFTER_S, self.stranger.stop_rest)
        limit_s = self.storm.lasts_s + CALM_LIMIT_S
        quiet_since_s: float | None = None
        while not self.stage.broken:
            passed_s = self.stage.clock.passed_s
            quiet = self.storm.over and not self._unrest()
            quiet_since_s = (quiet_since_s or passed_s) if quiet else None
            if quiet_since_s is not None and passed_s >= quiet_since_s + AFTERWARDS_S:
                break
            if passed_s > limit_s or not self._step():
                self._tell_unrest()
                break
            await self.stage.clock.settle()
            self.stranger.read()
            self.audit.read_events(self.broker.events)
        if not self.stage.broken:
            check_end(self.stage, self.store, self.files, self.hosts, self.audit, self.stranger, self.broker)
        for life in self.daemons.lives:
            life.kill()
        await self.stage.clock.settle()

    def _step(self) -> bool:
        """Go on to what comes next: somebody wakes, or something on the agenda is due. False: nothing ever comes."""
        wake_s, due_s = self.stage.clock.next_s, self.stage.due_s
        if due_s is not None and (wake_s is None or due_s <= wake_s):
            self.stage.act()
        elif wake_s is not None:
            self.stage.clock.wake_next()
        else:
            return False
        return True

    def _unrest(self) -> list[str]:
        """What has not come to its end."""
        return [*self._unrest_of_jobs(), *self._unrest_of_commands()]

    def _unrest_of_jobs(self) -> list[str]:
        return [
            f"{job.id} is {job.status}, export {job.export_status}, {len(job.internal.outbox)} events unpublished"
            for job in self.store.jobs.values()
            if job.status not in AT_REST or job.export_status in EXPORT_UNDER_WAY or job.internal.outbox
        ]

    def _unrest_of_commands(self) -> list[str]:
        unsettled = [f"{order.command} {order.message_id} is not settled" for order in self.stranger.unsettled]
        if self.broker.waiting or self.broker.unacknowledged:
            unsettled.append(f"{self.broker.waiting} commands wait, {self.broker.unacknowledged} are unacknowledged")
        nodes = self.store.node_records.values()
        return unsettled + [f"node {node.node_id} has unpublished events" for node in nodes if node.internal.outbox]

    def _tell_unrest(self) -> None:
        for unrest in self._unrest() or ["it never came to rest"]:
            self.stage.breaks(f"an hour after the storm: {unrest}")


def simulate(seed: int) -> Outcome:
    """Play one seed."""
    simulation = Simulation(seed)
    stage = simulation.stage
    with (
        warnings.catch_warnings(),
        _watched_log(stage),
        asyncio.Runner(loop_factory=lambda: SimLoop(stage.clock)) as runner,
    ):
        # a daemon that dies in its first instant leaves loops that have never begun
        warnings.filterwarnings("ignore", message="coroutine '.*' was never awaited")
        try:
            runner.run(simulation.run())
        except Exception as error:  # whatever it is, the seed and its trace must be told
            stage.breaks(f"it fell over: {error!r}")
    return Outcome(seed, tuple(stage.broken), tuple(stage.trace))


class _Crashes(logging.Handler):
    """Hears of bugs that the daemon caught and logged."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(logging.ERROR)
        self._stage = stage

    def emit(self, record: logging.LogRecord) -> None:
        """A line with a trace is a bug."""
        if record.exc_info:
            self._stage.breaks(f"the daemon logged a bug: {record.getMessage()}: {record.exc_info[1]!r}")


@contextlib.contextmanager
def _watched_log(stage: Stage) -> Generator[None]:
    logger = logging.getLogger(ROOT)
    before = (logger.level, logger.propagate)
    handler = _Crashes(stage)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before
