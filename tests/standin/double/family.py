"""The processes beside a stand-in's trainer: data loader workers, and daemons that nobody asked for."""

import os
import signal
import time
from contextlib import suppress

LIFETIME_S = 600
POLL_S = 0.05


def ignore_sigterm() -> None:
    """A trainer that does not want to hear."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Workers:
    """Data loader workers: forked, in the trainer's group, with its command line."""

    def __init__(self, count: int, *, ignoring: bool, linger_s: float) -> None:
        self.pids = [self._fork(ignoring=ignoring, linger_s=linger_s) for _ in range(count)]

    def _fork(self, *, ignoring: bool, linger_s: float) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        signal.alarm(LIFETIME_S)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN if ignoring else signal.SIG_DFL)
        with open("/proc/self/comm", "w") as name:
            name.write("pt_data_worker")
        while os.getppid() == parent:
            time.sleep(POLL_S)
        time.sleep(linger_s)
        os._exit(0)

    def dead(self) -> int | None:
        """A worker that was killed: torch fails the training for it."""
        for pid in self.pids:
            with suppress(ChildProcessError):
                found, _ = os.waitpid(pid, os.WNOHANG)
                if found:
                    return pid
        return None

    def end(self) -> None:
        """The training is over."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def daemonize(count: int, path: str) -> None:
    """Start processes that leave the tree: forked twice, each with a session of its own; their ids go to a file."""
    for _ in range(count):
        middle = os.fork()
        if middle:
            os.waitpid(middle, 0)
            continue
        os.setsid()
        if os.fork() == 0:
            signal.alarm(LIFETIME_S)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            with open("/proc/self/comm", "w") as name:
                name.write("daemonized")
            with open(path, "a", encoding="ascii") as out:
                out.write(f"{os.getpid()}\n")
            while True:
                time.sleep(60)
        os._exit(0)
