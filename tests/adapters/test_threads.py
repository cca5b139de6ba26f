"""Calls that hang: they hold up neither each other nor the end."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from daemon.adapters.threads import LeftBehind, in_thread
from tests.runner.harness import REPO
from tests.waiting import LIMIT_S, until

HANGS_AT_THE_END = """
import asyncio, sys
from pathlib import Path
from daemon.adapters.threads import LeftBehind

async def main():
    asyncio.get_running_loop().set_default_executor(LeftBehind(end_limit_s=0.2))
    for _ in range(50):
        asyncio.create_task(asyncio.to_thread(Path(sys.argv[1]).read_bytes))
    print(await asyncio.to_thread(str.upper, "the others go on"))

asyncio.run(main())
print("it has ended")
"""

THE_DAEMON = """
import asyncio, contextlib, sys
from pathlib import Path
from daemon import main

@contextlib.asynccontextmanager
async def real_ports(settings):
    yield None

async def serve(ctx, stopping, ready):
    for _ in range(50):
        asyncio.create_task(asyncio.to_thread(Path(sys.argv[1]).read_bytes))
    print(await asyncio.to_thread(str.upper, "the others go on"))

main.real_ports, main.serve = real_ports, serve
main.main([])
print("it has ended")
"""


@pytest.mark.parametrize("program", [HANGS_AT_THE_END, THE_DAEMON])
def test_a_program_ends_over_calls_that_hang_and_others_go_on_meanwhile(tmp_path: Path, program: str) -> None:
    fifo = tmp_path / "hangs"
    os.mkfifo(fifo)
    argv, env = [sys.executable, "-c", program, str(fifo)], {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=True, cwd=tmp_path, env=env)
    assert done.stdout == "THE OTHERS GO ON\nit has ended\n"
    assert "Traceback" not in done.stderr


async def test_what_a_call_returns_or_raises_comes_back() -> None:
    asyncio.get_running_loop().set_default_executor(LeftBehind())
    assert await asyncio.to_thread(divmod, 7, 2) == (3, 1)
    assert await in_thread(lambda: divmod(7, 2), "a test") == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(divmod, 7, 0)
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: divmod(7, 0), "a test")


async def test_more_than_the_most_wait_for_their_turn() -> None:
    threads, gate, done = LeftBehind(most=2), threading.Event(), list[int]()

    def work(number: int) -> None:
        gate.wait(LIMIT_S)
        done.append(number)

    calls: list[Future[None]] = [threads.submit(work, number) for number in range(6)]
    assert [call.running() for call in calls] == [True, True, False, False, False, False]
    assert calls[3].cancel()
    gate.set()
    await until(lambda: len(done) == 5)
    assert sorted(done) == [0, 1, 2, 4, 5]
    await until(lambda: all(call.done() for call in calls))
    threads.shutdown()


def test_what_does_not_hang_is_waited_for_at_the_end_and_nothing_is_taken_any_more() -> None:
    threads, gate = LeftBehind(most=1), threading.Event()
    short = threads.submit(time.sleep, 0.1)
    waiting = threads.submit(gate.set)
    threads.shutdown()
    assert short.done()
    assert not waiting.done()
    assert not gate.is_set()
    with pytest.raises(RuntimeError, match="ends"):
        threads.submit(str)
