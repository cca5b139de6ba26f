"""A daemon in a glass: its loops on in-memory ports and a clock that is moved by hand.

A `World` is what outlives daemons: the broker, the store, the file system, the hosts' processes. `world.daemon()` makes
a `Daemon`, one node with its own connections and hints, whose lanes run for as long as its `async with` is open; at its
end they are cancelled where they stand, as by a kill. So two daemons on one world are two nodes, and one after the
other is a restart.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from daemon.adapters.cpu_devices import CpuSlots
from daemon.adapters.manual_clock import ManualClock
from daemon.adapters.memory_bus import MemoryBroker, MemoryBus
from daemon.adapters.memory_files import MemoryFiles
from daemon.adapters.memory_meters import MemoryMeters
from daemon.adapters.memory_runs import MemoryRuns, Process
from daemon.adapters.memory_store import MemoryStore
from daemon.adapters.memory_toolchain import MemoryToolchain
from daemon.loops.context import Context
from daemon.loops.draining import draining
from daemon.loops.fleet import read_devices
from daemon.loops.heartbeat import come_online, heartbeat
from daemon.loops.intake import intake
from daemon.loops.neighbours import neighbours
from daemon.loops.outbox import outbox
from daemon.loops.scheduling import scheduling
from daemon.loops.supervision import Supervision
from daemon.loops.telemetry import telemetry
from daemon.loops.wakeups import wakeups
from daemon.ports import Devices, UnavailableError
from daemon.settings import Settings
from schemas.events import CloudEvent
from schemas.jobs import MetricPoint, TrainingJob
from schemas.replies import Reply

LANES = ("intake", "scheduling", "outbox")
WORK = Path("/work")
CREATE: dict[str, object] = {
    "training_type": "llm",
    "model_path": "Qwen/Qwen2.5-0.5B-Instruct",
    "datasets": ["AI-ModelScope/alpaca-gpt4-data-zh#500"],
    "output_dir": "output/llm_test",
}


class Faults:
    """The hooks of a twin: writes every call into a journal, and makes calls wait, fail, or lose their answer."""

    def __init__(self, name: str, journal: list[str]) -> None:
        self.away = False
        """Every call fails."""
        self.calls: Counter[str] = Counter()
        self.failing: Counter[str] = Counter()
        """So many next calls of a name fail before their work."""
        self.losing: Counter[str] = Counter()
        """So many next calls of a name do their work and lose the answer."""
        self.gates: dict[str, asyncio.Event] = {}
        """Calls of a name wait before their work until the event is set."""
        self.meddlers: dict[str, Callable[[], Awaitable[None]]] = {}
        """What somebody else does just before the next call of a name."""
        self._name = name
        self._journal = journal

    async def before(self, call: str) -> None:
        self.calls[call] += 1
        meddler = self.meddlers.pop(call, None)
        if meddler is not None:
            await meddler()
        gate = self.gates.get(call)
        if gate is not None:
            await gate.wait()
        if self.away or self.failing[call]:
            self.failing[call] -= not self.away
            raise UnavailableError(f"the {self._name} is away")

    async def after(self, call: str) -> None:
        self._journal.append(f"{self._name}.{call}")
        if self.losing[call]:
            self.losing[call] -= 1
            raise UnavailableError(f"the answer of the {self._name} was lost")


@dataclass(frozen=True, slots=True)
class HostClock:
    """A host's wall clock that is off by some seconds."""

    true: ManualClock
    ahead_s: float

    def now(self) -> datetime:
        return self.true.now() + timedelta(seconds=self.ahead_s)

    def monotonic(self) -> float:
        return self.true.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self.true.sleep(seconds)

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        return await self.true.wait(event, timeout_s)


@dataclass(slots=True)
class Daemon:
    """One node: the context of its lanes, and the twins that are its own."""

    world: "World"
    ctx: Context
    bus: MemoryBus
    bus_faults: Faults
    runs: MemoryRuns
    toolchain: MemoryToolchain
    supervision: Supervision | None = None

    @asynccontextmanager
    async def running(self, *lanes: str) -> AsyncGenerator["Daemon"]:
        """Its lanes, in one task group; cancelled where they stand at the end."""
        ctx, started_at = self.ctx, self.ctx.clock.now()
        await read_devices(ctx)
        await come_online(ctx, started_at)
        failure: Exception | None = None
        async with asyncio.TaskGroup() as supervised, asyncio.TaskGroup() as group:
            self.supervision = Supervision(ctx, supervised)
            await self.supervision.recover()
            known: dict[str, Coroutine[None, None, None]] = {
                "intake": intake(ctx),
                "scheduling": scheduling(ctx, self.supervision.begin),
                "outbox": outbox(ctx),
                "unfollowed": self.supervision.look_after(),
                "heartbeat": heartbeat(ctx, started_at),
                "telemetry": telemetry(ctx),
                "neighbours": neighbours(ctx),
                "wakeups": wakeups(ctx),
                "draining": draining(ctx),
            }
            tasks = [group.create_task(known.pop(name), name=name) for name in lanes or LANES]
            for unused in known.values():
                unused.close()
            await self.world.clock.settle()
            try:
                yield self
            except Exception as error:  # the test's own, raised below as it is and not inside two groups
                failure = error
            finally:
                for task in tasks:
                    task.cancel()
                self.supervision.detach()
        await self.bus.close()
        if failure is not None:
            raise failure


@dataclass(slots=True)
class World:
    """Everything outside the daemons."""

    clock: ManualClock = field(default_factory=ManualClock)
    journal: list[str] = field(default_factory=list[str])
    """The calls of store and bus whose work was done, in order."""
    ahead_s: dict[str, float] = field(default_factory=dict[str, float])
    """How far a host's clock is ahead of the store's, by node; time passes alike on both."""

    def __post_init__(self) -> None:
        self.broker = MemoryBroker(self.clock)
        self.faults = Faults("store", self.journal)
        self.store = MemoryStore(before_call=self.faults.before, after_call=self.faults.after, clock=self.clock.now)
        self.disk = Faults("disk", [])
        self.files = MemoryFiles(self.clock, before_call=self.disk.before, after_call=self.disk.after)
        self.hosts: dict[str, MemoryRuns] = {}

    broker: MemoryBroker = field(init=False)
    faults: Faults = field(init=False)
    disk: Faults = field(init=False)
    store: MemoryStore = field(init=False)
    files: MemoryFiles = field(init=False)
    hosts: dict[str, MemoryRuns] = field(init=False)

    # ------------------------------------------------------------ daemons

    def make(self, node_id: str = "node-a", devices: int | Devices = 2, **settings: object) -> Daemon:
        """A daemon that does not run yet; two of one `node_id` have the same host below them."""
        bus_faults = Faults("bus", self.journal)
        bus = MemoryBus(self.broker, node_id=node_id, before_call=bus_faults.before, after_call=bus_faults.after)
        runs = self.hosts.setdefault(node_id, MemoryRuns(self.files))
        toolchain = MemoryToolchain()
        ctx = Context(
            settings=make_settings(node_id, **settings),
            clock=HostClock(self.clock, self.ahead_s[node_id]) if node_id in self.ahead_s else self.clock,
            bus=bus,
            store=self.store,
            devices=CpuSlots(devices, node_id) if isinstance(devices, int) else devices,
            runs=runs,
            files=self.files,
            toolchain=toolchain,
            meters=MemoryMeters(),
            environment={"PATH": "/bin", "HF_TOKEN": "of the operator"},
        )
        return Daemon(self, ctx, bus, bus_faults, runs, toolchain)

    @asynccontextmanager
    async def daemon(
        self, *lanes: str, node_id: str = "node-a", devices: int | Devices = 2, **settings: object
    ) -> AsyncGenerator[Daemon]:
        """A running daemon."""
        async with AsyncExitStack() as stack:
            yield await stack.enter_async_context(self.make(node_id, devices, **settings).running(*lanes))

    # ------------------------------------------------------------ the wire

    async def reply(
        self,
        command: str,
        body: Mapping[str, object] | bytes | None = None,
        *,
        within_s: float = 0.0,
        message_id: str | None = None,
        user_id: str | None = None,
    ) -> Reply:
        """Send a command and wait for its reply, while so much time passes at most."""
        body = {} if body is None else body
        asked = asyncio.ensure_future(self.broker.call(command, body, message_id=message_id, user_id=user_id))
        try:
            await self.clock.until(asked.done, within_s)
            return asked.result()
        finally:
            asked.cancel()

    async def result(
        self, command: str, body: Mapping[str, object] | None = None, *, message_id: str | None = None
    ) -> dict[str, object]:
        """The result of a command that must succeed."""
        reply = await self.reply(command, body, message_id=message_id)
        assert reply.ok, reply.error
        assert reply.result is not None
        return reply.result

    async def create(self, **fields: object) -> str:
        """Create a job, queued at once; its id."""
        body = {**CREATE, "output_dir": f"output/run-{len(self.broker.acked)}", "start": True, **fields}
        return str((await self.result("job.create", body))["job_id"])

    def routes(self, job_id: str) -> list[str]:
        """What the durable events of a job told, repetitions included: `status.pending`, `checkpoint`, ..."""
        return [event.routing_key.removeprefix(f"job.{job_id}.") for event in self.broker.events_of(job_id)]

    def sequences(self, subject: str) -> list[int]:
        """The sequence numbers of the durable events of a job or node, as published."""
        return [event.sequence for event in self.broker.events_of(subject)]

    def live(self, key: str) -> list[CloudEvent]:
        """Live events of a routing key."""
        return [event for routing_key, event in self.broker.live if routing_key == key]

    def progress(self, job_id: str) -> list[dict[str, object]]:
        """The data of a job's progress events."""
        return [dict(event.data) for event in self.live(f"job.{job_id}.progress")]

    # ------------------------------------------------------------ behind it

    async def job(self, job_id: str) -> TrainingJob:
        """The document, whatever faults the daemons see."""
        away, self.faults.away = self.faults.away, False
        try:
            job = await self.store.get_job(job_id)
        finally:
            self.faults.away = away
        assert job is not None
        return job

    async def curve(self, job_id: str) -> list[MetricPoint]:
        """The stored points."""
        away, self.faults.away = self.faults.away, False
        try:
            return await self.store.points(job_id, -1, 100_000)
        finally:
            self.faults.away = away

    def process(self, job_id: str, attempt: int = 1, node_id: str = "node-a") -> Process:
        """A training's process."""
        return self.hosts[node_id].process(f"{job_id}-{attempt}")

    def export_process(self, job_id: str, number: int = 1, node_id: str = "node-a") -> Process:
        """An export's process."""
        return self.hosts[node_id].process(f"{job_id}-export-{number}")

    async def training(self, job_id: str, attempt: int = 1, **more: int) -> "Training":
        """The test's hand on a training that was spawned."""
        job = await self.job(job_id)
        process = self.process(job_id, attempt, job.node_id or "node-a")
        return Training(self, process, Path(job.run_dir or ""), **more)


def make_settings(node_id: str, **fields: object) -> Settings:
    """Settings of a test's daemon; nothing comes from the environment that the defaults do not say."""
    given: dict[str, object] = {"node_id": node_id, "state_dir": Path("/state"), "work_dir": WORK, **fields}
    defaults = {name: info.get_default(call_default_factory=True) for name, info in Settings.model_fields.items()}
    return Settings.model_validate({**defaults, **given})


# ---------------------------------------------------------------- what ms-swift writes

HEAD = (
    "run sh: `/env/bin/python /env/swift/cli/sft.py --model Qwen/Qwen2.5-0.5B-Instruct`\n"
    "[INFO:swift] Successfully registered `/env/swift/dataset/data/dataset_info.json`.\n"
    "[INFO:swift] rank: -1, local_rank: -1, world_size: 1, local_world_size: 1\n"
    "[INFO:swift] Setting args.lazy_tokenize: False\n"
)
"""The first lines of a run, as ms-swift 4.6 wrote them."""


@dataclass(slots=True)
class Training:
    """Writes what a training writes: bars, metrics to the log and, with all digits, to `logging.jsonl`; checkpoints."""

    world: World
    process: Process
    run_dir: Path
    total: int = 8

    def load(self) -> None:
        """The lines before the training."""
        self.process.write(HEAD)
        self.process.write("\rMap:  50%|█████     | 64/128 [00:01<00:01, 640.00 examples/s]")
        self.process.write("\rMap: 100%|██████████| 128/128 [00:02<00:00, 640.00 examples/s]\n")

    def begin(self) -> None:
        """The trainer's first line, and its bar at nothing."""
        self.process.write(f"[INFO:swift] The logging file will be saved in: {self.run_dir}/logging.jsonl\n")
        self.bar(0)

    def bar(self, step: int) -> None:
        """Draw the bar anew."""
        done = step * 10 // self.total
        shown = f"{100 * step // self.total:3d}%|{'█' * done}{' ' * (10 - done)}| {step}/{self.total}"
        self.process.write(f"\rTrain: {shown} [00:12<01:25, 12.24s/it]")

    def step(self, step: int, loss: float = 5.96943665, *, full: bool = True) -> None:
        """A logged step; not `full`: on standard output alone, as on PAI."""
        tail = f"'elapsed_time': '{step}s', 'remaining_time': '1m 26s', 'train_speed(s/it)': '12.25'"
        place = f"{step}/{self.total}"
        if full:
            self.jsonl(
                f'{{"loss": {loss!r}, "grad_norm": 0.75979167, "learning_rate": 0.0001, "token_acc": 0.0, '
                f'"epoch": 0.125, "global_step/max_steps": "{place}", "elapsed_time": "{step}s", '
                f'"remaining_time": "1m 26s", "train_speed(s/it)": 12.246091}}'
            )
        self.process.write(
            f"\r{' ' * 52}\r{{'loss': '{loss:.4g}', 'grad_norm': '0.7598', 'learning_rate': '0.0001', "
            f"'token_acc': '0', 'epoch': '0.125', 'global_step/max_steps': '{place}', {tail}}}\n"
        )

    def evaluate(self, step: int, loss: float = 5.5) -> None:
        """A logged evaluation."""
        place = f"{step}/{self.total}"
        self.jsonl(f'{{"eval_loss": {loss!r}, "epoch": 0.5, "global_step/max_steps": "{place}"}}')
        self.process.write(
            f"\r{{'eval_loss': '{loss:.4g}', 'eval_runtime': '1.2', 'epoch': '0.5', "
            f"'global_step/max_steps': '{place}', 'elapsed_time': '20s', 'remaining_time': '10s'}}\n"
        )

    def jsonl(self, record: str) -> None:
        """A line of `logging.jsonl`."""
        self.world.files.append(self.run_dir / "logging.jsonl", record + "\n")

    def saving(self, step: int) -> None:
        """Say that a checkpoint is written now; the bar stands before it, as in real logs."""
        self.bar(step)
        self.process.write(f"[INFO:swift] Saving model checkpoint to {self.run_dir}/checkpoint-{step}\n")

    def checkpoint(self, step: int, *, torn: bool = False, optimizer: bool = True, best: int | None = None) -> Path:
        """A checkpoint on disk."""
        return self.world.files.add_checkpoint(self.run_dir, step, torn=torn, optimizer=optimizer, best=best)

    def finish(self, *, steps: Sequence[int] = (1, 5)) -> None:
        """A whole training to its end: begin, steps, the last checkpoint, the summary, code 0."""
        self.load()
        self.begin()
        for step in steps:
            self.step(step, 6 - step / 10)
        self.saving(self.total)
        self.checkpoint(self.total)
        self.summary()
        self.process.end(0)

    def summary(self) -> None:
        """The last record, at the last step."""
        place = f"{self.total}/{self.total}"
        self.process.write(
            "\r{'train_runtime': '36.06', 'train_samples_per_second': '3.55', 'train_steps_per_second': '0.222', "
            f"'train_loss': '5.962', 'token_acc': '0.0006784', 'epoch': '1', 'global_step/max_steps': '{place}', "
            "'elapsed_time': '36s', 'remaining_time': '0s', 'train_speed(s/it)': '4.507'}\n"
        )
