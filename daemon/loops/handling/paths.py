"""The paths of a request: which are local, whether they exist, and whether they lie where they may.

A path is local if it says so (begins with `/`, `./`, `../` or `~`, or ends in a data file's name before any `#N`), or
if something of that name is in the work folder, because that is what ms-swift would then use. Anything else may be a
hub's id. Which values are opened, and under which readings, `daemon.swift.paths` knows.
"""

import re
from pathlib import Path

from daemon.logs import get_log
from daemon.loops.context import Context
from daemon.loops.handling.common import RefusedError
from daemon.ports import UnavailableError
from daemon.swift.paths import Place, opened_by
from schemas.enums import ReplyErrorCode
from schemas.kinds import TrainingFields
from schemas.replies import Fault

log = get_log("paths")

_ROWS = re.compile(r"#\d+$")
_DATA_FILE = (".json", ".jsonl", ".csv", ".parquet")
FOLDERS = frozenset({"HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "MODELSCOPE_CACHE", "WANDB_DIR"})
"""Environment names of a request that name a folder."""


def says_local(value: str) -> bool:
    """Whether a value says that it is a local path."""
    plain = _ROWS.sub("", value)
    return plain.startswith(("/", "./", "../", "~")) or plain.endswith(_DATA_FILE)


def local_path(ctx: Context, value: str) -> Path:
    """Where a local value points to, before symlinks are followed."""
    return ctx.settings.work_path / Path(value).expanduser()


async def check_paths(ctx: Context, request: TrainingFields) -> None:
    """Refuse a request whose local paths are missing (`invalid_request`) or outside the roots (`forbidden`)."""
    faults: list[Fault] = []
    for place, readings in opened_by(request):
        paths = [local_path(ctx, reading) for reading in readings]
        there = [path for path in paths if await _is_there(ctx, path)]
        for path in there:
            await check_root(ctx, place, path)
        if there or not says_local(readings[0]):
            continue
        if place[0] == "extra_args":  # it may be made by the training
            await check_root(ctx, place, paths[0])
            continue
        message = f"{paths[-1]} does not exist on node {ctx.node_id}; give an existing path, or a hub's id"
        faults.append(Fault(loc=place, message=message, input=readings[0]))
    await check_root(ctx, ("output_dir",), local_path(ctx, request.output_dir))
    for name in sorted(FOLDERS & request.env.keys()):
        await check_root(ctx, ("env", name), local_path(ctx, request.env[name]))
    if faults:
        where = ".".join(map(str, faults[0].loc))
        raise RefusedError(ReplyErrorCode.INVALID_REQUEST, f"{where}: {faults[0].message}", tuple(faults))


async def _is_there(ctx: Context, path: Path) -> bool:
    """A path that can't be looked at is none: commands of strangers must not wait for a mount that is dead."""
    try:
        return await ctx.files.exists(path)
    except UnavailableError as error:
        log.warning("path_unreadable", str(error))
        return False


async def check_root(ctx: Context, loc: Place, path: Path) -> None:
    """Refuse a path that resolves outside the allowed roots."""
    roots = ctx.settings.root_paths
    if not roots:
        return
    resolved = await ctx.files.resolve(path)
    for root in roots:
        if resolved.is_relative_to(await ctx.files.resolve(root)):
            return
    message = f"{path} lies outside the allowed roots ({', '.join(map(str, roots))})"
    raise RefusedError(
        ReplyErrorCode.FORBIDDEN, f"{loc[0]}: {message}", (Fault(loc=loc, message=message, input=str(path)),)
    )
