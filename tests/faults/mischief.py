"""The faults of chaos, each with its mending: after any of them everything is there again."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable

import psutil

from tests.e2e.harness import Daemon, processes_of
from tests.faults.place import Place, send
from tests.faults.proxy import Proxy
from tests.faults.services import Name, Services
from tests.faults.witness import Witness

FINE_CODES = (0, -signal.SIGKILL)
"""Of a daemon that was told to stop (by Ctrl-C too, which reaches it from a terminal), and of one that was killed."""
LONGEST_OUTAGE_S = 6.0

Fault = Callable[[], Awaitable[None]]


class Mischief:
    """What can go wrong around one daemon."""

    def __init__(
        self, place: Place, found: Witness, services: Services, broker: Proxy, store: Proxy, chance: random.Random
    ) -> None:
        self._place = place
        self._found = found
        self._services = services
        self._proxies: dict[Name, Proxy] = {"rabbitmq": broker, "mongod": store}
        self._chance = chance
        self._daemon: Daemon | None = None
        self.done: Counter[str] = Counter()
        self.bad_ends: list[str] = []
        """Ends of the daemon that nobody asked for."""

    @property
    def kinds(self) -> dict[str, dict[str, Fault]]:
        """The faults by what they befall; two of one kind never happen at once."""
        return {
            "daemon": {
                "daemon killed": lambda: self._end_daemon(signal.SIGKILL),
                "daemon stopped": lambda: self._end_daemon(signal.SIGTERM),
                "daemon frozen": self._freeze_daemon,
            },
            "broker": self._of_service("broker", "rabbitmq"),
            "store": self._of_service("store", "mongod"),
            "job": {
                "runner killed": lambda: self._kill(lambda process: "runner.py" in _line(process)),
                "training killed": lambda: self._kill(lambda process: "runner.py" not in _line(process)),
                "all of a job killed": self._kill_all,
            },
        }

    def _of_service(self, title: str, name: Name) -> dict[str, Fault]:
        proxy = self._proxies[name]
        return {
            f"{title} killed": lambda: self._restart(name, self._services.kill),
            f"{title} stopped": lambda: self._restart(name, self._services.down),
            f"{title} frozen": lambda: self._freeze(name),
            f"{title} cut off once": lambda: self._network(proxy, proxy.cut, 0),
            f"{title} refuses": lambda: self._network(proxy, proxy.refuse, LONGEST_OUTAGE_S),
            f"{title} is silent": lambda: self._network(proxy, proxy.blackhole, 2 * LONGEST_OUTAGE_S),
            f"{title}'s answers lost": lambda: self._network(proxy, proxy.lose_answers, 1),
        }

    async def begin(self) -> None:
        """Start the daemon."""
        self._daemon = await self._place.daemon(**self._settings())

    async def once(self) -> str:
        """One fault, or two at once; their names."""
        groups = self._chance.sample(list(self.kinds), self._chance.choice((1, 1, 2)))
        names = [self._chance.choice(list(self.kinds[group])) for group in groups]
        self.done.update(names)
        await asyncio.gather(*(self.kinds[group][name]() for group, name in zip(groups, names, strict=True)))
        return " + ".join(names)

    async def mend(self) -> None:
        """All is well from here on, also where a fault was interrupted."""
        for name, proxy in self._proxies.items():
            self._services.thaw(name)
            await self._services.up(name)
            await proxy.heal()
        await self._end_daemon(signal.SIGKILL)

    # ------------------------------------------------------------ the daemon

    def _settings(self) -> dict[str, object]:
        return {"amqp_url": self._proxies["rabbitmq"].url, "mongodb_url": self._proxies["mongod"].url}

    async def _end_daemon(self, number: int) -> None:
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            send(daemon.pid, signal.SIGCONT)
            code = await self._place.end(daemon, number)
            if code not in FINE_CODES:
                self.bad_ends.append(f"code {code}")
        await self._pause(1)
        await self.begin()

    async def _freeze_daemon(self) -> None:
        if self._daemon is not None:
            pid = self._daemon.pid
            send(pid, signal.SIGSTOP)
            try:
                await self._pause(LONGEST_OUTAGE_S)
            finally:
                send(pid, signal.SIGCONT)

    # ------------------------------------------------------------ services and networks

    async def _restart(self, name: Name, end: Callable[[Name], Awaitable[None]]) -> None:
        await end(name)
        await self._pause(LONGEST_OUTAGE_S)
        await self._services.up(name)

    async def _freeze(self, name: Name) -> None:
        self._services.freeze(name)
        try:
            await self._pause(LONGEST_OUTAGE_S)
        finally:
            self._services.thaw(name)

    async def _network(self, proxy: Proxy, act: Callable[[], None], longest_s: float) -> None:
        act()
        await self._pause(longest_s)
        if act == proxy.lose_answers:
            proxy.cut()
        await proxy.heal()

    async def _pause(self, longest_s: float) -> None:
        await asyncio.sleep(self._chance.uniform(0, longest_s))

    # ------------------------------------------------------------ trainings

    async def _kill(self, wanted: Callable[[psutil.Process], bool]) -> None:
        candidates = [process for process in self._victim() if wanted(process)]
        if candidates:
            send(self._chance.choice(candidates).pid, signal.SIGKILL)

    async def _kill_all(self) -> None:
        for process in self._victim():
            send(process.pid, signal.SIGKILL)

    def _victim(self) -> list[psutil.Process]:
        """The processes of some job that has any."""
        jobs = [job_id for job_id in self._found.jobs[-10:] if processes_of(job_id)]
        return processes_of(self._chance.choice(jobs)) if jobs else []


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
