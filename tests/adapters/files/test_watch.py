"""Being told of writes: by inotify within milliseconds, and by a slow look where inotify says nothing."""

import asyncio
import errno
import shutil
import time
from pathlib import Path

import asyncinotify
import pytest

from daemon.adapters import files as module
from daemon.adapters.files import FileWatch, LocalFiles

LONG_S = 30.0
SOON_S = 5.0
"""Far below the long wait, so that only inotify can have told; far above what it takes, for a loaded machine."""


async def _told_soon(watch: FileWatch) -> bool:
    began = time.monotonic()
    return await watch.changed(LONG_S) and time.monotonic() - began < SOON_S


def _append(path: Path, text: str) -> None:
    with path.open("a") as out:
        out.write(text)


async def test_a_write_wakes_at_once(tmp_path: Path) -> None:
    files, path = LocalFiles(), tmp_path / "run.log"
    path.touch()
    async with files.watch(path) as watch:
        for number in range(5):
            waiting = asyncio.create_task(watch.changed(LONG_S))
            await asyncio.wait({waiting}, timeout=0.02)
            assert not waiting.done()
            _append(path, f"{number}\n")
            assert await waiting, "long before its timeout"
            assert not await watch.changed(0.001), "one write is told of once"


async def test_a_write_before_the_wait_is_not_missed(tmp_path: Path) -> None:
    files, path = LocalFiles(), tmp_path / "run.log"
    async with files.watch(path) as watch:
        path.write_text("1\n")
        assert await _told_soon(watch)


async def test_a_file_may_come_later(tmp_path: Path) -> None:
    files, path = LocalFiles(), tmp_path / "run.log"
    async with files.watch(path) as watch:
        assert not await watch.changed(0.001)
        (tmp_path / "part").write_text("whole\n")
        (tmp_path / "part").rename(path)
        assert await _told_soon(watch)


async def test_files_of_one_folder_are_told_apart(tmp_path: Path) -> None:
    files = LocalFiles()
    first, second = tmp_path / "1.log", tmp_path / "2.log"
    async with files.watch(second) as stays:
        async with files.watch(first) as goes:
            first.write_text("1\n")
            assert await _told_soon(goes)
            assert not await stays.changed(0.001)
        second.write_text("2\n")
        assert await _told_soon(stays), "the folder is watched until its last file is not"


async def test_two_may_watch_one_file(tmp_path: Path) -> None:
    files, path = LocalFiles(), tmp_path / "run.log"
    async with files.watch(path) as one, files.watch(path) as two:
        path.write_text("1\n")
        assert await _told_soon(one)
        assert await _told_soon(two)


async def test_a_folder_of_two_names_is_one(tmp_path: Path) -> None:
    files = LocalFiles()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    async with files.watch(tmp_path / "link" / "a.log") as one:
        async with files.watch(tmp_path / "real" / "b.log") as two:
            (tmp_path / "real" / "a.log").write_text("1\n")
            assert await _told_soon(one)
            (tmp_path / "real" / "b.log").write_text("1\n")
            assert await _told_soon(two)
        _append(tmp_path / "real" / "a.log", "2\n")
        assert await _told_soon(one)


async def test_a_folder_that_was_made_anew_is_watched_anew(tmp_path: Path) -> None:
    files, folder = LocalFiles(), tmp_path / "run"
    folder.mkdir()
    async with files.watch(folder / "a.log") as old:
        shutil.rmtree(folder)
        folder.mkdir()
        for _ in range(100):  # until inotify has told of the removal
            if not await old.changed(0.01):
                break
        async with files.watch(folder / "b.log") as new:
            (folder / "b.log").write_text("1\n")
            assert await _told_soon(new)
        (folder / "a.log").write_text("1\n")
        assert await old.changed(0.01), "the slow look sees what inotify has lost"


async def test_an_overflow_tells_everybody(tmp_path: Path) -> None:
    files, path = LocalFiles(), tmp_path / "run.log"
    async with files.watch(path) as watch:
        event = asyncinotify.Event(watch=None, mask=asyncinotify.Mask.Q_OVERFLOW, cookie=0, name=None)
        files._tell(event)  # pyright: ignore[reportPrivateUsage]
        assert await _told_soon(watch)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC])
async def test_without_inotify_the_slow_look_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> object:
        raise OSError(number, "inotify has no room")

    if number == errno.EMFILE:
        monkeypatch.setattr(module, "Inotify", refuse)
    else:
        monkeypatch.setattr(asyncinotify.Inotify, "add_watch", refuse)
    files, path = LocalFiles(), tmp_path / "run.log"
    async with files.watch(path) as watch, files.watch(path) as other:
        assert not await watch.changed(0.01)
        path.write_text("1\n")
        assert await watch.changed(0.01)
        assert not await watch.changed(0.01)
        assert await other.changed(0.01)
    async with files.watch(path) as watch:
        assert not await watch.changed(0.01), "what was there before is no change"
    assert [task.get_name() for task in asyncio.all_tasks()] == [_this_task()]


async def test_a_watch_that_failed_takes_nothing_from_one_that_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> object:
        raise OSError(errno.ENOSPC, "inotify has no room")

    files, path = LocalFiles(), tmp_path / "run.log"
    real = asyncinotify.Inotify.add_watch  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    monkeypatch.setattr(asyncinotify.Inotify, "add_watch", refuse)
    deaf = files.watch(path)
    await deaf.__aenter__()
    monkeypatch.setattr(asyncinotify.Inotify, "add_watch", real)  # pyright: ignore[reportUnknownArgumentType]
    async with files.watch(path) as hears:
        await deaf.__aexit__(None, None, None)
        path.write_text("1\n")
        assert await _told_soon(hears)


async def test_nothing_stays_open_when_nobody_watches(tmp_path: Path) -> None:
    files = LocalFiles()
    opened = _descriptors()
    for _ in range(3):
        async with files.watch(tmp_path / "run.log"):
            assert _descriptors() == opened + 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert _descriptors() == opened
    assert [task.get_name() for task in asyncio.all_tasks()] == [_this_task()]


def _descriptors() -> int:
    """Open inotify instances."""
    found = 0
    for path in Path("/proc/self/fd").iterdir():
        try:
            found += "inotify" in str(path.readlink())
        except OSError:
            continue
    return found


def _this_task() -> str:
    task = asyncio.current_task()
    assert task is not None
    return task.get_name()
