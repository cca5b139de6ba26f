"""The paths of a request: which are local, whether they exist, and whether they lie where they may.

A path is local if it says so (begins with `/`, `./`, `../` or `~`, or ends in a data file's name before any `#N`), or
if something of that name is in the work folder, because that is what ms-swift would then use. Anything else may be a
hub's id. Which values are opened, and under which readings, `daemon.swift.paths` knows.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from daemon.logs import get_log
from daemon.loops.context import Context
from daemon.loops.handling.common import refusal_of
from daemon.ports import UnavailableError
from daemon.swift.paths import Place, opened_by
from schemas.enums import ReplyErrorCode
from schemas.kinds import TrainingFields
from schemas.replies import MAX_FAULTS, Fault, echo, shortened

log = get_log("paths")

_ROWS = re.compile(r"#\d+$")
_DATA_FILE = (".json", ".jsonl", ".csv", ".parquet")
FOLDERS = frozenset({"HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "MODELSCOPE_CACHE", "WANDB_DIR"})
"""Environment names of a request that name a folder."""
MOST_PATH = 4096
"""Characters; nothing with a longer name can be opened, and to follow it would take long."""


def says_local(value: str) -> bool:
    """Whether a value says that it is a local path."""
    plain = _ROWS.sub("", value)
    return plain.startswith(("/", "./", "../", "~")) or plain.endswith(_DATA_FILE)


def local_path(ctx: Context, value: str) -> Path:
    """Where a local value points to, before symlinks are followed."""
    return ctx.settings.work_path / os.path.expanduser(value)  # as it is where nobody has that home; `Path`'s raises


async def check_paths(ctx: Context, request: TrainingFields) -> None:
    """Refuse a request whose local paths are outside the roots (`forbidden`) or missing (`invalid_request`).

    The roots come first, and what lies outside is refused in the same words whether it is there or not: else anybody
    could ask which files there are.
    """
    bounds = await _bounds(ctx)
    outside: list[Fault] = []
    missing: list[Fault] = []
    for place, readings in opened_by(request):
        sent, paths = readings[0], [local_path(ctx, reading) for reading in readings]
        if any([await _is_forbidden(ctx, bounds, path, sent) for path in paths]):
            outside.append(_outside(ctx, place, sent))
        elif await _is_missing(ctx, place, paths, sent):
            missing.append(_missing(ctx, place, sent))
    used: dict[Place, str] = {("output_dir",): request.output_dir}
    used |= {("env", name): request.env[name] for name in sorted(FOLDERS & request.env.keys())}
    for place, sent in used.items():
        if not bounds.hold(await ctx.files.resolve(local_path(ctx, sent))):
            outside.append(_outside(ctx, place, sent))
    if outside:
        raise refusal_of(ReplyErrorCode.FORBIDDEN, tuple(outside[:MAX_FAULTS]))
    if missing:
        raise refusal_of(ReplyErrorCode.INVALID_REQUEST, tuple(missing[:MAX_FAULTS]))


async def check_root(ctx: Context, loc: Place, path: Path, sent: object) -> None:
    """Refuse a job's own path that resolves outside the allowed roots."""
    bounds = await _bounds(ctx)
    if not bounds.hold(await ctx.files.resolve(path)):
        fault = _outside(ctx, loc, str(path)).model_copy(update={"input": sent})
        raise refusal_of(ReplyErrorCode.FORBIDDEN, (fault,))


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Where paths may lie, symlinks followed."""

    roots: tuple[Path, ...]
    work: Path

    def hold(self, resolved: Path) -> bool:
        """Whether a path lies below an allowed root."""
        return not self.roots or any(resolved.is_relative_to(root) for root in self.roots)


async def _bounds(ctx: Context) -> _Bounds:
    roots = [await ctx.files.resolve(root) for root in ctx.settings.root_paths]
    return _Bounds(tuple(roots), await ctx.files.resolve(ctx.settings.work_path))


async def _is_forbidden(ctx: Context, bounds: _Bounds, path: Path, sent: str) -> bool:
    """Whether a value that may be a hub's id is a path outside the roots.

    It is an id as long as nothing of its name is in the work folder. So only names in that folder can be asked for, and
    only where the operator has left it outside the roots.
    """
    if not bounds.roots or len(str(path)) > MOST_PATH:
        return False
    resolved = await ctx.files.resolve(path)
    if bounds.hold(resolved):
        return False
    return says_local(sent) or not resolved.is_relative_to(bounds.work) or await _is_there(ctx, path)


async def _is_missing(ctx: Context, place: Place, paths: Iterable[Path], sent: str) -> bool:
    """Whether a value says that it is local, and nothing is there; what an option names may be made by the training."""
    if place[0] == "extra_args" or not says_local(sent):
        return False
    return not any([await _is_there(ctx, path) for path in paths])


async def _is_there(ctx: Context, path: Path) -> bool:
    """A path that can't be looked at is none: commands of strangers must not wait for a mount that is dead."""
    try:
        return await ctx.files.exists(path)
    except UnavailableError as error:
        log.warning("path_unreadable", str(error))
        return False


def _outside(ctx: Context, loc: Place, sent: str) -> Fault:
    roots = ", ".join(map(str, ctx.settings.root_paths))
    return Fault(loc=loc, message=f"{shortened(sent)} lies outside the allowed roots ({roots})", input=echo(sent))


def _missing(ctx: Context, loc: Place, sent: str) -> Fault:
    where = f"on node {ctx.node_id}" if sent.startswith(("/", "~")) else f"in the work folder of node {ctx.node_id}"
    message = f"{shortened(sent)} does not exist {where}; give an existing path, or a hub's id"
    return Fault(loc=loc, message=message, input=echo(sent))
