"""The file system, off the event loop's thread, and the watch that tells of writes.

One inotify instance serves all watched files; it watches their folders, because a file may not be there yet. Behind it
stands a slow look at size and time, for file systems and limits where inotify says nothing.
"""

import asyncio
import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import AsyncGenerator
from pathlib import Path

from asyncinotify import Event, Inotify, Mask, Watch

from daemon.logs import get_log
from daemon.ports import UnavailableError
from daemon.swift.checkpoints import STATE, Folder

log = get_log("files")

MIB = 1024 * 1024
MAX_TEXT = 16 * 1024 * 1024
MASK = Mask.MODIFY | Mask.CREATE | Mask.MOVED_TO
NOTHING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL})
"""What the system says where nothing of the sort is there. Anything else (EIO, ESTALE, EACCES, ...) does not say it."""


class FileWatch:
    """Tells of writes to one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._event = asyncio.Event()
        self._seen = (0, 0)

    def notify(self) -> None:
        """Something was written."""
        self._event.set()

    async def look(self) -> bool:
        """Whether the file is another than at the last look."""
        before, self._seen = self._seen, await asyncio.to_thread(_mark, self._path)
        return self._seen != before

    async def changed(self, timeout_s: float) -> bool:
        """Wait for a write; at the end of the wait look for oneself."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return await self.look()
        self._event.clear()  # before the look: a write after it tells again
        await self.look()
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
        return await asyncio.to_thread(_size, path)

    async def exists(self, path: Path) -> bool:
        """Whether something is there."""
        return await asyncio.to_thread(_exists, path)

    async def resolve(self, path: Path) -> Path:
        """Absolute, symlinks followed; a loop of them stays as it is."""
        return Path(await asyncio.to_thread(os.path.realpath, path))

    async def names(self, path: Path) -> tuple[str, ...]:
        """Names in a folder."""
        return await asyncio.to_thread(_names, path)

    async def checkpoints(self, run_dir: Path) -> tuple[Folder, ...]:
        """The `checkpoint-N` folders with what is needed to judge them."""
        return await asyncio.to_thread(_checkpoints, run_dir)

    async def free_mib(self, path: Path) -> float | None:
        """Space that is free where a path lies, or its nearest folder that is there."""
        return await asyncio.to_thread(_free_mib, path)

    async def remove_tree(self, path: Path) -> None:
        """Remove a folder and all below it."""
        await asyncio.to_thread(_remove_tree, path)

    @contextlib.asynccontextmanager
    async def watch(self, path: Path) -> AsyncGenerator[FileWatch, None]:
        """Be told of writes to a file."""
        folder = await self.resolve(path.parent)  # inotify knows a folder once, whatever it is called
        path = folder / path.name
        watch = FileWatch(path)
        self._watches.setdefault(path, set()).add(watch)
        told_of = self._add_folder(folder)
        try:
            await watch.look()
            yield watch
        finally:
            self._watches[path].discard(watch)
            if not self._watches[path]:
                del self._watches[path]
            if told_of is not None:
                self._drop_folder(folder, told_of)

    def _add_folder(self, folder: Path) -> Watch | None:
        """Have inotify tell of a folder; None where it does not."""
        try:
            if self._inotify is None:
                self._inotify = Inotify()
                self._reader = asyncio.create_task(self._dispatch(self._inotify), name="inotify reader")
            watch, count = self._folders.get(folder) or (self._watch_folder(self._inotify, folder), 0)
        except OSError as error:
            log.warning("watch_slow", f"inotify tells nothing, looking every second instead: {error}", path=str(folder))
            self._close_if_idle()
            return None
        self._folders[folder] = (watch, count + 1)
        return watch

    def _watch_folder(self, inotify: Inotify, folder: Path) -> Watch:
        return inotify.add_watch(folder, MASK)  # pyright: ignore[reportUnknownMemberType]  # its PathLike is bare

    def _drop_folder(self, folder: Path, told_of: Watch) -> None:
        watch, count = self._folders.get(folder, (None, 0))
        if watch is not told_of or self._inotify is None:
            return  # the folder was removed meanwhile
        if count > 1:
            self._folders[folder] = (told_of, count - 1)
            return
        del self._folders[folder]
        with contextlib.suppress(OSError):
            self._inotify.rm_watch(told_of)
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if not self._folders and self._reader is not None:
            self._reader.cancel()  # which closes it, when the event loop has let go of it
            self._inotify = self._reader = None

    async def _dispatch(self, inotify: Inotify) -> None:
        try:
            async for event in inotify:
                self._tell(event)
        finally:
            inotify.close()

    def _tell(self, event: Event) -> None:
        if Mask.Q_OVERFLOW in event.mask:
            for watches in self._watches.values():
                for watch in watches:
                    watch.notify()
        if event.path is not None:
            for watch in self._watches.get(event.path, ()):
                watch.notify()
        if Mask.IGNORED in event.mask and event.watch is not None:
            watch, _ = self._folders.get(event.watch.path, (None, 0))
            if watch is event.watch:  # the folder is gone; another of its name is watched anew
                del self._folders[event.watch.path]
                self._close_if_idle()


def _mark(path: Path) -> tuple[int, int]:
    """Size and time of the last write; zeros where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_size, found.st_mtime_ns)


def _unless_nothing(error: OSError, path: Path) -> None:
    """Raise where the error does not say that nothing is there."""
    if error.errno not in NOTHING:
        raise UnavailableError(f"{path} can't be read: {error.strerror or error}") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        _unless_nothing(error, path)
        return 0


def _read(path: Path, offset: int, limit: int) -> bytes:
    try:
        with path.open("rb") as source:
            source.seek(offset)
            return source.read(limit)
    except OSError as error:
        _unless_nothing(error, path)
        return b""


def _remove_tree(path: Path) -> None:
    """What can't be removed is told of in the daemon's log; the rest goes."""

    def tell(_function: object, _place: str, found: tuple[object, BaseException, object]) -> None:
        if not isinstance(found[1], FileNotFoundError | NotADirectoryError):
            log.warning("not_removed", str(found[1]), path=str(path))

    try:
        path.unlink()
    except OSError:  # no link and no file
        shutil.rmtree(path, onerror=tell)


def _free_mib(path: Path) -> float | None:
    for folder in (path, *path.parents):
        try:
            found = os.statvfs(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return None
        return found.f_bavail * found.f_frsize / MIB
    return None


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except ValueError:  # no path at all
        return False
    except OSError as error:
        _unless_nothing(error, path)
        return False
    return True


def _names(path: Path) -> tuple[str, ...]:
    try:
        return tuple(entry.name for entry in path.iterdir())
    except OSError:
        return ()


def _checkpoints(run_dir: Path) -> tuple[Folder, ...]:
    found: list[Folder] = []
    for path in _saved(run_dir):
        try:
            if stat.S_ISDIR(path.lstat().st_mode):
                found.append(_folder(path))
        except PermissionError as error:  # somebody else's: no training of ours can go on from it either
            log.warning("checkpoint_closed", str(error), path=str(path))
        except OSError as error:  # ms-swift may remove it meanwhile (save_total_limit)
            _unless_nothing(error, path)
    return tuple(found)


def _saved(run_dir: Path) -> list[Path]:
    """What is called as a checkpoint is."""
    try:
        names = os.listdir(run_dir)
    except OSError as error:
        _unless_nothing(error, run_dir)
        return []
    return [run_dir / name for name in names if name.startswith("checkpoint-") and name[11:].isdigit()]


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
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return 0
    return 8 + length + max(ends, default=0)
