"""What a job has saved: where another attempt can go on from, and how much room the next checkpoint takes."""

from dataclasses import dataclass
from pathlib import Path

from daemon.loops.context import Context
from daemon.ports import UnavailableError
from daemon.swift.checkpoints import complete, resumable
from schemas.jobs import TrainingJob


@dataclass(frozen=True, slots=True)
class Saved:
    """What of a job is complete on disk."""

    resume_from: str | None = None
    """The newest checkpoint that has its optimizer's state; None: begin anew."""
    newest_mib: float = 0.0
    """Size of the newest checkpoint; 0: there is none."""


async def find_saved(ctx: Context, job: TrainingJob) -> Saved:
    """Look for it. Raises `UnavailableError` where nobody can tell: who begins anew then throws away what was saved."""
    if job.run_dir is None:
        return Saved()
    whole = complete(await ctx.files.checkpoints(Path(job.run_dir)))
    usable = [folder for folder in whole if resumable(folder)]
    return Saved(str(usable[-1].path) if usable else None, whole[-1].size_mib if whole else 0.0)


async def likely_resumable(ctx: Context, job: TrainingJob) -> str | None:
    """Where the next attempt goes on from as far as that is known now, for who only says it: before it begins, it is
    looked for again."""
    try:
        return (await find_saved(ctx, job)).resume_from
    except UnavailableError:
        return job.checkpoint_path
