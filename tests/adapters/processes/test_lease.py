"""The lease of a host: its runners end their trainings when it runs out, with or without the daemon."""

import json
import signal

import pytest

from daemon.adapters.processes import LocalRuns
from daemon.ports import UnavailableError
from daemon.runner import LEASE, lease_left_s
from tests.adapters.processes.test_stopping import STUBBORN
from tests.runner.harness import Place
from tests.waiting import until


async def test_a_lease_that_runs_out_ends_the_whole_tree_and_says_so(place: Place) -> None:
    await place.runs.lease(60)
    run = await place.python(STUBBORN)
    await until(lambda: "ready" in place.said())
    await place.runs.lease(0.3)
    end = await run.wait()
    assert (end.exit_code, end.processes_left, end.fenced) == (-signal.SIGKILL, 0, True)


async def test_nothing_is_left_of_a_run_that_is_started_without_a_lease(place: Place) -> None:
    await place.runs.lease(-1)
    run = await place.python(STUBBORN)
    end = await run.wait()
    assert (end.exit_code, end.processes_left, end.fenced) == (-signal.SIGKILL, 0, True)


async def test_a_renewed_lease_leaves_a_run_alone(place: Place) -> None:
    await place.runs.lease(0.5)
    run = await place.runs.spawn(place.spec("sh", "-c", "sleep 2; exit 4"))
    await place.runs.lease(60)
    end = await run.wait()
    assert (end.exit_code, end.fenced) == (4, False)


async def test_a_lease_of_an_earlier_boot_and_none_at_all_have_no_end(place: Place) -> None:
    record = str(place.record())
    assert lease_left_s(record) == float("inf")
    await place.runs.lease(5)
    assert 0 < lease_left_s(record) <= 5
    path = place.record().parent / LEASE
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot_id": "another"}))
    assert lease_left_s(record) == float("inf")
    await place.runs.lease(None)
    assert not path.exists()
    await place.runs.lease(None)


async def test_a_lease_that_cant_be_written_is_an_outage_and_brings_nobody_down(place: Place) -> None:
    place.record().parent.parent.mkdir(parents=True, exist_ok=True)
    place.record().parent.write_text("no folder")
    with pytest.raises(UnavailableError, match=r"can't be renewed .*SWIFT_TRAINER_STATE_DIR"):
        await place.runs.lease(60)


async def test_all_records_are_known_and_the_lease_is_none(place: Place) -> None:
    assert await LocalRuns(place.folder / "elsewhere").known() == ()
    await place.runs.lease(60)
    for run_id in ("job-2", "job-1-export-1"):
        await (await place.runs.spawn(place.spec("true", run_id=run_id))).wait()
    assert await place.runs.known() == ("job-1-export-1", "job-2")
    await place.runs.forget("job-2")
    assert await place.runs.known() == ("job-1-export-1",)
