"""Where another attempt of a job can go on from."""

from pathlib import Path

from daemon.loops.context import Context
from daemon.ports import UnavailableError
from daemon.swift.checkpoints import complete, resumable
from schemas.jobs import TrainingJob


async def last_resumable(ctx: Context, job: TrainingJob) -> str | None:
    """The newest checkpoint that is complete on disk and has its optimizer's state; None: begin anew.

    Raises `UnavailableError` where nobody can tell: who begins anew then throws away what was saved.
    """
    if job.run_dir is None:
        return None
    folders = [folder for folder in complete(await ctx.files.checkpoints(Path(job.run_dir))) if resumable(folder)]
    return str(folders[-1].path) if folders else None


async def likely_resumable(ctx: Context, job: TrainingJob) -> str | None:
    """The same as far as it is known now, for who only says it: before the attempt begins it is looked for again."""
    try:
        return await last_resumable(ctx, job)
    except UnavailableError:
        return job.checkpoint_path
