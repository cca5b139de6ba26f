"""The daemons on their hosts: started, crashed, stopped, and always started again some time later."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from daemon.adapters.cpu_devices import CpuSlots
from daemon.adapters.memory_meters import MemoryMeters
from daemon.adapters.memory_runs import MemoryRuns
from daemon.adapters.memory_toolchain import MemoryToolchain
from daemon.app import serve
from daemon.loops.context import Context
from tests.loops.rig import make_settings
from tests.simulation.faults import WORTH_A_CRASH, LossySignals, PortFaults
from tests.simulation.lives import Doom, Life
from tests.simulation.stage import Stage
from tests.simulation.twins import SimBroker, SimBus, SimFiles, SimStore

MOST_DOOMS = 6
GRACE_S = 5.0


@dataclass(slots=True, eq=False)
class Node:
    """A host, and the daemon on it where one lives."""

    node_id: str
    runs: MemoryRuns
    devices: int
    poll_s: float
    on_exit: str
    preemption: bool
    life: Life | None = None
    bus: SimBus | None = None
    lives: int = 0


class Daemons:
    """Those of all hosts."""

    def __init__(self, stage: Stage, broker: SimBroker, store: SimStore, files: SimFiles) -> None:
        self._stage = stage
        self._dice = stage.dice("daemons")
        self._broker = broker
        self._store = store
        self._files = files
        self.faults: Mapping[str, PortFaults] = {
            port: PortFaults(stage, port, self.crash) for port in ("store", "bus", "runs", "files")
        }
        self.nodes: list[Node] = []
        self.lost_s = self._dice.choice((0.0, 0.0, 40.0))
        """After so long a silent node is lost; 0: never. The same for all nodes, but that need not be."""
        self._preemption = stage.dice("preemption").random() < 0.5
        self.doomed = True
        """Daemons may crash by themselves."""

    @property
    def lives(self) -> list[Life]:
        """The daemons that live."""
        return [node.life for node in self.nodes if node.life is not None]

    def add(self, node_id: str, runs: MemoryRuns, devices: int) -> None:
        """A host, on which a daemon soon starts."""
        dice = self._dice
        runs.before_call, runs.after_call = self.faults["runs"].before, self.faults["runs"].after
        node = Node(
            node_id,
            runs,
            devices,
            dice.choice((1.0, 2.0, 5.0)),
            dice.choice(("leave", "leave", "stop")),
            self._preemption,
        )
        self.nodes.append(node)
        self._stage.after(dice.uniform(0, 2), lambda: self.start(node))

    def start(self, node: Node) -> None:
        """Start a daemon on a host, unless one lives there."""
        if node.life is not None:
            return
        node.lives += 1
        name = f"{node.node_id}#{node.lives}"
        dice = self._stage.dice(f"life {name}")
        doomed = self.doomed and node.lives <= MOST_DOOMS and dice.random() < 0.75
        node.life = life = Life(name, _doom(dice) if doomed else None)
        node.bus = bus = self._connect(node_id=node.node_id, life=life)
        self._stage.note(f"{name} starts")
        task = life.begin(serve(self._context(node, life, bus), life.stopping, life.ready))
        task.add_done_callback(lambda done: self._over(node, life, bus, done))

    def _connect(self, node_id: str, life: Life) -> SimBus:
        acks = self._stage.dice(f"acknowledgements of {life.name}")
        bus = SimBus(
            self._broker, node_id=node_id, before_call=self.faults["bus"].before, after_call=self.faults["bus"].after
        )
        bus.cut_off = lambda: node_id in self._stage.cut_off
        bus.loses_ack = lambda: not life.dead and acks.random() < self._stage.weather.lost_answers
        return bus

    def _context(self, node: Node, life: Life, bus: SimBus) -> Context:
        return Context(
            settings=make_settings(
                node.node_id,
                poll_seconds=node.poll_s,
                stop_grace_seconds=GRACE_S,
                gpu_interval_seconds=30,
                on_exit=node.on_exit,
                node_lost_seconds=self.lost_s,
                preemption=node.preemption,
                preemption_grace_seconds=GRACE_S,
            ),
            clock=self._stage.clock,
            bus=bus,
            store=self._store,
            devices=CpuSlots(node.devices, node.node_id),
            runs=node.runs,
            files=self._files,
            toolchain=MemoryToolchain(),
            meters=MemoryMeters(),
            environment={"PATH": "/bin"},
            signals=LossySignals(self._stage, self._stage.dice(f"hints of {life.name}")),
        )

    def stop(self, life: Life) -> None:
        """SIGTERM."""
        self._stage.note(f"{life.name} is told to stop")
        life.stopping.set()

    def crash(self, life: Life, where: str) -> None:
        """`kill -9`: the daemon is gone; the broker hears of it at once, or later."""
        if life.dead:
            return
        node = next(node for node in self.nodes if node.life is life)
        self._stage.note(f"{life.name} crashes {where}")
        life.kill()
        bus = node.bus
        if bus is not None:
            self._stage.after(self._dice.choice((0.0, 0.0, 5.0)), lambda: self._broker.detach(bus))
        self._again(node)

    def _over(self, node: Node, life: Life, bus: SimBus, task: "asyncio.Task[None]") -> None:
        """A daemon came to its end without a crash."""
        if life.dead:
            return
        error = None if task.cancelled() else task.exception()
        if not life.stopping.is_set() or error is not None or task.cancelled():
            self._stage.breaks(f"{life.name} came down by itself: {error!r}")
        self._stage.note(f"{life.name} has stopped")
        life.kill()
        self._broker.detach(bus)
        self._again(node)

    def _again(self, node: Node) -> None:
        node.life = node.bus = None
        self._stage.after(self._dice.choice((0.1, 1.0, 4.0, 12.0)), lambda: self.start(node))


def _doom(dice: Random) -> Doom:
    """A crash soon after the start, later, or in the midst of something."""
    kind = dice.random()
    if kind < 0.2:
        return Doom(dice.randint(1, 30))
    if kind < 0.4:
        return Doom(dice.randint(1, 400))
    return Doom(dice.choice((1, 2, 3, 4, 7, 12)), dice.choice(WORTH_A_CRASH))
