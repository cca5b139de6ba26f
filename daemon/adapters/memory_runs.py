"""The processes' in-memory twin: runs that start because a loop says so, and that live and end as a test decides.

A `MemoryRuns` is a host. It outlives the daemons that use it: give the same one to the next daemon, and `adopt` finds
what an earlier one spawned. Each run is a `Process`, the test's side of it: it writes into the run's log, sees the stop
orders, and ends the run. `on_spawn` and `on_stop` let a test script both without waiting for them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from daemon.adapters.memory_files import MemoryFiles
from daemon.adapters.memory_hooks import Hook, Hooked, no_hook
from daemon.ports import RunEnd, RunSpec

FIRST_PID = 4000
FIRST_PORT = 20_000


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop order as a run got it."""

    grace_s: float
    save: bool
    at: datetime


@dataclass(slots=True, eq=False)
class Process:
    """One run as the test holds it."""

    spec: RunSpec
    pid: int
    started_at: datetime
    files: MemoryFiles
    stops: list[Stop] = field(default_factory=list[Stop])
    ended: RunEnd | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def run_id(self) -> str:
        return self.spec.run_id

    @property
    def alive(self) -> bool:
        return self.ended is None

    def write(self, text: str | bytes) -> None:
        """Write into the run's log, as its output streams do; lines end with a line feed of their own."""
        self.files.append(self.spec.log_path, text)

    def end(
        self, exit_code: int | None = 0, *, processes_left: int = 0, note: str = "", disk_full: bool = False
    ) -> None:
        """The run ends; with processes left, `kill_rest` ends those. A run ends once."""
        if self.ended is None:
            self.ended = RunEnd(exit_code, self.files.clock.now(), processes_left, note, disk_full=disk_full)
            self.over.set()

    def lose(self, note: str = "what was left of it has been ended", *, rebooted: bool = False) -> None:
        """The run is gone, and nobody knows how it ended: a killed runner, or a host that went down."""
        self.end(None, note=note)
        if rebooted and self.ended is not None:
            self.ended = replace(self.ended, rebooted=True, note="")

    def fence(self) -> None:
        """Its host's lease has run out."""
        self.end(-9)
        if self.ended is not None:
            self.ended = replace(self.ended, fenced=True)

    def kill_rest(self) -> None:
        """The processes that could not be ended are gone now."""
        if self.ended is not None:
            self.ended = replace(self.ended, processes_left=0)


def die_at_once(process: Process, stop: Stop) -> None:
    """An `on_stop`: a training that saves ends with code 0, another by its signal."""
    process.end(0 if stop.save else -15)


class MemoryRun:
    """`ports.Run`: a daemon's hold on a process."""

    def __init__(self, host: "MemoryRuns", process: Process) -> None:
        self._host = host
        self._process = process

    @property
    def run_id(self) -> str:
        return self._process.run_id

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def started_at(self) -> datetime:
        return self._process.started_at

    async def wait(self) -> RunEnd:
        """Wait until the test ended it."""
        async with self._host.calling("wait"):
            while self._process.ended is None:
                await self._process.over.wait()
            return self._process.ended

    async def stop(self, *, grace_s: float, save: bool) -> None:
        """Give the order to the process; one that has ended does not get it."""
        async with self._host.calling("stop"):
            if self._process.alive:
                stop = Stop(grace_s, save, self._host.files.clock.now())
                self._process.stops.append(stop)
                if self._host.on_stop is not None:
                    self._host.on_stop(self._process, stop)


class MemoryRuns(Hooked):
    """`ports.Runs`: a host in this process."""

    def __init__(
        self,
        files: MemoryFiles,
        *,
        on_spawn: Callable[[Process], None] | None = None,
        on_stop: Callable[[Process, Stop], None] | None = None,
        before_call: Hook = no_hook,
        after_call: Hook = no_hook,
    ) -> None:
        super().__init__(before_call, after_call)
        self.files = files
        self.on_spawn = on_spawn
        self.on_stop = on_stop
        self.spawned: list[RunSpec] = []
        """Every spec that was really started, in order."""
        self._processes: dict[str, Process] = {}
        self._port = FIRST_PORT
        self.leased_until_s: float | None = None
        """By the clock that never goes back; None: without end."""

    async def spawn(self, spec: RunSpec) -> MemoryRun:
        """Start a run; one of this id is taken up instead. A `SpawnError` of `before_call` is a start that failed."""
        async with self.calling("spawn"):
            if spec.run_id not in self._processes:
                pid = FIRST_PID + len(self.spawned)
                process = Process(spec, pid, self.files.clock.now(), self.files)
                self._processes[spec.run_id] = process
                self.spawned.append(spec)
                process.write("")
                if self.on_spawn is not None:
                    self.on_spawn(process)
            return MemoryRun(self, self._processes[spec.run_id])

    async def adopt(self, run_id: str) -> MemoryRun | None:
        """Take up a run by its record."""
        async with self.calling("adopt"):
            process = self._processes.get(run_id)
            return None if process is None else MemoryRun(self, process)

    async def forget(self, run_id: str) -> None:
        """Remove a record."""
        async with self.calling("forget"):
            self._processes.pop(run_id, None)

    async def lease(self, seconds: float | None) -> None:
        """Note the lease; the test's side ends what outlives it (`fence`)."""
        async with self.calling("lease"):
            self.leased_until_s = None if seconds is None else self.files.clock.monotonic() + seconds

    async def known(self) -> tuple[str, ...]:
        """The ids of the runs that have a record."""
        async with self.calling("known"):
            return tuple(self._processes)

    async def free_port(self) -> int:
        """The next port."""
        async with self.calling("free_port"):
            self._port += 1
            return self._port

    # ------------------------------------------------------------ the test's side

    @property
    def processes(self) -> tuple[Process, ...]:
        """The runs that have a record, oldest first."""
        return tuple(self._processes.values())

    @property
    def alive(self) -> tuple[Process, ...]:
        """Those that have not ended."""
        return tuple(process for process in self._processes.values() if process.alive)

    def fence(self) -> None:
        """What a host's runners do: end everything where the lease has run out."""
        if self.leased_until_s is not None and self.files.clock.monotonic() >= self.leased_until_s:
            for process in self.alive:
                process.fence()

    def process(self, run_id: str) -> Process:
        """The run of this id. Raises `KeyError`."""
        return self._processes[run_id]
