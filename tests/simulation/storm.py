"""The storm: what goes wrong with the world around the ports, each at moments that the seed chooses; and its end."""

from collections.abc import Iterator

from tests.simulation.daemons import Daemons
from tests.simulation.hosts import Hosts, RunRecord
from tests.simulation.lives import Life
from tests.simulation.stage import CALM, Stage, Weather
from tests.simulation.twins import SimBroker, SimFiles

OUTAGES_S = (0.5, 5.0, 25.0)
PARTITIONS_S = (3.0, 35.0, 70.0)
JUMPS_S = (1.0, 60.0, 4000.0)
CUT_AT_START_S = 80.0
LOOK_S = 0.05


class Storm:
    """Everything that befalls daemons, hosts, broker and store."""

    def __init__(self, stage: Stage, daemons: Daemons, hosts: Hosts, broker: SimBroker, files: SimFiles) -> None:
        self._stage = stage
        self._dice = stage.dice("storm")
        self._daemons = daemons
        self._hosts = hosts
        self._broker = broker
        self._files = files
        self.lasts_s = self._dice.uniform(10, 50)
        self._cuts_at_start = bool(daemons.lost_s) and stage.dice("cut at a start").random() < 0.5
        self.over = False

    def plan(self) -> None:
        """Put it on the agenda."""
        dice, stage = self._dice, self._stage
        stage.weather = Weather(
            slow=dice.choice((0.0, 0.05, 0.2)),
            refused=dice.choice((0.0, 0.02, 0.05)),
            lost_answers=dice.choice((0.0, 0.05, 0.2)),
            lost_hints=dice.choice((0.0, 0.2, 1.0)),
            unreadable=stage.dice("disk").choice((0.0, 0.05, 0.3)),
            failed_spawns=dice.choice((0.0, 0.0, 0.2)),
        )
        stage.note(f"{stage.weather} for {self.lasts_s:.0f} s")
        blows = (
            (self._crash, 2),
            (self._stop, 1),
            (self._reboot, 1),
            (self._store_goes, 2),
            (self._broker_goes, 2),
            (self._cut, 2),
            (self._jump, 1),
            (self._deafen, 1),
            (self._kill_runner, 1),
            (self._cut_off, 2),
        )
        for blow, most in blows:
            for _ in range(dice.randint(0, most)):
                stage.after(dice.uniform(0, self.lasts_s), blow)
        if self._cuts_at_start and len(self._daemons.nodes) > 1:
            self.lasts_s += CUT_AT_START_S
            stage.play(self._cut_off_starting())
        stage.after(self.lasts_s, self._end)

    def _end(self) -> None:
        self._stage.note("the storm is over")
        self.over = True
        self._stage.weather = CALM
        self._files.deaf = False
        self._daemons.doomed = False
        for life in self._daemons.lives:
            life.doom = None
        self._stage.cut_off.clear()
        self._broker.dispatch()
        self._store_returns()
        self._broker_returns()

    # ------------------------------------------------------------ daemons and hosts

    def _some_life(self) -> Life | None:
        lives = self._daemons.lives
        return self._dice.choice(lives) if lives else None

    def _crash(self) -> None:
        life = self._some_life()
        if life is not None:
            self._daemons.crash(life, "at rest")

    def _stop(self) -> None:
        life = self._some_life()
        if life is not None and life.ready.is_set():
            self._daemons.stop(life)

    def _reboot(self) -> None:
        node = self._dice.choice(self._daemons.nodes)
        self._stage.note(f"host {node.node_id} goes down")
        if node.life is not None:
            self._daemons.crash(node.life, "with its host")
        for run in self._hosts.living():
            if run.node_id == node.node_id:
                self._hosts.lose(run, rebooted=True)

    def _kill_runner(self) -> None:
        living = self._hosts.living()
        if living:
            self._hosts.lose(self._dice.choice(living))

    def _jump(self) -> None:
        seconds = self._dice.choice(JUMPS_S)
        self._stage.note(f"the wall clock jumps by {seconds:g} s")
        self._stage.clock.jump(seconds)

    def _deafen(self) -> None:
        self._stage.note("file watches go deaf")
        self._files.deaf = True

    # ------------------------------------------------------------ store and broker

    def _store_goes(self) -> None:
        self._stage.note("the store goes away")
        self._stage.store_away = True
        self._stage.after(self._dice.choice(OUTAGES_S), self._store_returns)

    def _store_returns(self) -> None:
        if self._stage.store_away:
            self._stage.note("the store is back")
            self._stage.store_away = False

    def _broker_goes(self) -> None:
        self._stage.note("the broker goes away")
        self._broker.go_away()
        self._stage.after(self._dice.choice(OUTAGES_S), self._broker_returns)

    def _broker_returns(self) -> None:
        if self._broker.away:
            self._stage.note("the broker is back, its queue in another order")
            self._broker.shuffle(self._dice)
            self._broker.come_back()

    def _cut_off(self) -> None:
        """One node reaches nothing any more, and then it does again, perhaps after it was lost."""
        node = self._dice.choice(self._daemons.nodes)
        self._stage.note(f"{node.node_id} is cut off")
        self._stage.cut_off.add(node.node_id)
        if node.bus is not None:
            node.bus.disconnect()

        def heal() -> None:
            self._stage.note(f"{node.node_id} is connected again")
            self._stage.cut_off.discard(node.node_id)
            self._broker.dispatch()

        self._stage.after(self._dice.choice(PARTITIONS_S), heal)

    def _cut_off_starting(self) -> Iterator[float]:
        """A node is cut off while it starts a training, and is back when the next attempt starts elsewhere: what it had
        to tell comes then."""
        dice = self._stage.dice("back at a start")
        while (run := self._starting()) is None:
            yield LOOK_S
        self._stage.note(f"{run.node_id} is cut off while {run.process.run_id} starts")
        self._stage.cut_off.add(run.node_id)
        while (there := self._starting(run)) is None and not self.over:
            yield LOOK_S
        yield dice.uniform(0, 0.5)
        self._stage.note(f"{run.node_id} is connected again while {there and there.process.run_id} starts")
        self._stage.cut_off.discard(run.node_id)
        self._broker.dispatch()

    def _starting(self, before: RunRecord | None = None) -> RunRecord | None:
        """A training that has only just begun; of the same job elsewhere, where one before it is given."""
        for run in self._hosts.living():
            fits = before is None or (run.job_id == before.job_id and run.node_id != before.node_id)
            if fits and not run.exports and run.step == 0:
                return run
        return None

    def _cut(self) -> None:
        self._stage.note("the connections to the broker break")
        self._broker.go_away()
        self._broker_returns()
