"""The file system in memory is as the local one: the same tests on both, and what only the twin has."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.adapters.files import LocalFiles
from daemon.adapters.manual_clock import ManualClock
from daemon.adapters.memory_files import MemoryFiles
from daemon.ports import Files, UnavailableError
from daemon.swift.checkpoints import best_of, complete, is_complete, resumable


class Disk:
    """A file system and a way to write to it, copied from the twin where it is the local one."""

    def __init__(self, files: Files, twin: MemoryFiles, root: Path) -> None:
        self.files = files
        self.twin = twin
        self.root = root

    def write(self, name: str, data: bytes) -> None:
        if self.files is self.twin:
            self.twin.write(self.root / name, data)
        else:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(data)

    def link(self, name: str, target: str) -> None:
        if self.files is self.twin:
            self.twin.link(self.root / name, target)
        else:
            (self.root / name).symlink_to(target)


@pytest.fixture(params=["memory", "local"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    """Each file system in turn."""
    twin = MemoryFiles()
    twin.make_folder(tmp_path)
    return Disk(twin if request.param == "memory" else LocalFiles(), twin, tmp_path)


async def test_reading_a_range(disk: Disk) -> None:
    disk.write("a", b"0123456789")
    path = disk.root / "a"
    assert await disk.files.read(path, 3, 4) == b"3456"
    assert await disk.files.read(path, 8, 100) == b"89"
    assert await disk.files.read(path, 10, 1) == b""
    assert await disk.files.size(path) == 10


async def test_what_is_not_there(disk: Disk) -> None:
    disk.write("file", b"x")
    for path in (disk.root / "none", disk.root / "file" / "below"):
        assert await disk.files.read(path, 0, 10) == b""
        assert await disk.files.size(path) == 0
        assert not await disk.files.exists(path)
        assert await disk.files.names(path) == ()
        await disk.files.remove_tree(path)


async def test_names_and_existence(disk: Disk) -> None:
    disk.write("folder/one", b"")
    disk.write("folder/below/two", b"")
    assert sorted(await disk.files.names(disk.root / "folder")) == ["below", "one"]
    for name in ("folder", "folder/one", "folder/below"):
        assert await disk.files.exists(disk.root / name)


async def test_symlinks_are_followed(disk: Disk) -> None:
    disk.write("real/a", b"content")
    disk.link("folder", "real")
    disk.link("file", "folder/a")
    disk.link("dead", "nowhere/at/all")
    assert await disk.files.read(disk.root / "file", 0, 10) == b"content"
    assert await disk.files.resolve(disk.root / "folder" / "a") == disk.root / "real" / "a"
    assert await disk.files.resolve(disk.root / "folder" / ".." / "x") == disk.root / "x"
    assert not await disk.files.exists(disk.root / "dead")


async def test_removing_a_tree_leaves_what_its_links_point_to(disk: Disk) -> None:
    disk.write("keep/a", b"1")
    disk.write("gone/b", b"2")
    disk.link("gone/link", "../keep")
    await disk.files.remove_tree(disk.root / "gone")
    assert not await disk.files.exists(disk.root / "gone")
    assert await disk.files.read(disk.root / "keep/a", 0, 9) == b"1"


async def test_checkpoints_are_judged_alike(disk: Disk) -> None:
    run = disk.root / "run"
    disk.twin.add_checkpoint(run, 10, best=10)
    disk.twin.add_checkpoint(run, 20, optimizer=False)
    disk.twin.add_checkpoint(run, 30, torn=True)
    for step in (10, 20, 30):
        for name in await disk.twin.names(run / f"checkpoint-{step}"):
            disk.write(f"run/checkpoint-{step}/{name}", disk.twin.content(run / f"checkpoint-{step}" / name))
    disk.write("run/checkpoint-x/a", b"")
    disk.write("run/logging.jsonl", b"")
    disk.link("run/checkpoint-40", "checkpoint-10")
    folders = {folder.path.name: folder for folder in await disk.files.checkpoints(run)}
    assert sorted(folders) == ["checkpoint-10", "checkpoint-20", "checkpoint-30"]
    assert [folder.path.name for folder in complete(folders.values())] == ["checkpoint-10", "checkpoint-20"]
    assert not is_complete(folders["checkpoint-30"])
    assert [resumable(folders[f"checkpoint-{step}"]) for step in (10, 20)] == [True, False]
    assert best_of([folders["checkpoint-10"]]) == str(run / "checkpoint-10")


# ---------------------------------------------------------------- the twin alone


async def watched(files: MemoryFiles, clock: ManualClock, change: Callable[[], None]) -> bool:
    """What a watch says of a change."""
    async with files.watch(Path("/log")) as watch:
        waiting = asyncio.create_task(watch.changed(1.0))
        await clock.settle()
        change()
        await clock.settle()
        if not waiting.done():
            await clock.advance(1.0)
        return waiting.result()


async def test_a_watch_tells_of_writes_and_of_nothing_else() -> None:
    clock = ManualClock()
    files = MemoryFiles(clock)
    assert await watched(files, clock, lambda: files.append("/log", "a line\n"))
    assert clock.monotonic() == 1000.0
    assert not await watched(files, clock, lambda: files.append("/another", "a line\n"))
    assert clock.monotonic() == 1001.0


async def test_a_deaf_watch_notices_at_its_slow_look() -> None:
    clock = ManualClock()
    files = MemoryFiles(clock)
    files.deaf = True
    assert await watched(files, clock, lambda: files.append("/log", "a line\n"))
    assert clock.monotonic() == 1001.0


async def test_files_can_fail() -> None:
    async def away(name: str) -> None:
        raise UnavailableError(name)

    files = MemoryFiles(before_call=away)
    with pytest.raises(UnavailableError, match="read"):
        await files.read(Path("/a"), 0, 1)
