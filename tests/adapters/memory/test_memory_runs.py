"""A host in memory: runs live and end as the test says, and outlive the daemons that follow them."""

import asyncio
from pathlib import Path

import pytest

from daemon.adapters.manual_clock import ManualClock
from daemon.adapters.memory_files import MemoryFiles
from daemon.adapters.memory_runs import MemoryRuns, Process, Stop, die_at_once
from daemon.adapters.memory_toolchain import MemoryToolchain
from daemon.ports import RunEnd, RunSpec, SpawnError, ToolchainError

SPEC = RunSpec("j-1", ("swift", "sft"), {"A": "1"}, Path("/work"), Path("/logs/j.log"))


def make() -> tuple[ManualClock, MemoryFiles, MemoryRuns]:
    clock = ManualClock()
    files = MemoryFiles(clock)
    return clock, files, MemoryRuns(files)


async def test_a_run_writes_and_ends_as_it_is_told() -> None:
    clock, files, runs = make()
    run = await runs.spawn(SPEC)
    assert (run.run_id, run.started_at, runs.spawned) == ("j-1", clock.now(), [SPEC])
    assert await files.exists(SPEC.log_path)
    process = runs.process("j-1")
    process.write("a line\n")
    assert files.content("/logs/j.log") == b"a line\n"
    waiting = asyncio.create_task(run.wait())
    await clock.advance(60)
    assert not waiting.done()
    process.end(3, note="why")
    process.end(0)
    await clock.settle()
    assert waiting.result() == await run.wait() == RunEnd(3, clock.now(), 0, "why")
    assert runs.alive == ()


async def test_a_run_is_started_once_and_taken_up_by_others() -> None:
    _, _, runs = make()
    first = await runs.spawn(SPEC)
    again = await runs.spawn(SPEC)
    adopted = await runs.adopt("j-1")
    assert adopted is not None
    assert (len(runs.spawned), first.pid, again.pid, adopted.pid) == (1, 4000, 4000, 4000)
    runs.process("j-1").end(0)
    assert (await adopted.wait()).exit_code == 0
    await runs.forget("j-1")
    assert await runs.adopt("j-1") is None


async def test_stops_are_recorded_and_obeyed_where_the_test_says_so() -> None:
    clock, _, runs = make()
    run = await runs.spawn(SPEC)
    await run.stop(grace_s=30, save=True)
    assert runs.process("j-1").stops == [Stop(30, True, clock.now())]
    assert len(runs.alive) == 1
    runs.on_stop = die_at_once
    await run.stop(grace_s=5, save=False)
    assert (await run.wait()).exit_code == -15
    await run.stop(grace_s=1, save=False)
    assert len(runs.process("j-1").stops) == 2


async def test_processes_that_are_left_and_then_gone() -> None:
    _, _, runs = make()
    run = await runs.spawn(SPEC)
    process = runs.process("j-1")
    process.end(-9, processes_left=2)
    assert (await run.wait()).processes_left == 2
    process.kill_rest()
    assert (await run.wait()).processes_left == 0


async def test_a_lost_run_has_no_exit_code() -> None:
    _, _, runs = make()
    run = await runs.spawn(SPEC)
    runs.process("j-1").lose(rebooted=True)
    end = await run.wait()
    assert (end.exit_code, end.rebooted) == (None, True)


async def test_a_start_can_be_scripted_and_can_fail() -> None:
    _, files, runs = make()

    def greet(process: Process) -> None:
        process.write(f"hello from {process.pid}\n")

    runs.on_spawn = greet
    await runs.spawn(SPEC)
    assert files.content("/logs/j.log") == b"hello from 4000\n"

    async def refuse(name: str) -> None:
        if name == "spawn":
            raise SpawnError("no such command")

    runs.before_call = refuse
    with pytest.raises(SpawnError, match="no such command"):
        await runs.spawn(RunSpec("j-2", (), {}, Path("/"), Path("/l")))
    assert [process.run_id for process in runs.processes] == ["j-1"]


async def test_ports_are_never_the_same() -> None:
    _, _, runs = make()
    assert len({await runs.free_port() for _ in range(100)}) == 100


async def test_a_toolchain_of_a_chosen_version() -> None:
    toolchain = MemoryToolchain("3.12.6", ("/env/bin/python", "-m", "swift.cli.main"))
    assert toolchain.known is None
    assert (await toolchain.installed()).version == "3.12.6"
    assert toolchain.known is not None
    assert toolchain.known.major == 3
    toolchain.missing = "set SWIFT_TRAINER_SWIFT_COMMAND"
    assert (await toolchain.installed()).major == 3
    missing = MemoryToolchain()
    missing.missing = "set SWIFT_TRAINER_SWIFT_COMMAND"
    with pytest.raises(ToolchainError, match="SWIFT_TRAINER_SWIFT_COMMAND"):
        await missing.installed()
