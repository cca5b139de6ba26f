"""Ending what was started: one signal, patience, then SIGKILL."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy import services
from tests.waiting import until

STOPS_IN_ORDER = """
import signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(time.monotonic()))
print("ready", flush=True)
while not told or time.monotonic() < told[0] + 3:  # longer than the pauses after which it was once told again
    time.sleep(0.05)
print(f"told {len(told)} times", flush=True)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


Run = Callable[[str], Mapping[str, str]]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "output.log"


@pytest.fixture
def run(log: Path) -> Iterator[Run]:
    """Starts a program; its record. Killed afterwards, whatever happened."""
    with ExitStack() as stack:

        def start(program: str) -> Mapping[str, str]:
            out = stack.enter_context(log.open("wb"))
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", program], stdout=out))
            stack.callback(process.kill)
            return {"pid": str(process.pid), "start": services.start_time(process.pid) or ""}

        yield start


async def test_who_stops_in_order_is_told_once(log: Path, run: Run) -> None:
    record = run(STOPS_IN_ORDER)
    await until(lambda: "ready" in log.read_text())
    services.end(record, signal.SIGTERM)
    assert not services.alive(record)
    assert log.read_text().splitlines()[-1] == "told 1 times"


async def test_who_does_not_go_within_the_limit_is_killed(log: Path, run: Run) -> None:
    record = run(DEAF)
    await until(lambda: "ready" in log.read_text())
    services.end(record, signal.SIGTERM, 0.2)
    assert not services.alive(record)
