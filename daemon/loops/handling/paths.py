"""The paths of a request: which are local, whether they exist, and whether they lie where they may.

A path is local if it says so (begins with `/`, `./`, `../` or `~`, or ends in a data file's name before any `#N`), or
if something of that name is in the work folder, because that is what ms-swift would then use. Anything else may be a
hub's id.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from daemon.loops.context import Context
from daemon.loops.handling.common import RefusedError
from schemas.enums import ReplyErrorCode
from schemas.kinds import TrainingFields
from schemas.replies import Fault

_ROWS = re.compile(r"#\d+$")
FOLDERS = frozenset({"HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "MODELSCOPE_CACHE", "WANDB_DIR"})
"""Environment names of a request that name a folder."""
_DATA_FILE = (".json", ".jsonl", ".csv", ".parquet")

Located = tuple[tuple[str | int, ...], str]


def says_local(value: str) -> bool:
    """Whether a value says that it is a local path."""
    plain = _ROWS.sub("", value)
    return plain.startswith(("/", "./", "../", "~")) or plain.endswith(_DATA_FILE)


def local_path(ctx: Context, value: str) -> Path:
    """Where a local value points to, before symlinks are followed."""
    return ctx.settings.work_path / Path(_ROWS.sub("", value)).expanduser()


async def check_paths(ctx: Context, request: TrainingFields) -> None:
    """Refuse a request whose local paths are missing (`invalid_request`) or outside the roots (`forbidden`)."""
    faults: list[Fault] = []
    for loc, value in _inputs(request):
        path = local_path(ctx, value)
        exists = await ctx.files.exists(path)
        if says_local(value) and not exists:
            message = f"{path} does not exist on node {ctx.node_id}; give an existing path, or a hub's id"
            faults.append(Fault(loc=loc, message=message, input=value))
        elif exists:
            await check_root(ctx, loc, path)
    await check_root(ctx, ("output_dir",), local_path(ctx, request.output_dir))
    for name in sorted(FOLDERS & request.env.keys()):
        await check_root(ctx, ("env", name), local_path(ctx, request.env[name]))
    for name, value in request.extra_args.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and says_local(item):
                await check_root(ctx, ("extra_args", name), local_path(ctx, item))
    if faults:
        raise RefusedError(ReplyErrorCode.INVALID_REQUEST, f"{faults[0].loc[0]}: {faults[0].message}", tuple(faults))


async def check_root(ctx: Context, loc: tuple[str | int, ...], path: Path) -> None:
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


def _inputs(request: TrainingFields) -> Iterator[Located]:
    """The values of a request that may be local paths to read, each with its place."""
    yield ("model_path",), request.model_path
    data_path = getattr(request, "data_path", None)
    if isinstance(data_path, str):
        yield ("data_path",), data_path
    for field in ("datasets", "val_datasets", "external_plugins"):
        for index, value in enumerate(getattr(request, field, None) or ()):
            yield (field, index), value
    deepspeed = getattr(request, "deepspeed", None)
    if isinstance(deepspeed, str):
        yield ("deepspeed",), deepspeed
