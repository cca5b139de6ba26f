"""The lease of a host: its runners end their trainings when it runs out, with or without the daemon."""

import asyncio
import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from daemon.adapters.processes import LocalRuns
from daemon.ports import SpawnError, UnavailableError
from daemon.runner import EXEC_FAILED, LEASE, Lease, StartError
from tests.adapters.processes.test_stopping import STUBBORN
from tests.runner.harness import LIMIT_S, Place, alive
from tests.waiting import until


async def test_a_lease_that_runs_out_ends_the_whole_tree_and_says_so(place: Place) -> None:
    await place.runs.lease(60)
    run = await place.python(STUBBORN)
    await until(lambda: "ready" in place.said())
    await place.runs.lease(0.3)
    end = await run.wait()
    assert (end.exit_code, end.processes_left, end.fenced) == (-signal.SIGKILL, 0, True)


async def test_a_run_whose_lease_has_run_out_before_never_begins(place: Place) -> None:
    """A second one of it may be at work elsewhere, on the same files."""
    await place.runs.lease(-1)
    for number in range(5):
        run = await place.runs.spawn(place.spec("sh", "-c", f"echo > begun-{number}", run_id=f"job-{number}"))
        end = await run.wait()
        assert (end.exit_code, end.processes_left, end.fenced) == (EXEC_FAILED, 0, True)
    assert not list(place.folder.glob("begun-*"))


async def test_a_leader_that_has_ended_by_itself_is_not_said_to_be_ended_by_the_lease(place: Place) -> None:
    await place.runs.lease(60)
    run = await place.python(f"import os\nif os.fork():\n    os._exit(0)\n{STUBBORN}")
    await until(lambda: "ready" in place.said() and not alive(run.pid or 0))
    await place.runs.lease(-1)
    end = await run.wait()
    assert (end.exit_code, end.processes_left, end.fenced) == (0, 0, False)


async def test_a_lease_that_cant_be_read_any_more_ends_when_it_was_to_end(place: Place) -> None:
    await place.runs.lease(2)
    run = await place.python(STUBBORN)
    await until(lambda: "ready" in place.said())
    path = place.record().parent / LEASE
    path.unlink()
    path.mkdir()
    end = await run.wait()
    assert (end.exit_code, end.fenced) == (-signal.SIGKILL, True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"until": "soon"}'])
async def test_what_is_no_lease_lets_no_run_begin_and_lifts_none(place: Place, text: str) -> None:
    await place.runs.lease(60)
    lease = Lease(str(place.record()))
    path = place.record().parent / LEASE
    path.write_text(text)
    assert 0 < lease.left_s() <= 60
    with pytest.raises(StartError, match="can't read the lease"):
        Lease(str(place.record()))
    with pytest.raises(SpawnError, match="can't read the lease"):
        await place.runs.spawn(place.spec("touch", "begun"))
    assert not (place.folder / "begun").exists()


async def test_a_renewed_lease_leaves_a_run_alone(place: Place) -> None:
    await place.runs.lease(0.5)
    run = await place.runs.spawn(place.spec("sh", "-c", "sleep 2; exit 4"))
    await place.runs.lease(60)
    end = await run.wait()
    assert (end.exit_code, end.fenced) == (4, False)


async def test_a_lease_of_an_earlier_boot_and_none_at_all_have_no_end(place: Place) -> None:
    record = str(place.record())
    assert Lease(record).left_s() == float("inf")
    await place.runs.lease(5)
    assert 0 < Lease(record).left_s() <= 5
    path = place.record().parent / LEASE
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot_id": "another"}))
    assert Lease(record).left_s() == float("inf")
    await place.runs.lease(None)
    assert not path.exists()
    await place.runs.lease(None)


async def test_a_lease_that_cant_be_written_is_an_outage_and_brings_nobody_down(place: Place) -> None:
    place.record().parent.parent.mkdir(parents=True, exist_ok=True)
    place.record().parent.write_text("no folder")
    with pytest.raises(UnavailableError, match=r"can't be renewed .*SWIFT_TRAINER_STATE_DIR"):
        await place.runs.lease(60)


async def test_a_file_system_that_hangs_elsewhere_keeps_no_lease_from_being_renewed(place: Place) -> None:
    """All of asyncio's threads are in it. Nor does it keep a run from being started, taken up and forgotten."""
    gate = threading.Event()
    with ThreadPoolExecutor(2) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        hung = [asyncio.create_task(asyncio.to_thread(gate.wait, LIMIT_S)) for _ in range(4)]
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(LIMIT_S / 2):
                await place.runs.lease(60)
                run = await place.runs.spawn(place.spec("true"))
                assert (await run.wait()).exit_code == 0
                assert await place.runs.adopt(run.run_id) is not None
                assert await place.runs.known() == (run.run_id,)
                await place.runs.forget(run.run_id)
            assert not any(task.done() for task in hung)
        finally:
            gate.set()
            await asyncio.gather(*hung)


async def test_all_records_are_known_and_the_lease_is_none(place: Place) -> None:
    assert await LocalRuns(place.folder / "elsewhere").known() == ()
    await place.runs.lease(60)
    for run_id in ("job-2", "job-1-export-1"):
        await (await place.runs.spawn(place.spec("true", run_id=run_id))).wait()
    assert await place.runs.known() == ("job-1-export-1", "job-2")
    await place.runs.forget("job-2")
    assert await place.runs.known() == ("job-1-export-1",)
