"""Reading, resolving and removing: what is not there is no error, and a link is never followed out of the house."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from daemon.adapters.files import LocalFiles
from daemon.ports import UnavailableError
from daemon.swift.checkpoints import Folder, complete, resumable
from tests.standin.double import checkpoints

FILES = LocalFiles()


async def test_a_file_is_read_by_ranges(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_bytes(b"0123456789")
    assert await FILES.read(path, 0, 4) == b"0123"
    assert await FILES.read(path, 8, 100) == b"89"
    assert await FILES.read(path, 10, 100) == b""
    assert await FILES.read(path, 1000, 100) == b""
    assert await FILES.size(path) == 10
    assert await FILES.exists(path)


async def test_what_is_not_there_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "none", tmp_path / "file" / "below", tmp_path / "no" / "folder", tmp_path / ("x" * 300)):
        assert await FILES.read(path, 0, 100) == b""
        assert await FILES.size(path) == 0
        assert await FILES.names(path) == ()
        assert await FILES.checkpoints(path) == ()
        assert not await FILES.exists(path)
        await FILES.remove_tree(path)


async def test_a_folder_has_no_bytes(tmp_path: Path) -> None:
    """A name that should be a log's, made by somebody else: no reason for the daemon to fall."""
    assert await FILES.read(tmp_path, 0, 100) == b""


async def test_names_are_those_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "v0-a").mkdir()
    (tmp_path / "v1-b").touch()
    assert sorted(await FILES.names(tmp_path)) == ["v0-a", "v1-b"]
    assert await FILES.names(tmp_path / "v1-b") == ()


async def test_paths_resolve_through_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "loop").symlink_to("loop")
    assert await FILES.resolve(tmp_path / "link" / "new" / ".." / "x") == tmp_path / "real" / "x"
    assert (await FILES.resolve(Path("here"))).is_absolute()
    assert (await FILES.resolve(tmp_path / "loop" / "x")).is_relative_to(tmp_path)
    assert not await FILES.exists(tmp_path / "loop")


async def test_a_tree_is_removed_and_nothing_behind_a_link(tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    keep.mkdir()
    (keep / "precious").write_text("x")
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "below" / "folder-link").symlink_to(keep)
    (tree / "file-link").symlink_to(keep / "precious")
    (tree / "broken").symlink_to("nowhere")
    await FILES.remove_tree(tree)
    assert not tree.exists()
    assert (keep / "precious").read_text() == "x"

    link = tmp_path / "link"
    link.symlink_to(keep)
    await FILES.remove_tree(link)
    assert not link.is_symlink()
    assert (keep / "precious").read_text() == "x"
    await FILES.remove_tree(keep / "precious")
    assert await FILES.names(keep) == ()


async def test_what_cant_be_removed_is_told_and_the_rest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "tree" / "below" / "file").touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", refuse)
        await FILES.remove_tree(tmp_path / "tree")
    assert "Device or resource busy" in caplog.text
    assert not (tmp_path / "tree" / "below" / "file").exists()


# ---------------------------------------------------------------- checkpoints


def _save(run_dir: Path, step: int) -> Path:
    """A checkpoint as ms-swift writes it."""
    state: dict[str, Any] = {"global_step": step, "log_history": []}
    return Path(checkpoints.save(str(run_dir), step, state, {}, full=False, only_model=False, took_s=0))


async def _whole(run_dir: Path) -> list[str]:
    return [folder.path.name for folder in complete(await FILES.checkpoints(run_dir))]


async def test_checkpoints_are_told_by_name(tmp_path: Path) -> None:
    for step in (5, 10):
        _save(tmp_path, step)
    assert (tmp_path / "last-checkpoint").is_symlink()
    (tmp_path / "checkpoint-7").symlink_to("checkpoint-5")
    (tmp_path / "checkpoint-8").write_text("a file")
    for name in ("checkpoint-5-merged", "checkpoint-", "checkpoint-x", "images", "checkpoint"):
        (tmp_path / name).mkdir()
    found = await FILES.checkpoints(tmp_path)
    assert sorted(folder.path.name for folder in found) == ["checkpoint-10", "checkpoint-5"]
    assert await _whole(tmp_path) == ["checkpoint-5", "checkpoint-10"]


async def test_a_checkpoint_is_told_with_what_judges_it(tmp_path: Path) -> None:
    path = _save(tmp_path, 5)
    (path / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    (folder,) = await FILES.checkpoints(tmp_path)
    weights = path / "adapter_model.safetensors"
    assert folder.path == path
    assert folder.sizes["adapter_model.safetensors"] == weights.stat().st_size
    assert folder.safetensors_bytes == {"adapter_model.safetensors": weights.stat().st_size}
    assert set(folder.texts) == {"trainer_state.json", "model.safetensors.index.json"}
    assert json.loads(folder.texts["trainer_state.json"])["global_step"] == 5
    assert resumable(folder)


async def test_torn_weights_are_not_whole(tmp_path: Path) -> None:
    path = _save(tmp_path, 5)
    weights = path / "adapter_model.safetensors"
    whole = weights.read_bytes()
    for size in (0, 4, 8, 20, len(whole) - 1):
        weights.write_bytes(whole[:size])
        assert await _whole(tmp_path) == [], size
    weights.write_bytes(whole)
    assert await _whole(tmp_path) == ["checkpoint-5"]


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'"text"',
        b"null",
        b'{"w": 1}',
        b'{"w": {"data_offsets": []}}',
        b'{"w": {"data_offsets": ["a", "b"]}}',
        b'{"w": {"data_offsets": [0, null]}}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
async def test_a_header_that_cant_be_read_declares_nothing(tmp_path: Path, header: bytes) -> None:
    path = _save(tmp_path, 5)
    (path / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert (await _only(tmp_path)).safetensors_bytes == {"adapter_model.safetensors": 0}
    assert await _whole(tmp_path) == []


async def test_a_header_of_absurd_length_is_not_read(tmp_path: Path) -> None:
    path = _save(tmp_path, 5)
    (path / "adapter_model.safetensors").write_bytes(b"\xff" * 100)
    assert (await _only(tmp_path)).safetensors_bytes == {"adapter_model.safetensors": 0}


async def test_a_checkpoint_without_its_last_file_is_not_whole(tmp_path: Path) -> None:
    path = _save(tmp_path, 5)
    (path / "trainer_state.json").unlink()
    assert (await _only(tmp_path)).texts == {}
    assert await _whole(tmp_path) == []


async def test_a_file_that_goes_meanwhile_takes_its_checkpoint_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`save_total_limit` removes a checkpoint while it is read: it is as if it had not been there."""
    _save(tmp_path, 5)
    _save(tmp_path, 10)
    real = Path.read_text

    def vanishing(self: Path, *args: Any, **named: Any) -> str:
        if self.parent.name == "checkpoint-5":
            self.unlink()
        return real(self, *args, **named)

    monkeypatch.setattr(Path, "read_text", vanishing)
    assert [folder.path.name for folder in await FILES.checkpoints(tmp_path)] == ["checkpoint-10"]


# ---------------------------------------------------------------- what can't be read

NO_MEMORY = Path("/proc/self/mem")
"""Its first bytes are nobody's: reading them is an input/output error, as of a disk or a mount that is away."""


async def test_what_can_not_be_read_is_not_taken_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match="/proc/self/mem can't be read: Input/output error"):
        await FILES.read(NO_MEMORY, 0, 10)

    def stale(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", stale)
        with pytest.raises(UnavailableError, match="Stale file handle"):
            await FILES.checkpoints(tmp_path)
    for look in (FILES.size, FILES.exists):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "stat", stale)
            with pytest.raises(UnavailableError, match="Stale file handle"):
                await look(tmp_path / "run.log")
    assert not await FILES.exists(Path("no\0path"))


@pytest.mark.parametrize("name", ["trainer_state.json", "adapter_model.safetensors"])
async def test_a_checkpoint_that_can_not_be_read_is_not_taken_for_torn(tmp_path: Path, name: str) -> None:
    path = _save(tmp_path, 5)
    (path / name).unlink()
    (path / name).symlink_to(NO_MEMORY)
    with pytest.raises(UnavailableError, match="checkpoint-5 can't be read: Input/output error"):
        await FILES.checkpoints(tmp_path)


async def test_a_checkpoint_that_is_closed_to_us_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(tmp_path, 5)
    _save(tmp_path, 10)
    real = Path.read_text

    def closed(self: Path, *args: Any, **named: Any) -> str:
        if self.parent.name == "checkpoint-10":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(self, *args, **named)

    monkeypatch.setattr(Path, "read_text", closed)
    assert await _whole(tmp_path) == ["checkpoint-5"]


async def _only(run_dir: Path) -> Folder:
    (folder,) = await FILES.checkpoints(run_dir)
    return folder
