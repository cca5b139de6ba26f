"""The daemon's own host: its devices, the processes that it runs, its files, and the ms-swift that is installed."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from daemon.core.devices import DeviceFault
from daemon.swift.checkpoints import Folder
from daemon.swift.installed import Installed
from schemas.events import Device

# ---------------------------------------------------------------- devices


class Devices(Protocol):
    """The devices of this host. Indices are stable while the daemon runs."""

    @property
    def uses_cuda(self) -> bool:
        """Whether a lease means `CUDA_VISIBLE_DEVICES`."""
        ...

    async def read(self) -> tuple[Device, ...]:
        """All devices with their present use; `state` is FREE, FOREIGN or UNHEALTHY (leases are not known here)."""
        ...

    async def faults(self) -> tuple[DeviceFault, ...]:
        """Wait for signs that devices are sick; those that were noticed since the last call, each once."""
        ...

    async def check(self) -> str:
        """`ok`, or what is wrong."""
        ...

    async def close(self) -> None: ...


# ---------------------------------------------------------------- processes


@dataclass(frozen=True, slots=True)
class RunSpec:
    """A process to start: one attempt of a training, or an export."""

    run_id: str
    """Name of the run record's folder: `{job_id}-{attempt}` or `{job_id}-export-{n}`."""
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """The whole environment of the process."""
    cwd: Path
    log_path: Path
    """Both output streams are appended here."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended."""

    exit_code: int | None
    """As `subprocess` has it: negative is the signal. None: neither process nor exit file, the run is lost."""
    ended_at: datetime
    processes_left: int = 0
    """Processes of the run that could not be ended."""
    note: str = ""
    """What else is known, for a person."""
    rebooted: bool = False
    """The host was started anew since the run began."""
    disk_full: bool = False
    """The disk of its log and its record was full when it ended."""
    fenced: bool = False
    """It was ended because the host's lease had run out."""


class Run(Protocol):
    """One run that this daemon follows, started by it or re-adopted."""

    @property
    def run_id(self) -> str: ...

    @property
    def pid(self) -> int | None:
        """Process id of the leader; None where it never started."""
        ...

    @property
    def started_at(self) -> datetime: ...

    async def wait(self) -> RunEnd:
        """Wait until no process of the run is left and its end is known. May be called again."""
        ...

    async def stop(self, *, grace_s: float, save: bool) -> None:
        """Have the run ended: with `save`, SIGTERM to the trainer alone, so that it saves; else to every process;
        SIGKILL to what is left after `grace_s`. Returns when ordered, and goes on without the daemon; `wait` tells
        the end. A second call shortens the grace, never lengthens it."""
        ...


class Runs(Protocol):
    """The processes of this host."""

    async def spawn(self, spec: RunSpec) -> Run:
        """Start it, detached from the daemon. Raises `SpawnError`. A `run_id` that exists is adopted, not started
        twice."""
        ...

    async def adopt(self, run_id: str) -> Run | None:
        """Take up a run of an earlier daemon, living or ended. None: there is no record of it."""
        ...

    async def forget(self, run_id: str) -> None:
        """Remove the record of an ended run."""
        ...

    async def lease(self, seconds: float | None) -> None:
        """From now on every run of this host is ended by its own runner so long from now, unless the lease is renewed
        before; None: never. Holds without the daemon."""
        ...

    async def known(self) -> tuple[str, ...]:
        """The ids of all runs that there is a record of, living or ended."""
        ...

    async def free_port(self) -> int:
        """A TCP port that nobody listens on and that was not handed out lately."""
        ...


class SpawnError(Exception):
    """The process could not be started; the message says why."""


# ---------------------------------------------------------------- files


class Watch(Protocol):
    """Tells of writes to one file."""

    async def changed(self, timeout_s: float) -> bool:
        """Wait until the file was written to or made since the last call; False: the timeout passed first."""
        ...

    def notify(self) -> None:
        """Have `changed` return, as if something was written."""
        ...


class Files(Protocol):
    """The file system, off the event loop's thread.

    What is not there is empty, and no error. Where a look fails otherwise (a network's file system is away, a disk has
    an error), `read`, `size`, `exists` and `checkpoints` raise `UnavailableError`: nobody knows what is there.
    """

    async def read(self, path: Path, offset: int, limit: int) -> bytes:
        """At most `limit` bytes from `offset`; empty at the end or where there is no file."""
        ...

    async def size(self, path: Path) -> int:
        """Bytes; 0 where there is no file."""
        ...

    def watch(self, path: Path) -> AbstractAsyncContextManager[Watch]:
        """Be told of writes to a file that may not exist yet (its folder does)."""
        ...

    async def exists(self, path: Path) -> bool: ...

    async def resolve(self, path: Path) -> Path:
        """Absolute, symlinks followed as far as the path exists."""
        ...

    async def names(self, path: Path) -> tuple[str, ...]:
        """Names in a folder; empty where there is none, or where it can't be read."""
        ...

    async def checkpoints(self, run_dir: Path) -> tuple[Folder, ...]:
        """The `checkpoint-N` folders below a run folder with what is needed to judge them."""
        ...

    async def free_mib(self, path: Path) -> float | None:
        """Space that is free for us where a path lies or would lie, MiB; None: it can't be told."""
        ...

    async def remove_tree(self, path: Path) -> None:
        """Remove a folder and all below it; no error where there is none. Symlinks are removed, not followed."""
        ...


# ---------------------------------------------------------------- ms-swift


class Toolchain(Protocol):
    """The installed ms-swift."""

    async def installed(self) -> Installed:
        """Version and options, read once and cached. Raises `ToolchainError`."""
        ...

    @property
    def known(self) -> Installed | None:
        """What `installed` found, where it was asked already; never waits."""
        ...

    @property
    def command(self) -> tuple[str, ...]:
        """The argument vector's prefix, ending before the subcommand."""
        ...


class ToolchainError(Exception):
    """ms-swift can't be found or asked; the message says what to do."""
