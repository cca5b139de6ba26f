"""The file system, off the event loop's thread, and the watch that tells of writes.

One inotify instance serves all watched files; it watches their folders, because a file may not be there yet. Behind it
stands a slow look at size and time, for file systems and limits where inotify says nothing.
"""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

from asyncinotify import Inotify, Mask, Watch

from daemon.logs import get_log
from daemon.swift.checkpoints import STATE, Folder

log = get_log("files")

MAX_TEXT = 16 * 1024 * 1024
MASK = Mask.MODIFY | Mask.CREATE | Mask.MOVED_TO


class FileWatch:
    """Tells of writes to one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._event = asyncio.Event()
        self._seen = _mark(path)

    def notify(self) -> None:
        """Something was written."""
        self._event.set()

    async def changed(self, timeout_s: float) -> bool:
        """Wait for a write; at the end of the wait look for oneself."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            seen = await asyncio.to_thread(_mark, self._path)
            changed, self._seen = seen != self._seen, seen
            return changed
        self._event.clear()
        return True


class LocalFiles:
    """The local file system."""

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        self._reader: asyncio.Task[None] | None = None
        self._watches: dict[Path, set[FileWatch]] = {}
        self._folders: dict[Path, tuple[Watch, int]] = {}

    async def read(self, path: Path, offset: int, limit: int) -> bytes:
        """At most `limit` bytes from `offset`."""
        return await asyncio.to_thread(_read, path, offset, limit)

    async def size(self, path: Path) -> int:
        """Bytes; 0 where there is no file."""
        return (await asyncio.to_thread(_mark, path))[0]

    async def exists(self, path: Path) -> bool:
        """Whether something is there."""
        return await asyncio.to_thread(_exists, path)

    async def resolve(self, path: Path) -> Path:
        """Absolute, symlinks followed."""
        return await asyncio.to_thread(path.resolve)

    async def names(self, path: Path) -> tuple[str, ...]:
        """Names in a folder."""
        return await asyncio.to_thread(_names, path)

    async def checkpoints(self, run_dir: Path) -> tuple[Folder, ...]:
        """The `checkpoint-N` folders with what is needed to judge them."""
        return await asyncio.to_thread(_checkpoints, run_dir)

    async def remove_tree(self, path: Path) -> None:
        """Remove a folder and all below it."""
        await asyncio.to_thread(shutil.rmtree, path, True)

    @contextlib.asynccontextmanager
    async def watch(self, path: Path) -> AsyncGenerator[FileWatch, None]:
        """Be told of writes to a file."""
        watch = FileWatch(path)
        self._watches.setdefault(path, set()).add(watch)
        self._add_folder(path.parent)
        try:
            yield watch
        finally:
            self._watches[path].discard(watch)
            if not self._watches[path]:
                del self._watches[path]
            self._drop_folder(path.parent)

    def _add_folder(self, folder: Path) -> None:
        try:
            if self._inotify is None:
                self._inotify = Inotify()
                self._reader = asyncio.create_task(self._dispatch(self._inotify), name="inotify reader")
            known = self._folders.get(folder)
            watch = known[0] if known else self._inotify.add_watch(folder, MASK)
            self._folders[folder] = (watch, (known[1] if known else 0) + 1)
        except OSError as error:
            log.warning("watch_slow", f"inotify has no room, looking every second instead: {error}", path=str(folder))

    def _drop_folder(self, folder: Path) -> None:
        known = self._folders.get(folder)
        if known is None or self._inotify is None:
            return
        watch, count = known
        if count > 1:
            self._folders[folder] = (watch, count - 1)
            return
        del self._folders[folder]
        with contextlib.suppress(OSError):
            self._inotify.rm_watch(watch)
        if not self._folders and self._reader is not None:
            self._reader.cancel()
            self._inotify.close()
            self._inotify = self._reader = None

    async def _dispatch(self, inotify: Inotify) -> None:
        async for event in inotify:
            if event.path is not None:
                for watch in self._watches.get(event.path, ()):
                    watch.notify()


def _mark(path: Path) -> tuple[int, int]:
    """Size and time of the last write; zeros where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_size, found.st_mtime_ns)


def _read(path: Path, offset: int, limit: int) -> bytes:
    try:
        with path.open("rb") as source:
            source.seek(offset)
            return source.read(limit)
    except (FileNotFoundError, NotADirectoryError):
        return b""


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _names(path: Path) -> tuple[str, ...]:
    try:
        return tuple(entry.name for entry in path.iterdir())
    except OSError:
        return ()


def _checkpoints(run_dir: Path) -> tuple[Folder, ...]:
    found: list[Folder] = []
    for name in _names(run_dir):
        path = run_dir / name
        if name.startswith("checkpoint-") and name[11:].isdigit() and path.is_dir() and not path.is_symlink():
            with contextlib.suppress(FileNotFoundError):  # ms-swift may remove it meanwhile (save_total_limit)
                found.append(_folder(path))
    return tuple(found)


def _folder(path: Path) -> Folder:
    sizes = {entry.name: entry.stat().st_size for entry in path.iterdir()}
    texts = {
        name: (path / name).read_text(encoding="utf-8", errors="replace")
        for name, size in sizes.items()
        if (name == STATE or name.endswith(".index.json")) and size <= MAX_TEXT
    }
    declared = {name: _declared_size(path / name) for name in sizes if name.endswith(".safetensors")}
    return Folder(path=path, sizes=sizes, texts=texts, safetensors_bytes=declared)


def _declared_size(path: Path) -> int:
    """The size that a safetensors file's own header declares: 8 bytes of length, the header, the tensors."""
    try:
        with path.open("rb") as source:
            length = int.from_bytes(source.read(8), "little")
            if length > MAX_TEXT:
                return 0
            header = json.loads(source.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return 0
    return 8 + length + max(ends, default=0)
