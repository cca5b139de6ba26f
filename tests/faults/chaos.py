"""`make chaos`: faults in random order against jobs of the stand-in, for as long as one likes, and a table at the end.

    python -m tests.faults.chaos [--minutes 2] [--seed N]

A private RabbitMQ and mongod, a proxy before each, one daemon as a process. Ctrl-C ends the faults early; the jobs are
then brought to their ends and the table is printed all the same; a second Ctrl-C leaves at once. Exit code 1 where
something was lost, done twice or left behind; the folder with all logs is kept then.
"""

import argparse
import asyncio
import logging
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.account import Account, account_of
from tests.faults.mischief import Mischief
from tests.faults.place import Place
from tests.faults.proxy import HEARTBEAT, QUICK_STORE, Proxy
from tests.faults.services import REPO, Services
from tests.faults.witness import Witness, witness
from tests.faults.workload import SLOTS, Workload

STANDIN = f"{sys.executable} {REPO / 'tests' / 'standin' / 'swift_standin.py'}"
LONGEST_PAUSE_S = 2.0
ENDING_LIMIT_S = 180.0
BUG = re.compile(r"^\S+ ERROR +(\w+): (?!processes_left)", re.MULTILINE)
"""What the daemon calls an error is one of its own; outages are warnings."""


@dataclass
class Outcome:
    """What is to be told at the end."""

    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter[str])
    orders: Counter[str] = field(default_factory=Counter[str])
    accounts: list[Account] = field(default_factory=list[Account])
    jobs_beyond: int = 0
    """In the store without having been ordered."""
    unanswered: list[str] = field(default_factory=list[str])
    unended: list[str] = field(default_factory=list[str])
    bad_ends: list[str] = field(default_factory=list[str])
    bugs: list[str] = field(default_factory=list[str])
    left: list[str] = field(default_factory=list[str])
    repeated: int = 0
    events: int = 0

    @property
    def must_be_0(self) -> dict[str, int]:
        """The rows of the table that decide."""
        accounts = self.accounts
        return {
            "events lost": sum(len(account.events_lost) for account in accounts),
            "steps lost": sum(len(account.steps_lost) for account in accounts),
            "steps double": sum(len(account.steps_double) for account in accounts),
            "steps with wrong figures": sum(len(account.steps_wrong) for account in accounts),
            "spawns beyond attempts": sum(account.spawns_beyond for account in accounts),
            "untrue completions": sum(account.untrue for account in accounts),
            "processes left": sum(account.processes_left for account in accounts) + len(self.left),
            "jobs beyond orders": self.jobs_beyond,
            "jobs that never ended": len(self.unended),
            "orders never answered": len(self.unanswered),
            "daemon ended unasked": len(self.bad_ends),
            "bugs in the daemon's log": len(self.bugs),
        }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long faults happen (2)")
    parser.add_argument("--seed", type=int, default=None, help="for the same mixture again; else drawn and told")
    options = parser.parse_args()
    logging.disable()  # aio-pika tells of every cut connection, and that is what happens here all the time
    seed = options.seed if options.seed is not None else random.randrange(1_000_000)
    folder = Path(tempfile.mkdtemp(prefix="swift-trainer-chaos-"))
    _say(f"seed {seed}, folder {folder}")
    try:
        outcome = asyncio.run(chaos(folder, options.minutes * 60, random.Random(seed)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        shutil.rmtree(folder, ignore_errors=True)
        sys.exit(130)
    sys.stdout.write(f"\nchaos: {outcome.seconds:.0f} s, seed {seed}\n\n{table(outcome)}\n")
    if any(outcome.must_be_0.values()):
        for account in outcome.accounts:
            if not account.sound:
                sys.stdout.write(f"{account}\n")
        for text in (*outcome.bugs, *outcome.bad_ends, *outcome.unanswered, *outcome.unended, *outcome.left):
            sys.stdout.write(f"{text}\n")
        sys.stdout.write(f"everything is kept in {folder}\n")
        sys.exit(1)
    shutil.rmtree(folder, ignore_errors=True)


async def chaos(folder: Path, duration_s: float, chance: random.Random) -> Outcome:
    """Faults for so long, then the accounts."""
    stopping = _on_interrupt()
    async with AsyncExitStack() as stack:
        services = Services(folder / "services")
        stack.push_async_callback(services.close)
        await services.open()
        broker = await stack.enter_async_context(Proxy.before(services.amqp_url, **HEARTBEAT))
        store = await stack.enter_async_context(Proxy.before(services.mongodb_url, **QUICK_STORE))
        found = await stack.enter_async_context(witness(services.amqp_url))
        place = Place(folder, services.amqp_url, services.mongodb_url, STANDIN, devices=f"cpu:{SLOTS}")
        stack.push_async_callback(place.abandon)
        mischief = Mischief(place, found, services, broker, store, chance)
        workload = Workload(place, found, random.Random(chance.random()))
        await mischief.begin()
        outcome = Outcome()
        outcome.seconds = await _misbehave(mischief, workload, duration_s, chance, stopping)
        _say("no more faults; bringing the jobs to their ends")
        await mischief.mend()
        await workload.settled()
        outcome.unended = await workload.ended(ENDING_LIMIT_S)
        await _account(outcome, found)
        outcome.faults, outcome.bad_ends = mischief.done, mischief.bad_ends
        outcome.orders, outcome.unanswered = workload.asked, workload.unanswered
        outcome.bugs = [match[0] for match in BUG.finditer(place.daemon_log())]
        outcome.left = [] if outcome.unended else [str(process) for process in place.left()]
        return outcome


def _on_interrupt() -> asyncio.Event:
    """The first Ctrl-C ends the faults, the second everything."""
    stopping = asyncio.Event()
    task = asyncio.current_task()

    def interrupted() -> None:
        if stopping.is_set() and task is not None:
            task.cancel()
        stopping.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted)
    return stopping


async def _misbehave(
    mischief: Mischief, workload: Workload, duration_s: float, chance: random.Random, stopping: asyncio.Event
) -> float:
    """Faults beside orders; how long, in seconds."""
    began = time.monotonic()
    ordering = asyncio.create_task(workload.run(), name="workload")
    try:
        while not stopping.is_set() and time.monotonic() - began < duration_s:
            names = await mischief.once()
            _say(f"{time.monotonic() - began:5.0f} s  {names}")
            await asyncio.sleep(chance.uniform(0, LONGEST_PAUSE_S))
            if ordering.done():
                break
    finally:
        ordering.cancel()
        result = (await asyncio.gather(ordering, return_exceptions=True))[0]
    if not isinstance(result, asyncio.CancelledError):
        raise RuntimeError("the workload itself failed") from result  # noqa: TRY004  # not a wrong type, a failure
    return time.monotonic() - began


async def _account(outcome: Outcome, found: Witness) -> None:
    outcome.accounts = [await account_of(found, job_id) for job_id in found.jobs]
    outcome.jobs_beyond = (await found.order("job.list"))["total"] - len(found.jobs)
    outcome.events, outcome.repeated = len(found.events), found.repeated


def table(outcome: Outcome) -> str:
    """What happened, and what must not have."""
    statuses = Counter(account.status for account in outcome.accounts)
    rows = [f"{name:32}{count:6}" for name, count in outcome.must_be_0.items()]
    events = f"events received {outcome.events}, of them repeated under a known id {outcome.repeated}"
    return "\n\n".join(
        (
            _section("faults", outcome.faults),
            _section("orders", outcome.orders),
            _section("jobs by final status", statuses),
            events,
            "\n".join(["must be 0", *(f"  {row}" for row in rows)]),
        )
    )


def _section(title: str, counts: Counter[str]) -> str:
    rows: Sequence[str] = [f"  {name:32}{count:6}" for name, count in sorted(counts.items())]
    return "\n".join([f"{title:34}{counts.total():6}", *rows])


def _say(text: str) -> None:
    sys.stderr.write(f"chaos: {text}\n")


if __name__ == "__main__":
    main()
