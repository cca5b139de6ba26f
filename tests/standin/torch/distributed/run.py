"""The stand-in's torchrun: an agent whose ranks have sessions of their own.

python -m torch.distributed.run --nproc_per_node N [--master_port P] SCRIPT ARGS...
"""

import os
import signal
import socket
import sys

LIFETIME_S = 600
DEFAULT_PORT = 29500


class TermError(Exception):
    """SIGTERM came."""


def main(argv: list[str]) -> int:
    """Start the ranks and wait for them: one that fails ends all, as does the end of rank 0."""
    signal.alarm(LIFETIME_S)
    with open("/proc/self/comm", "w") as name:
        name.write("pt_elastic")
    ranks = int(argv[argv.index("--nproc_per_node") + 1])
    begin = next(number for number, word in enumerate(argv) if word.endswith(".py"))
    port = int(argv[argv.index("--master_port") + 1]) if "--master_port" in argv[:begin] else DEFAULT_PORT
    signal.signal(signal.SIGTERM, _raise)
    with socket.socket() as store:
        try:
            store.bind(("127.0.0.1", port))
        except OSError:
            message = f"port: {port}, useIpv6: 0, code: -98, name: EADDRINUSE, message: address already in use"
            sys.stderr.write(f"torch.distributed.DistNetworkError: The server socket has failed to listen: {message}\n")
            return 1
        store.listen()
        pids = [_start(argv[begin:], rank, ranks, port) for rank in range(ranks)]
        try:
            return _wait(pids)
        except TermError:
            _end(pids, signal.SIGTERM)
            sys.stderr.write("torch.distributed.elastic.multiprocessing.api.SignalException: got signal: 15\n")
            return 1


def _raise(_number: int, _frame: object) -> None:
    raise TermError


def _start(argv: list[str], rank: int, ranks: int, port: int) -> int:
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "MASTER_PORT": port}
    env = {**os.environ, **{name: str(value) for name, value in own.items()}, "MASTER_ADDR": "127.0.0.1"}
    argv = [sys.executable, "-S", "-u", *argv]
    return os.posix_spawn(argv[0], argv, env, setsid=True, setsigdef=[signal.SIGTERM])


def _wait(pids: list[int]) -> int:
    left = set(pids)
    while left:
        pid, status = os.wait()
        left.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        if pid in pids and code != 0:
            _end(list(left), signal.SIGTERM)
            sys.stderr.write(
                f"torch.distributed.elastic.multiprocessing.errors.ChildFailedError: exitcode: {code} (pid: {pid})\n"
            )
            return 1
        if pid == pids[0]:
            _end(list(left), signal.SIGKILL)
            return 0
    return 0


def _end(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
    for pid in pids:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
