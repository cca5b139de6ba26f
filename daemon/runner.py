"""The per-job runner: starts one training, outlives the daemon, and tells how the training ended.

    runner.py RECORD LOCK LOG CWD ARGV...

It has a session of its own and is a child subreaper: whatever a training leaves behind becomes its child, sessions and
double forks notwithstanding, so no process of the training is left when it has no child. It writes `runner.json` before
the training is let go and `exit.json` when nothing is left of it; both are whole or absent. A stop is ordered by
`stop.json` and SIGUSR1, so that it goes on without the daemon.

LOCK is the number of a descriptor that holds the record's lock. The runner keeps it to its end, so that a record
without `runner.json` tells whether a runner is just starting. Standard output is closed when the training runs; what it
carries until then is why it could not be started.

A host may hold a lease for all its runs (`lease.json` beside their records): where it runs out, because the daemon
can no longer renew it, every runner ends its training, so that another host may start the job in peace. A lease that
has run out before lets no training go; one that can't be read any more still ends when it was to end.

The standard library alone, and little of it: it must start in milliseconds.
"""

import contextlib
import errno
import json
import os
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
LINGER_S = 10.0
"""How long what a training leaves behind may live on: data loader workers take about 4 s."""
TERM_S = 5.0
"""Then SIGTERM, and after so long SIGKILL."""
UNKILLABLE_S = 30.0
"""After so long SIGKILL has not helped: a process in the kernel's hands. It is told of, not waited for."""
DEFAULT_GRACE_S = 30.0
"""Of a stop whose order can't be read: SIGTERM by a person, a disk too full for `stop.json`."""
TICK_S = 0.1
IDLE_S = 5.0
"""Between looks for an order whose signal was lost: a daemon may die between writing `stop.json` and signalling."""
LEASED_IDLE_S = 1.0
"""The same where the host has a lease: that runs on while the host sleeps, and no wait here does."""
RETRY_S = 1.0
LEASE = "lease.json"
EXEC_FAILED = 127
NEVER = float("inf")
DEAD = ("Z", "X")
FULL = (errno.ENOSPC, errno.EDQUOT)
HEARD = (signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM)

Process = tuple[int, int, str, str]
"""pid, parent, name, state."""


class StartError(Exception):
    """The training could not be started; the message says why."""


# ---------------------------------------------------------------- records


def write_record(folder: str, name: str, record: dict[str, object]) -> None:
    """Write a record so that it is there whole, or not at all, over a power cut too."""
    path = os.path.join(folder, name)
    part = f"{path}.{os.getpid()}"
    try:
        with open(part, "w", encoding="utf-8") as out:
            json.dump(record, out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_last_record(folder: str, name: str, record: dict[str, object]) -> None:
    """Write what only this process knows, however long the disk is full; a folder that is gone wants no record.

    That the disk was full is written as well: it explains a training that could not write its log, and so not say why.
    """
    while True:
        try:
            write_record(folder, name, record)
        except OSError as error:
            if not os.path.isdir(folder):
                return
            if error.errno in FULL:
                record["disk_full"] = True
            with contextlib.suppress(OSError):  # the word of it may go to the same full disk
                os.write(2, f"can't write {name}, trying again: {error}\n".encode(errors="replace"))
            time.sleep(RETRY_S)
        else:
            return


def read_record(folder: str, name: str) -> dict[str, object] | None:
    """A record, or None where there is none."""
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as source:
            return json.load(source)
    except (OSError, ValueError):
        return None


def boot_id() -> str:
    """Names this boot of the host: pids and start times mean nothing across boots."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:
        return source.read().strip()


def lease_now() -> float:
    """Now, by the clock of leases: it counts a host's sleep too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def write_lease(folder: str, until: float) -> None:
    """Let the runs whose records lie in this folder go on until then."""
    write_record(folder, LEASE, {"boot_id": boot_id(), "until": until})


class Lease:
    """The lease of the host on which the run of a record lies, as far as it could be read."""

    def __init__(self, record: str) -> None:
        self._path = os.path.join(os.path.dirname(record), LEASE)
        self._boot_id = boot_id()
        self._until = NEVER
        try:
            self._look()
        except (OSError, ValueError) as error:
            raise StartError(f"can't read the lease of this host's runs: {error}") from None

    def left_s(self) -> float:
        """How long the run may still go on; without end where its host has no lease.

        Only a lease that is certainly gone is none: where it can't be read, what was last read of it holds.
        """
        with contextlib.suppress(OSError, ValueError):
            self._look()
        return self._until - lease_now()

    def _look(self) -> None:
        try:
            with open(self._path, encoding="utf-8") as source:
                lease: dict[str, object] | list[object] | None = json.load(source)
        except FileNotFoundError:
            self._until = NEVER
            return
        told = lease if isinstance(lease, dict) else {}
        until = told.get("until")
        if not isinstance(until, int | float):
            raise ValueError("it tells no time")  # noqa: TRY004  # what is read is wrong, not what it is read as
        self._until = until if told.get("boot_id") == self._boot_id else NEVER


# ---------------------------------------------------------------- the process tree


def stat_of(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the name (0: state, 1: parent, 19: start time), with the name last."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as source:
            text = source.read().decode(errors="replace")
    except OSError:
        return None
    head, _, tail = text.rpartition(")")
    return [*tail.split(), head.partition("(")[2]]


def state_of(stat: list[str]) -> str:
    """The state letter; `Z` and `X` are dead, but `Zl` is not: its main thread has ended and others live on."""
    return "Zl" if stat[0] == "Z" and int(stat[17]) > 1 else stat[0]


def start_of(pid: int) -> str:
    """A living process's start time; empty where it is dead. With its pid and the boot it names a process for ever."""
    stat = stat_of(pid)
    return stat[19] if stat is not None and state_of(stat) not in DEAD else ""


def processes() -> list[Process]:
    """Every process of the host."""
    found: list[Process] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            stat = stat_of(int(name))
            if stat is not None:
                found.append((int(name), int(stat[1]), stat[-1], state_of(stat)))
    return found


def below(root: int) -> list[Process]:
    """Every living process below a process, parents before children.

    For sending signals, again and again: /proc is not read in one moment, so one may be missed. That none is left is
    told by `waitpid` alone.
    """
    children: dict[int, list[Process]] = {}
    for process in processes():
        children.setdefault(process[1], []).append(process)
    found: list[Process] = []
    queue = [root]
    for pid in queue:
        for process in children.get(pid, ()):
            queue.append(process[0])
            if process[3] not in DEAD:
                found.append(process)
    return found


def cmdline_of(pid: int) -> str:
    """A process's command line, its arguments joined by blanks."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as source:
            return source.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def environ_of(pid: int) -> list[bytes]:
    """A process's environment at its start."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as source:
            return source.read().split(b"\0")
    except OSError:
        return []


def trainer_among(tree: list[Process]) -> int | None:
    """The process that trains, which alone must get the signal that makes it save.

    It runs `swift/cli/sft.py`, is neither torchrun's agent nor a data loader worker (those have their parent's command
    line), and under torchrun is the rank 0, because one rank's word stops all.
    """
    lines = {pid: cmdline_of(pid) for pid, _, _, _ in tree}
    found = [
        pid
        for pid, parent, name, _ in tree
        if ("swift/cli/sft.py" in lines[pid] or "-m swift.cli.sft" in lines[pid])
        and "torch.distributed" not in lines[pid]
        and not name.startswith("pt_data_")
        and lines.get(parent) != lines[pid]
    ]
    for pid in found:
        if b"RANK=0" in environ_of(pid):
            return pid
    return found[0] if found else None


def send(pid: int, number: int) -> None:
    """Signal a process; one that is gone is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


# ---------------------------------------------------------------- the start


def start(record: str, log: str, cwd: str, argv: list[str], lease: Lease) -> tuple[int, bool]:
    """Start the leader in a session of its own, both streams appended to the log; its process id, and whether it began.

    It is forked, recorded, and only then let go: a runner that dies in between leaves no training that nobody knows.
    Where the host's lease has run out by then it is not let go, and ends without having been anything.
    """
    go_reading, go_writing = os.pipe()
    problem_reading, problem_writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_writing)
        _become(log, cwd, argv, go_reading, problem_writing)
    os.close(go_reading)
    os.close(problem_writing)
    try:
        write_record(record, "runner.json", _who(pid))
    except OSError as error:
        os.close(go_writing)
        os.waitpid(pid, 0)
        raise StartError(f"can't record the run: {error}") from None
    begins = lease.left_s() > 0
    if begins:
        os.write(go_writing, b"!")
    os.close(go_writing)
    with os.fdopen(problem_reading, "rb") as source:
        problem = source.read().decode(errors="replace")
    if problem:
        os.waitpid(pid, 0)
        with contextlib.suppress(OSError):  # for whoever adopts it; its starter reads the words below
            write_record(record, "exit.json", {"exit_code": EXEC_FAILED, "ended_at": time.time(), "note": problem})
        raise StartError(problem)
    return pid, begins


def _who(pid: int) -> dict[str, object]:
    return {
        "runner_pid": os.getpid(),
        "runner_start": start_of(os.getpid()),
        "pid": pid,
        "start": start_of(pid),
        "boot_id": boot_id(),
        "started_at": time.time(),
    }


def _become(log: str, cwd: str, argv: list[str], go_reading: int, problem_writing: int) -> None:
    """In the child: take the training's shape, wait to be let go, and turn into it, or say why that can't be."""
    doing = f"start {argv[0]}"
    try:
        os.setsid()
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            with contextlib.suppress(OSError, ValueError):  # some are the C library's own
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if os.read(go_reading, 1):
            doing = f"open the log {log}"
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
            os.dup2(out, 1)
            os.dup2(out, 2)
            doing = f"enter the work folder {cwd}"
            os.chdir(cwd)
            doing = f"start {argv[0]}"
            os.execvp(argv[0], argv)  # noqa: S606  # an argument vector, never a shell
    except OSError as error:
        os.write(problem_writing, f"can't {doing}: {error.strerror}".encode(errors="replace"))
    finally:
        os._exit(EXEC_FAILED)


# ---------------------------------------------------------------- the run


class Runner:
    """One training, from its start to the last of its processes. All times are of the clock that never goes back."""

    def __init__(self, record: str, lease: Lease, leader: int, began: bool) -> None:
        self.record = record
        self.lease = lease
        self.leader = leader
        self.exit_code: int | None = None
        self.ended_at: float | None = None
        """Of the leader, as a date."""
        self.order: dict[str, object] | None = None
        """The stop that is being carried out."""
        self.term_at = NEVER
        """From then on every process gets SIGTERM, once."""
        self.kill_at = NEVER
        """From then on every process gets SIGKILL, until it is gone."""
        self.fenced = not began
        """The leader was ended, or never let go, because the host's lease had run out."""
        self._signalled = False
        self._termed: set[tuple[int, str]] = set()

    def run(self) -> list[Process]:
        """Until no process is left; else those that can't be ended."""
        while self._reap():
            self._take_order()
            now = time.monotonic()
            left_s = self.lease.left_s()
            if left_s <= 0:
                self.fenced = self.fenced or self.exit_code is None  # a leader that ended by itself has its own end
                self._press(now, now)
            if now >= self.kill_at + UNKILLABLE_S:
                return below(os.getpid())
            if now >= self.kill_at:
                self._kill()
            elif now >= self.term_at:
                self._term()
            self._sleep(left_s)
        return []

    def _reap(self) -> bool:
        """Take the exit of every child that ended; False: there is none any more, and so no process of the training."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.leader:
                self.exit_code = os.waitstatus_to_exitcode(status)
                self.ended_at = time.time()
                # what it leaves behind may linger, then it is ended
                self._press(time.monotonic() + LINGER_S, time.monotonic() + LINGER_S + TERM_S)

    def _take_order(self) -> None:
        """Begin a stop that was ordered, or shorten the grace of one that was begun."""
        order = read_record(self.record, "stop.json")
        if not self._signalled and (order is None or self.order is not None):
            return
        self._signalled = False
        order = order or {}
        now = time.monotonic()
        grace_s = _seconds(order.get("grace_s"))
        trainer = trainer_among(below(os.getpid())) if order.get("save") else None
        if trainer is None:
            self._press(now, now + grace_s)
        else:
            self._press(NEVER, now + grace_s)
            if self.order is None:
                send(trainer, signal.SIGTERM)
        self.order = order

    def _press(self, term_at: float, kill_at: float) -> None:
        """Times only ever come nearer."""
        self.term_at = min(self.term_at, term_at)
        self.kill_at = min(self.kill_at, kill_at)

    def _term(self) -> None:
        for pid, _, _, _ in below(os.getpid()):
            name = (pid, start_of(pid))
            if name not in self._termed:
                self._termed.add(name)
                send(pid, signal.SIGTERM)

    def _kill(self) -> None:
        for pid, _, _, _ in below(os.getpid()):
            send(pid, signal.SIGKILL)

    def _sleep(self, lease_left_s: float) -> None:
        """Until something happens: a child ended, an order came, a time is there; while processes resist, shortly."""
        next_s = min(min(self.term_at, self.kill_at) - time.monotonic(), lease_left_s)
        idle_s = IDLE_S if lease_left_s == NEVER else LEASED_IDLE_S
        came = signal.sigtimedwait(HEARD, min(idle_s, next_s) if next_s > TICK_S else TICK_S)
        if came is not None and came.si_signo != signal.SIGCHLD:
            self._signalled = True


def _seconds(value: object) -> float:
    return max(0.0, float(value)) if isinstance(value, int | float) else DEFAULT_GRACE_S


def prepare(record: str, lock: int) -> None:
    """Take the runner's shape. Raises `StartError`."""
    if any(os.path.exists(os.path.join(record, name)) for name in ("runner.json", "exit.json")):
        raise StartError("this run was started before")
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever ignores it is told of no child's end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for name in os.listdir("/proc/self/fd"):  # the driver's libraries leave theirs open over an exec
        if int(name) > 2 and int(name) != lock:
            with contextlib.suppress(OSError):
                os.close(int(name))
    os.set_inheritable(lock, False)
    import ctypes  # late: the one import that costs

    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise StartError("can't become a child subreaper")


def main(record: str, lock: int, log: str, cwd: str, argv: list[str]) -> None:
    """Run a training to the end of its last process."""
    try:
        prepare(record, lock)
        lease = Lease(record)
        runner = Runner(record, lease, *start(record, log, cwd, argv, lease))
    except StartError as error:
        os.write(1, str(error).encode(errors="replace"))
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)  # who started this reads that the training runs
    os.chdir("/")
    left = runner.run()
    end: dict[str, object] = {
        "exit_code": runner.exit_code,
        "ended_at": runner.ended_at,
        "processes_left": len(left),
        "left": [[pid, start_of(pid)] for pid, _, _, _ in left],
        "note": ", ".join(f"{pid} ({name}, {state})" for pid, _, name, state in left[:8]),
        "stopped": runner.order is not None,
        "fenced": runner.fenced,
    }
    write_last_record(record, "exit.json", end)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]), int(sys.argv[2]), os.path.abspath(sys.argv[3]), sys.argv[4], sys.argv[5:])
