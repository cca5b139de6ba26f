"""The per-job runner: starts one training, outlives the daemon, and tells how the training ended.

    runner.py RECORD LOG CWD ARGV...

It has a session of its own and is a child subreaper: whatever a training leaves behind becomes its child, sessions and
double forks notwithstanding, so the tree below it is all there is. It writes `runner.json` when the training has been
started and `exit.json` when no process of it is left; both are whole or absent. A stop is ordered by `stop.json` and
SIGUSR1, so that it goes on without the daemon.

The standard library alone, and little of it: it must start in milliseconds.
"""

import contextlib
import json
import os
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
LINGER_S = 10.0
"""How long what a training leaves behind may live on: data loader workers take about 4 s."""
TERM_S = 5.0
UNKILLABLE_S = 30.0
"""After so long SIGKILL has not helped: a process in the kernel's hands. It is told of, not waited for."""
DEFAULT_GRACE_S = 30.0
TICK_S = 0.1
EXEC_FAILED = 127

Process = tuple[int, int, str, str]
"""pid, parent, name, state."""


# ---------------------------------------------------------------- records


def write_record(folder: str, name: str, record: dict[str, object]) -> None:
    """Write a record so that it is there whole, or not at all, over a power cut too."""
    path = os.path.join(folder, name)
    part = f"{path}.{os.getpid()}"
    with open(part, "w", encoding="utf-8") as out:
        json.dump(record, out)
        out.flush()
        os.fsync(out.fileno())
    os.replace(part, path)
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


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


def processes() -> list[Process]:
    """Every process of the host."""
    found: list[Process] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            stat = stat_of(int(name))
            if stat is not None:
                found.append((int(name), int(stat[1]), stat[-1], stat[0]))
    return found


def below(root: int) -> list[Process]:
    """Every living process below a process, parents before children."""
    children: dict[int, list[Process]] = {}
    for process in processes():
        children.setdefault(process[1], []).append(process)
    found: list[Process] = []
    queue = [root]
    for pid in queue:
        for process in children.get(pid, ()):
            queue.append(process[0])
            if process[3] not in "ZX":
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


# ---------------------------------------------------------------- the run


class Runner:
    """One training, from its start to the last of its processes."""

    def __init__(self, record: str) -> None:
        self.record = record
        self.leader = 0
        self.exit_code: int | None = None
        self.ended_at = 0.0
        self.kill_at: float | None = None
        self.stop_asked = False
        self.stopped = False

    def start(self, log: str, cwd: str, argv: list[str]) -> None:
        """Start the leader in a session of its own, both streams appended to the log."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._become(log, cwd, argv, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as source:
            problem = source.read().decode(errors="replace")
        self.leader = pid
        if problem:
            os.waitpid(pid, 0)
            write_record(self.record, "exit.json", {"exit_code": EXEC_FAILED, "spawn_error": problem})
            sys.exit(0)
        stat, own = stat_of(pid), stat_of(os.getpid())
        write_record(
            self.record,
            "runner.json",
            {
                "runner_pid": os.getpid(),
                "runner_start": own[19] if own else "",
                "pid": pid,
                "start": stat[19] if stat else "",
                "boot_id": boot_id(),
                "started_at": time.time(),
            },
        )

    def _become(self, log: str, cwd: str, argv: list[str], writing: int) -> None:
        """In the child: take the training's shape and turn into it, or say why that can't be."""
        try:
            os.setsid()
            for number in (
                signal.SIGUSR1,
                signal.SIGTERM,
                signal.SIGINT,
                signal.SIGCHLD,
                signal.SIGPIPE,
                signal.SIGHUP,
            ):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.chdir(cwd)
            os.execvp(argv[0], argv)  # noqa: S606  # an argument vector, never a shell
        except OSError as error:
            where = error.filename if error.filename is not None else argv[0]
            os.write(writing, f"can't start {argv[0]}: {error.strerror} ({where})".encode())
        os._exit(EXEC_FAILED)

    def wait(self) -> None:
        """Wait for the leader and carry out stops meanwhile."""
        while self.exit_code is None:
            self._take_order()
            self._kill_if_due()
            self._sleep()
            self._reap()

    def clear(self) -> int:
        """End what the leader left behind; the number of processes that can't be ended."""
        began = time.monotonic()
        while True:
            self._reap()
            left = below(os.getpid())
            waited_s = time.monotonic() - began
            if not left:
                return 0
            self._take_order()
            if (self.kill_at is not None and time.monotonic() >= self.kill_at) or waited_s > LINGER_S + TERM_S:
                self._signal_all(signal.SIGKILL)
            elif waited_s > LINGER_S:
                self._signal_all(signal.SIGTERM)
            limit_s = max(LINGER_S + TERM_S, (self.kill_at or began) - began) + UNKILLABLE_S
            if waited_s > limit_s:
                return len(left)
            self._sleep()

    def _take_order(self) -> None:
        """Carry out what SIGUSR1 (or SIGTERM, which a person may send) asks: begin a stop that was ordered, or shorten the grace of one that was begun."""
        if not self.stop_asked:
            return
        self.stop_asked = False
        order = read_record(self.record, "stop.json") or {}
        grace_s = float(str(order.get("grace_s", DEFAULT_GRACE_S)))
        at = time.monotonic() + grace_s
        self.kill_at = at if self.kill_at is None else min(self.kill_at, at)
        if self.stopped:
            return
        self.stopped = True
        trainer = trainer_among(below(os.getpid())) if order.get("save") else None
        if trainer is not None:
            send(trainer, signal.SIGTERM)
        else:
            self._signal_all(signal.SIGTERM)

    def _kill_if_due(self) -> None:
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: int) -> None:
        for pid, _, _, _ in below(os.getpid()):
            send(pid, number)

    def _reap(self) -> None:
        """Take the exit of every child that ended; the leader's is the run's."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.leader:
                self.exit_code = os.waitstatus_to_exitcode(status)
                self.ended_at = time.time()

    def _sleep(self) -> None:
        """Until something happens: a child ended, an order came; while a stop is under way, shortly."""
        busy = self.kill_at is not None or self.exit_code is not None
        came = signal.sigtimedwait((signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM), TICK_S if busy else 60.0)
        if came is not None and came.si_signo != signal.SIGCHLD:
            self.stop_asked = True


def main(record: str, log: str, cwd: str, argv: list[str]) -> None:
    """Run a training to the end of its last process."""
    import ctypes  # late: the one import that costs

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    runner = Runner(record)
    runner.start(log, cwd, argv)
    runner.wait()
    left = runner.clear()
    end: dict[str, object] = {
        "exit_code": runner.exit_code,
        "ended_at": runner.ended_at,
        "processes_left": left,
        "stopped": runner.stopped,
    }
    if left:
        end["note"] = ", ".join(f"{pid} ({name}, {state})" for pid, _, name, state in below(os.getpid())[:8])
    write_record(record, "exit.json", end)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
