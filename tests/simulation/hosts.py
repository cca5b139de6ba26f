"""What runs on the hosts: every run that was ever started, and the trainings and exports as they play themselves.

A training behaves as its dice for its run's name say: it loads, logs steps, saves checkpoints (some are torn for a
while), and ends well, with an error, by a signal, without a trace, early with code 0, never, or with processes that
nobody can end for a while. It writes what ms-swift writes, by the same hand as the tests of the loops.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from daemon.adapters.memory_runs import Process, Stop
from tests.loops.rig import Training, World
from tests.simulation.stage import Stage

FATES = ("well", "error", "sick device", "killed", "lost", "code 0 early", "processes left", "endless")
FATE_SHARES = (12, 2, 1, 1, 1, 1, 1, 1)
FOR_EVER_S = 1e9
LINES = {
    "error": "RuntimeError: something odd",
    "sick device": "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2251",
}


@dataclass(slots=True, eq=False)
class RunRecord:
    """One run, for ever, whatever the daemon forgets."""

    node_id: str
    process: Process
    job_id: str
    number: int
    """Attempt of a training, number of an export."""
    exports: bool
    devices: frozenset[int]
    step: int = 0
    """How far it is."""
    finished: bool = False
    """It reached its last step and ended with code 0."""

    @property
    def living(self) -> bool:
        """Whether any process of it is left."""
        ended = self.process.ended
        return ended is None or ended.processes_left > 0


@dataclass(slots=True)
class Hosts:
    """All hosts with all runs."""

    stage: Stage
    world: World
    runs: dict[str, RunRecord] = field(default_factory=dict[str, RunRecord])
    """By run id, in the order of their starts."""
    logged: dict[str, dict[int, tuple[int, float]]] = field(default_factory=dict[str, dict[int, tuple[int, float]]])
    """By job and step: the newest attempt that logged it, and the loss it logged."""

    whole: dict[Path, set[int]] = field(default_factory=dict[Path, set[int]])
    """By run folder, the steps whose checkpoints are whole on disk."""

    def living(self) -> list[RunRecord]:
        """Runs of which processes are left."""
        return [run for run in self.runs.values() if run.living]

    def begin(self, node_id: str, process: Process) -> RunRecord:
        """A process was started: it plays from here on."""
        job_id, _, rest = process.run_id.partition("-export-")
        if not rest:
            job_id, _, rest = process.run_id.rpartition("-")
        devices = frozenset(map(int, process.spec.env["SWIFT_TRAINER_JOB_DEVICES"].split(",")))
        exports = "-export-" in process.run_id
        run = RunRecord(node_id, process, job_id, int(rest), exports, devices)
        self.runs[process.run_id] = run
        dice = self.stage.dice(process.run_id)
        self.stage.note(f"{node_id}: {process.run_id} begins on {sorted(devices)}")
        self.stage.play(_export(self, run, dice) if exports else _Trainee(self, run, dice).train())
        return run

    def stop(self, run: RunRecord, stop: Stop) -> None:
        """A run was told to stop: it ends within its grace time."""
        self.stage.note(f"{run.process.run_id} is told to stop within {stop.grace_s:g} s, save={stop.save}")
        dice = self.stage.dice(f"{run.process.run_id} stop {len(run.process.stops)}")
        stubborn, left = dice.random() < 0.2, dice.random() < 0.1
        takes_s = stop.grace_s if stubborn else dice.uniform(0, stop.grace_s)
        code = -9 if stubborn else 0 if stop.save else -15
        if stop.save and not stubborn and not run.exports:
            self.stage.after(takes_s / 2, lambda: self._save(run))
        self.stage.after(takes_s, lambda: self.end(run, code, left=2 if left else 0))

    def _save(self, run: RunRecord) -> None:
        if run.process.alive and run.step:
            self.checkpoint(run, run.step)

    def checkpoint(self, run: RunRecord, step: int, *, torn: bool = False) -> None:
        """A training wrote a checkpoint, or half of one; one that a stop has had saved already is not written again."""
        folder = run_dir_of(run)
        if step in self.whole.get(folder, ()):
            return
        self.world.files.add_checkpoint(folder, step, torn=torn)
        if torn:
            self.whole.setdefault(folder, set()).discard(step)
        else:
            self.whole.setdefault(folder, set()).add(step)

    def removed(self, path: Path) -> None:
        """A path was removed: whole checkpoints below it are gone."""
        for folder, steps in self.whole.items():
            steps -= {step for step in steps if (folder / f"checkpoint-{step}").is_relative_to(path)}

    def end(self, run: RunRecord, code: int | None, *, left: int = 0) -> None:
        """A run ends; what is left of it lingers, and is gone some time later."""
        if not run.process.alive:
            return
        self.stage.note(f"{run.process.run_id} ends with {code}" + (f", {left} processes left" if left else ""))
        run.process.end(code, processes_left=left)
        if left:
            self.stage.after(8.0, run.process.kill_rest)

    def lose(self, run: RunRecord, *, rebooted: bool = False) -> None:
        """A run is gone, and nobody knows how."""
        if run.process.alive:
            self.stage.note(f"{run.process.run_id} is lost" + (" with its host" if rebooted else ""))
            run.process.lose(rebooted=rebooted)
        elif run.living:
            run.process.kill_rest()


def run_dir_of(run: RunRecord) -> Path:
    """The folder that a training was told to write to."""
    return Path(_option(run, "output_dir") or "/nowhere")


def resumed_from(run: RunRecord) -> Path | None:
    """The checkpoint that a training was told to go on from."""
    found = _option(run, "resume_from_checkpoint")
    return Path(found) if found else None


def _option(run: RunRecord, name: str) -> str | None:
    argv = run.process.spec.argv
    return argv[argv.index(f"--{name}") + 1] if f"--{name}" in argv else None


class _Trainee:
    """One training."""

    def __init__(self, hosts: Hosts, run: RunRecord, dice: Random) -> None:
        self._hosts = hosts
        self._run = run
        self._dice = dice
        of_job = hosts.stage.dice(run.job_id)
        self._total = of_job.randint(2, 6)
        self._log_every = of_job.choice((1, 1, 2))
        self._save_every = of_job.randint(1, 3)
        self._keep = of_job.randint(1, 2)
        self._hand = Training(hosts.world, run.process, run_dir_of(run), self._total)
        (self._fate,) = dice.choices(FATES, FATE_SHARES)
        self._doom = dice.randint(0, self._total)

    def train(self) -> Iterator[float]:
        """Its life, until it ends or is ended."""
        for seconds in self._steps():
            yield seconds
            if not self._run.process.alive:
                return
        self._run.finished = True
        self._hosts.end(self._run, 0)

    def _steps(self) -> Iterator[float]:
        resumed = resumed_from(self._run)
        begin = int(resumed.name.rpartition("-")[2]) if resumed else 0
        yield self._dice.uniform(0.05, 1)
        self._hand.load()
        yield self._dice.uniform(0.05, 1)
        yield from self._meet_fate(begin if self._doom <= begin else -1)
        self._hand.begin()
        for step in range(begin + 1, self._total + 1):
            yield self._dice.uniform(0.1, 1.5)
            self._run.step = step
            if step % self._log_every == 0 or step == 1:
                self._log(step)
            yield from self._meet_fate(step)
            if step % self._save_every == 0 or step == self._total:
                yield from self._save(step)
        self._hand.summary()
        yield self._dice.uniform(0, 0.5)

    def _log(self, step: int) -> None:
        loss = self._run.number + step / 1000
        self._hosts.logged.setdefault(self._run.job_id, {})[step] = (self._run.number, loss)
        self._hand.step(step, loss, full=self._dice.random() < 0.8)

    def _save(self, step: int) -> Iterator[float]:
        self._hand.saving(step)
        yield self._dice.uniform(0, 0.4)
        if self._dice.random() < 0.3:
            self._hosts.checkpoint(self._run, step, torn=True)
            yield self._dice.uniform(0, 2)
        self._hosts.checkpoint(self._run, step)
        for old in range(1, step - self._save_every * (self._keep - 1)):
            self._hosts.world.files.remove(self._hand.run_dir / f"checkpoint-{old}")

    def _meet_fate(self, step: int) -> Iterator[float]:
        if step != self._doom or self._fate == "well":
            return
        if self._fate == "endless":
            yield FOR_EVER_S
        if self._fate in LINES:
            self._run.process.write(f"Traceback (most recent call last):\n{LINES[self._fate]}\n")
        endings: dict[str, Callable[[], None]] = {
            "killed": lambda: self._hosts.end(self._run, -9),
            "lost": lambda: self._hosts.lose(self._run),
            "code 0 early": lambda: self._hosts.end(self._run, 0 if step < self._total else 1),
            "processes left": lambda: self._hosts.end(self._run, -11, left=2),
        }
        endings.get(self._fate, lambda: self._hosts.end(self._run, 1))()
        yield 0.0


def _export(hosts: Hosts, run: RunRecord, dice: Random) -> Iterator[float]:
    """An export: writes a line and a folder."""
    fate = dice.choices(("well", "error", "lost", "nothing made"), (6, 1, 1, 1))[0]
    run.process.write("[INFO:swift] Merge LoRA...\n")
    yield dice.uniform(0.1, 3)
    if not run.process.alive:
        return
    if fate == "well":
        hosts.world.files.write(Path(_option(run, "output_dir") or "/nowhere") / "model.safetensors", "weights")
    if fate == "lost":
        hosts.lose(run)
    else:
        hosts.end(run, 1 if fate == "error" else 0)
