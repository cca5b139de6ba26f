"""Stop means gone: the whole tree, whatever it does, within the grace time; and a stop that saves."""

import asyncio
import json
import os
import signal
import time

import pytest

from daemon import runner
from daemon.adapters.processes import LocalRun
from tests.runner.harness import Place, alive
from tests.waiting import until

LONG_S = 60.0
STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(600)"
)
HEARS = "import time\nprint('ready', flush=True)\ntime.sleep(600)"


async def _training(place: Place) -> None:
    """Wait until the stand-in is in the middle of its training, with its workers."""
    await until(lambda: "'global_step/max_steps': '1/" in place.said())


async def test_leader_trainer_and_workers_are_gone(place: Place) -> None:
    run = await place.standin("--dataloader_num_workers", "3", steps=10_000)
    await _training(place)
    assert len(place.named("pt_data_worker")) == 3
    assert len(place.living()) == 6, "runner, leader, trainer, workers"
    await run.stop(grace_s=LONG_S, save=False)
    end = await run.wait()
    assert (end.exit_code, end.processes_left) == (-signal.SIGTERM, 0)
    assert not place.living()


async def test_ranks_in_sessions_of_their_own_are_gone(place: Place) -> None:
    port = str(await place.runs.free_port())
    run = await place.standin(
        "--dataloader_num_workers", "1", steps=10_000, env={"NPROC_PER_NODE": "2", "MASTER_PORT": port}
    )
    await _training(place)
    await until(lambda: len(place.living()) == 7)
    assert len({os.getsid(pid) for pid in place.living()}) == 4, "runner, leader with its agent, two ranks"
    await run.stop(grace_s=LONG_S, save=False)
    assert (await run.wait()).exit_code == -signal.SIGTERM
    assert not place.living()


async def test_what_has_daemonized_itself_is_gone(place: Place) -> None:
    run = await place.standin(steps=10_000, setsid_children=2)
    await until(lambda: len(place.named("daemonized")) == 2)
    await run.stop(grace_s=LONG_S, save=False)
    await run.wait()
    assert not place.living()


async def test_what_ignores_sigterm_is_killed_after_the_grace(place: Place) -> None:
    run = await place.standin("--dataloader_num_workers", "2", steps=10_000, ignore_sigterm=True)
    await _training(place)
    began = time.monotonic()
    await run.stop(grace_s=0.5, save=False)
    end = await run.wait()
    assert time.monotonic() - began >= 0.5
    assert (end.exit_code, end.processes_left) == (-signal.SIGTERM, 0), "the leader does listen"
    assert not place.living()


async def test_a_leader_that_ignores_sigterm_is_killed(place: Place) -> None:
    run = await _ready(place, STUBBORN)
    await run.stop(grace_s=0.2, save=False)
    assert (await run.wait()).exit_code == -signal.SIGKILL


async def test_a_process_without_main_thread_is_no_zombie(place: Place) -> None:
    """Its main thread has ended, so it looks like a zombie, and works on."""
    code = (
        "import ctypes, signal, threading, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "print('ready', flush=True)\n"
        "ctypes.CDLL(None).syscall(60 if ctypes.sizeof(ctypes.c_void_p) == 8 else 1, 0)\n"
    )
    if os.uname().machine != "x86_64":
        pytest.skip("knows the number of one system call only")
    run = await _ready(place, f"import os, sys\nif os.fork(): os.wait()\nelse:\n exec({code!r})")
    await until(lambda: any(state == "Zl" for _, _, _, state in runner.below(place.runner_pid())))
    await run.stop(grace_s=0.2, save=False)
    assert (await run.wait()).processes_left == 0
    assert not place.living()


async def test_children_born_during_a_stop_are_stopped_too(place: Place) -> None:
    """One that was forked behind the signals' back, so to speak."""
    code = (
        "import os, signal, time\n"
        "def bear(*_):\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(600)\n"
        "    os._exit(3)\n"
        "signal.signal(signal.SIGTERM, bear)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    run = await _ready(place, code)
    await run.stop(grace_s=LONG_S, save=False)
    assert (await asyncio.wait_for(run.wait(), LONG_S / 2)).exit_code == 3
    assert not place.living()


async def test_the_second_stop_shortens_the_grace(place: Place) -> None:
    run = await _ready(place, STUBBORN)
    await run.stop(grace_s=600, save=False)
    await run.stop(grace_s=0.2, save=False)
    assert (await asyncio.wait_for(run.wait(), LONG_S)).exit_code == -signal.SIGKILL


async def test_the_second_stop_never_lengthens_the_grace(place: Place) -> None:
    run = await _ready(place, STUBBORN)
    await run.stop(grace_s=0.3, save=False)
    await run.stop(grace_s=600, save=True)
    assert (await asyncio.wait_for(run.wait(), LONG_S)).exit_code == -signal.SIGKILL


async def test_two_stops_before_the_runner_looks_are_one(place: Place) -> None:
    run = await _ready(place, STUBBORN)
    os.kill(place.runner_pid(), signal.SIGSTOP)
    await run.stop(grace_s=0.2, save=True)
    await run.stop(grace_s=600, save=False)
    os.kill(place.runner_pid(), signal.SIGCONT)
    assert (await asyncio.wait_for(run.wait(), LONG_S)).exit_code == -signal.SIGKILL
    assert json.loads((place.record() / "stop.json").read_text()) == {"grace_s": 0.2, "save": False}


async def test_a_stop_of_what_has_ended_is_no_error(place: Place) -> None:
    run = await place.runs.spawn(place.spec("true"))
    end = await run.wait()
    await run.stop(grace_s=0, save=False)
    adopted = await place.runs.adopt("job-1")
    assert adopted is not None
    await adopted.stop(grace_s=0, save=False)
    assert (await adopted.wait()).exit_code == end.exit_code == 0
    assert not (place.record() / "stop.json").exists()


async def test_a_stop_needs_no_room_on_the_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    run = await _ready(place, HEARS)
    monkeypatch.setattr(runner, "write_record", full)
    await run.stop(grace_s=1, save=False)
    assert (await run.wait()).exit_code == -signal.SIGTERM


async def test_an_order_whose_signal_was_lost_is_found(place: Place) -> None:
    """The daemon was killed between writing the order and telling the runner, which looks whenever it wakes."""
    run = await _ready(place, HEARS)
    runner.write_record(str(place.record()), "stop.json", {"grace_s": LONG_S, "save": False})
    os.kill(place.runner_pid(), signal.SIGCHLD)
    assert (await run.wait()).exit_code == -signal.SIGTERM


async def test_a_person_may_stop_the_runner(place: Place) -> None:
    run = await _ready(place, HEARS)
    os.kill(place.runner_pid(), signal.SIGTERM)
    assert (await run.wait()).exit_code == -signal.SIGTERM


# ---------------------------------------------------------------- saving


async def test_a_saving_stop_signals_the_trainer_alone(place: Place) -> None:
    """With a signalled worker the stand-in fails, as torch does; a signalled leader would end with -15."""
    run = await place.standin("--callbacks", "graceful_exit", "--dataloader_num_workers", "2", steps=10_000)
    await _training(place)
    await run.stop(grace_s=LONG_S, save=True)
    end = await run.wait()
    assert (end.exit_code, end.processes_left) == (0, 0), place.said()[-2000:]
    (state,) = (place.folder / "out").glob("checkpoint-*/trainer_state.json")
    assert f"checkpoint-{json.loads(state.read_text())['global_step']}" == state.parent.name


async def test_a_saving_stop_signals_rank_0_alone(place: Place) -> None:
    env = {"NPROC_PER_NODE": "2", "MASTER_PORT": str(await place.runs.free_port())}
    run = await place.standin("--callbacks", "graceful_exit", env=env, steps=10_000)
    await _training(place)
    await run.stop(grace_s=LONG_S, save=True)
    assert (await run.wait()).exit_code == 0, place.said()[-2000:]
    assert list((place.folder / "out").glob("checkpoint-*/trainer_state.json"))


async def test_a_saving_stop_that_saves_nothing_ends_after_the_grace(place: Place) -> None:
    run = await place.standin("--callbacks", "graceful_exit", steps=10_000, hang_at=2)
    await _training(place)
    await run.stop(grace_s=0.4, save=True)
    end = await run.wait()
    assert (end.exit_code, end.processes_left) == (-signal.SIGKILL, 0)


async def test_a_plain_stop_after_a_saving_one_does_not_wait_for_it(place: Place) -> None:
    run = await place.standin("--callbacks", "graceful_exit", steps=10_000, hang_at=2)
    await _training(place)
    await run.stop(grace_s=600, save=True)
    await run.stop(grace_s=600, save=False)
    assert run.pid is not None
    leader = run.pid
    await until(lambda: not alive(leader))
    await run.stop(grace_s=0, save=False)
    assert (await asyncio.wait_for(run.wait(), LONG_S)).exit_code == -signal.SIGTERM


async def test_a_saving_stop_without_a_trainer_is_a_plain_one(place: Place) -> None:
    run = await _ready(place, HEARS)
    await run.stop(grace_s=LONG_S, save=True)
    assert (await run.wait()).exit_code == -signal.SIGTERM


async def _ready(place: Place, code: str) -> LocalRun:
    run = await place.python(code)
    await until(lambda: "ready" in place.said())
    return run
