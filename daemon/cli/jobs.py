"""Jobs: list them, show one, and order what is to happen to it."""

import sys
from typing import Annotated

import typer

from daemon.cli.following import follow_job
from daemon.cli.ids import full_id
from daemon.cli.output import age_text, safe, say, show_document, show_fields, show_line
from daemon.cli.session import EXIT_REFUSED, AsJson, JobId, Url, run
from daemon.cli.tables import Column, Excess, show_fitted
from daemon.client import Client, Json
from schemas.enums import ExportStatus, TrainingStatus, TrainingType

Watch = Annotated[bool, typer.Option("--watch", help="follow it to its end; exit with 1 if it fails")]

COLUMNS = (
    Column("JOB", 0, ids=True),
    Column("TYPE", 10),
    Column("STATUS", 1),
    Column("PROGRESS", 2),
    Column("LOSS", 5),
    Column("NODE", 6, Excess.CUT, least=12),
    Column("DEVICES", 8),
    Column("OWNER", 7),
    Column("AGE", 4),
    Column("MODEL", 3, Excess.CUT_FRONT, least=16),
    Column("LABELS", 9, Excess.CUT, least=12),
)
SHOWN_FIRST = (
    "id", "training_type", "status", "wait_reason", "error_code", "error_message", "exit_code", "warnings", "owner",
    "labels", "priority", "node_id", "devices", "attempt", "phase", "progress", "current_step", "total_steps",
    "current_epoch", "loss", "learning_rate", "estimated_time_remaining", "created_at", "queued_at", "started_at",
    "completed_at", "model_path", "datasets", "data_path", "train_type", "run_dir", "log_file_path", "checkpoint_path",
    "best_checkpoint_path", "export_status", "export_path", "export_error",
)  # fmt: skip


def list_jobs(
    *,
    status: Annotated[list[TrainingStatus] | None, typer.Option("--status", "-s", help="repeat it for several")] = None,
    training_type: Annotated[TrainingType | None, typer.Option("--type", "-t", help="only this kind")] = None,
    owner: Annotated[str | None, typer.Option(help="only jobs of this AMQP user")] = None,
    label: Annotated[str | None, typer.Option(help="a label's name, or name=value")] = None,
    page: Annotated[int, typer.Option(min=1)] = 1,
    size: Annotated[int, typer.Option("--size", "-n", min=1, max=100, help="jobs on a page")] = 20,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List jobs, newest first."""
    wanted = {"training_type": training_type, "status": status or None, "owner": owner, "label": label}
    body = {name: value for name, value in wanted.items() if value is not None} | {"page": page, "size": size}

    async def act(client: Client) -> None:
        found = await client.call("job.list", body)
        if as_json:
            show_document(found)
            return
        show_fitted(COLUMNS, map(_row, found["jobs"]), empty=nothing_on(page, size, found["total"]))
        if found["total"] > page * size:
            of = pages(found["total"], size)
            say(f"page {page} of {of}; {_jobs(found['total'])} in all, --page {page + 1} for more")

    run(url, act)


def nothing_on(page: int, size: int, total: int) -> str:
    """What is said where a page has no jobs."""
    if not total:
        return "no jobs"
    last = pages(total, size)
    return f"no jobs on page {page}; {_jobs(total)} in all, on page{'s 1 to' if last > 1 else ''} {last}"


def pages(total: int, size: int) -> int:
    """Pages of a size that so many jobs fill."""
    return -(-total // size)


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"


def _row(job: Json) -> tuple[object, ...]:
    return (
        job["id"],
        job["training_type"],
        job["status"],
        f"{job['progress']:.0f}%",
        job["loss"],
        job["node_id"],
        job["devices"],
        job["owner"],
        age_text(job["created_at"]),
        job["model_path"],
        job["labels"],
    )


def show(job: JobId, *, as_json: AsJson = False, url: Url = None) -> None:
    """Show a job: where it stands, why it waits or failed, its figures and its paths. --json has every field."""

    async def act(client: Client) -> None:
        found = await client.call("job.get", {"job_id": await full_id(client, job)})
        if as_json:
            show_document(found)
        else:
            show_fields({name: found.get(name) for name in SHOWN_FIRST})

    run(url, act)


def start(job: JobId, *, watch: Watch = False, as_json: AsJson = False, url: Url = None) -> None:
    """Queue a pending job."""
    _order("job.start", job, {}, watch=watch, as_json=as_json, url=url)


def stop(
    job: JobId,
    *,
    save: Annotated[bool, typer.Option("--save", help="save a checkpoint first, within the grace time")] = False,
    grace: Annotated[float | None, typer.Option(min=0, help="seconds until what still runs is killed")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Stop a job: a waiting one is cancelled at once, a running one ends first."""
    body: Json = {"save": save} if grace is None else {"save": save, "grace_seconds": grace}
    _order("job.stop", job, body, as_json=as_json, url=url)


def resume(job: JobId, *, watch: Watch = False, as_json: AsJson = False, url: Url = None) -> None:
    """Queue a failed or cancelled job again, from its last checkpoint."""
    _order("job.resume", job, {}, watch=watch, as_json=as_json, url=url)


def export(
    job: JobId,
    *,
    checkpoint: Annotated[str, typer.Option(help="last, best, or a path below the job's run folder")] = "last",
    merge: Annotated[bool, typer.Option("--merge/--no-merge", help="merge the adapter into the model")] = True,
    quant_method: Annotated[str | None, typer.Option(help="quantize by this method")] = None,
    quant_bits: Annotated[int | None, typer.Option(help="bits per weight, with --quant-method")] = None,
    watch: Watch = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Merge or quantize a checkpoint of an ended job."""
    body: Json = {"checkpoint": checkpoint, "merge_lora": merge}
    body |= {} if quant_method is None else {"quant_method": quant_method}
    body |= {} if quant_bits is None else {"quant_bits": quant_bits}
    _order("job.export", job, body, watch=watch, as_json=as_json, url=url)


def delete(
    job: JobId,
    *,
    purge: Annotated[bool, typer.Option("--purge", help="remove its run folder too, checkpoints and all")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="with --purge on a terminal: don't ask")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Delete a job that has ended. With --purge a person at a terminal is asked first; a script is not."""
    if purge and not yes and sys.stdin.isatty():
        typer.confirm(f"delete job {safe(job)} with its run folder and all its checkpoints?", abort=True, err=True)
    _order("job.delete", job, {"purge_output": purge}, as_json=as_json, url=url)


def _order(command: str, job: str, body: Json, *, as_json: bool, url: str | None, watch: bool = False) -> None:
    """Send a command about a job and say what happens now; with `watch` follow the job to its end."""

    async def act(client: Client) -> None:
        job_id = await full_id(client, job)
        show_accepted(await client.call(command, {"job_id": job_id, **body}), as_json=as_json, alone=not watch)
        if watch:
            ended = await follow_job(client, job_id, as_json=as_json)
            exported = ended.export is ExportStatus.COMPLETED
            if not (exported if command == "job.export" else ended.succeeded):
                raise typer.Exit(EXIT_REFUSED)

    run(url, act)


def show_accepted(result: Json, *, as_json: bool, alone: bool) -> None:
    """Say what a command that changed a job did; as a line of JSON where it does not stand alone."""
    if as_json:
        (show_document if alone else show_line)(result)
    else:
        position = result.get("queue_position")
        say(f"{result['job_id']}: {result['message']}" + (f" (number {position} in the queue)" if position else ""))
