"""The file system's in-memory twin: a dictionary of bytes by absolute path. Folders are there as soon as a file is
below them, or when they are made.

A test writes and appends; watches are told as inotify would tell them, and where a test makes the watches `deaf`, only
the slow look behind them notices. `add_checkpoint` makes a `checkpoint-N` folder as ms-swift leaves it, whole or torn.
"""

import asyncio
import json
import struct
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from daemon.adapters.clock import SystemClock
from daemon.adapters.memory_hooks import Hook, Hooked, no_hook
from daemon.ports import Clock
from daemon.swift.checkpoints import STATE, Folder, step_of

MOST_LINKS = 40


class MemoryWatch:
    """Tells of writes to one path."""

    def __init__(self, files: "MemoryFiles", path: Path) -> None:
        self._files = files
        self._path = path
        self._event = asyncio.Event()
        self._seen = files.version(path)

    def notify(self) -> None:
        """Something was written."""
        self._event.set()

    async def changed(self, timeout_s: float) -> bool:
        """Wait for a write; at the end of the wait look for oneself."""
        if not await self._files.clock.wait(self._event, timeout_s):
            seen = self._files.version(self._path)
            changed, self._seen = seen != self._seen, seen
            return changed
        self._event.clear()
        return True


class MemoryFiles(Hooked):
    """`ports.Files` in this process."""

    def __init__(self, clock: Clock | None = None, *, before_call: Hook = no_hook, after_call: Hook = no_hook) -> None:
        super().__init__(before_call, after_call)
        self.clock: Clock = clock or SystemClock()
        self.deaf = False
        """Watches are not told of writes."""
        self.free: float | None = None
        """Free space everywhere, MiB; None: it can't be told."""
        self._files: dict[Path, bytearray] = {}
        self._folders: set[Path] = {Path("/")}
        self._links: dict[Path, Path] = {}
        self._versions: dict[Path, int] = {}
        self._watches: dict[Path, set[MemoryWatch]] = {}

    # ------------------------------------------------------------ the port

    async def read(self, path: Path, offset: int, limit: int) -> bytes:
        """At most `limit` bytes from `offset`."""
        async with self.calling("read"):
            return bytes(self._files.get(self._real(path), b"")[offset : offset + limit])

    async def size(self, path: Path) -> int:
        """Bytes; 0 where there is no file."""
        async with self.calling("size"):
            return len(self._files.get(self._real(path), b""))

    async def exists(self, path: Path) -> bool:
        """Whether something is there."""
        async with self.calling("exists"):
            return self._there(self._real(path))

    async def free_mib(self, path: Path) -> float | None:
        """What `free` says of every path."""
        async with self.calling("free_mib"):
            return self.free

    async def resolve(self, path: Path) -> Path:
        """Absolute, symlinks followed."""
        async with self.calling("resolve"):
            return self._real(path)

    async def names(self, path: Path) -> tuple[str, ...]:
        """Names in a folder."""
        async with self.calling("names"):
            return self._names(self._real(path))

    async def checkpoints(self, run_dir: Path) -> tuple[Folder, ...]:
        """The `checkpoint-N` folders."""
        async with self.calling("checkpoints"):
            real = self._real(run_dir)
            found = [real / name for name in self._names(real) if real / name not in self._links]
            return tuple(self._folder(path) for path in found if step_of(path) is not None and path in self._folders)

    async def remove_tree(self, path: Path) -> None:
        """Remove a folder and all below it."""
        async with self.calling("remove_tree"):
            self.remove(path)

    @asynccontextmanager
    async def watch(self, path: Path) -> AsyncGenerator[MemoryWatch]:
        """Be told of writes to a file."""
        watch = MemoryWatch(self, path)
        self._watches.setdefault(path, set()).add(watch)
        try:
            yield watch
        finally:
            self._watches[path].discard(watch)

    # ------------------------------------------------------------ the test's side

    def write(self, path: Path | str, data: bytes | str) -> None:
        """Make a file, or replace what is in it."""
        self._files[self._place(path)] = bytearray(_bytes(data))
        self._wrote(Path(path))

    def append(self, path: Path | str, data: bytes | str) -> None:
        """Add to a file, which is made where it is not there."""
        self._files.setdefault(self._place(path), bytearray()).extend(_bytes(data))
        self._wrote(Path(path))

    def content(self, path: Path | str) -> bytes:
        """What is in a file; empty where there is none."""
        return bytes(self._files.get(self._real(Path(path)), b""))

    def make_folder(self, path: Path | str) -> None:
        """Make a folder and those above it."""
        real = self._real(Path(path))
        self._folders.update((real, *real.parents))

    def link(self, path: Path | str, target: Path | str) -> None:
        """Make a symlink."""
        place = Path(path)
        self.make_folder(place.parent)
        self._links[self._real(place.parent) / place.name] = Path(target)

    def remove(self, path: Path | str) -> None:
        """Remove a file, a symlink, or a folder with all below it."""
        place = self._real(Path(path).parent) / Path(path).name
        for mapping in (self._files, self._links):
            for found in [found for found in mapping if found == place or place in found.parents]:
                del mapping[found]
        self._folders = {found for found in self._folders if found != place and place not in found.parents}

    def add_checkpoint(
        self, run_dir: Path | str, step: int, *, torn: bool = False, optimizer: bool = True, best: int | None = None
    ) -> Path:
        """A `checkpoint-{step}` of a LoRA run; `torn`: its weights were cut short. `best` is the best one's step."""
        folder = Path(run_dir) / f"checkpoint-{step}"
        weights = _safetensors(64)
        self.write(folder / "adapter_model.safetensors", weights[:-8] if torn else weights)
        self.write(folder / "adapter_config.json", "{}")
        if optimizer:
            self.write(folder / "optimizer.pt", b"state")
        state: dict[str, object] = {"global_step": step}
        if best is not None:
            state["best_model_checkpoint"] = str(Path(run_dir) / f"checkpoint-{best}")
        self.write(folder / STATE, json.dumps(state))
        return folder

    def version(self, path: Path) -> int:
        """A number that is another after every write."""
        return self._versions.get(path, 0)

    # ------------------------------------------------------------ inside

    def _place(self, path: Path | str) -> Path:
        real = self._real(Path(path))
        if real in self._folders:
            raise IsADirectoryError(str(real))
        self._folders.update(real.parents)
        return real

    def _wrote(self, path: Path) -> None:
        self._versions[path] = self._versions.get(path, 0) + 1
        if not self.deaf:
            for watch in self._watches.get(path, ()):
                watch.notify()

    def _there(self, real: Path) -> bool:
        return real in self._files or real in self._folders

    def _real(self, path: Path) -> Path:
        """The path behind all symlinks and dots."""
        parts = list(Path("/", path).parts[1:])
        real = Path("/")
        links = 0
        while parts:
            part = parts.pop(0)
            if part == "..":
                real = real.parent
                continue
            target = self._links.get(real / part)
            if target is None or links >= MOST_LINKS:
                real /= part
                continue
            links += 1
            if target.is_absolute():
                real = Path("/")
            parts[:0] = [name for name in target.parts if name != "/"]
        return real

    def _names(self, real: Path) -> tuple[str, ...]:
        return tuple(sorted({path.name for path in self._all() if path.parent == real and path != real}))

    def _all(self) -> Iterator[Path]:
        yield from self._files
        yield from self._folders
        yield from self._links

    def _folder(self, path: Path) -> Folder:
        contents = {name: bytes(self._files.get(path / name, b"")) for name in self._names(path)}
        return Folder(
            path=path,
            sizes={name: len(data) for name, data in contents.items()},
            texts={
                name: data.decode("utf-8", "replace")
                for name, data in contents.items()
                if name == STATE or name.endswith(".index.json")
            },
            safetensors_bytes={
                name: _declared_size(data) for name, data in contents.items() if name.endswith(".safetensors")
            },
        )


def _bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _safetensors(size: int) -> bytes:
    """A file with one tensor of so many bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def _declared_size(data: bytes) -> int:
    """What a safetensors file's own header says; 0 where it can't be read."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        return (
            8
            + length
            + max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        )
    except (struct.error, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return 0
