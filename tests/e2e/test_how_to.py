"""The how-to pages, tried: their commands are run where this machine can, and what can't be run is named."""

import asyncio
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from pymongo import MongoClient

from tests.e2e.conftest import MakeModel, Settings
from tests.e2e.harness import REPO, clean_environment, probe, running_daemon

FOLDER = REPO / "docs" / "how-to"
NOT_RUN = {
    "sudoedit": "asks a person",
    "sudo": "installs into the system, or asks systemd; tests/deploy tries the unit, `make lock` the installs",
    "journalctl": "needs the unit",
    "docker": "needs a Docker engine; tests/deploy checks the files against their schemas",
    "cd": "the folder of the next ones",
    "cp": "tests/deploy/test_definitions.py does the same with the same files",
    "mkdir": "makes a folder",
    "python3": "tests/deploy/test_definitions.py runs them",
    "MONGODB_DAEMON_PASSWORD": "needs mongosh; tests/deploy/test_mongodb.py tries the script",
    "SWIFT_TRAINER": "settings; tests/adapters/bus/test_rabbit.py tries TLS, tests/e2e/http the gateway",
}
"""What a command begins with that is not run, and why."""


def commands(page: str) -> list[str]:
    """The commands of the page's shell blocks, each on one line."""
    text = (FOLDER / f"{page}.md").read_text().replace("\\\n", " ")
    return [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines() if line]


def begins(line: str) -> str:
    """What a command begins with."""
    word = shlex.split(line, comments=True)[0]
    return next((name for name in NOT_RUN if word == name or word.startswith((f"{name}_", f"{name}="))), "")


async def run(line: str, folder: Path, settings: Settings) -> str:
    """Run a command as a person would, in the checkout but for its files; what it printed."""
    programs = f"{Path(sys.executable).parent}/"
    shown = line.replace(".venv/bin/", "").replace("deploy/", f"{REPO}/deploy/")
    shown = re.sub(r"^(python|swift-trainerd?) ", lambda name: f"{programs}{name[0]}", shown)
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euc",
        shown,
        cwd=folder,
        env={**clean_environment(), **settings, "PYTHONPATH": str(REPO)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0, (line, out.decode())
    return out.decode()


SAVE, RESTORE, STATE = commands("backup-and-restore")
STATUS = commands("upgrade")[0]
WITH_A_DAEMON = {
    page: [line for line in commands(page) if not begins(line)]
    for page in ("deploy-one-host", "deploy-many-hosts", "tls-and-users", "troubleshooting")
}


def test_every_command_is_run_or_named_with_a_reason() -> None:
    run_here = {SAVE, RESTORE, STATE, STATUS, *(line for lines in WITH_A_DAEMON.values() for line in lines)}
    others = {"notifications"}  # tests/notifier runs that page's
    for page in {path.stem for path in FOLDER.glob("*.md")} - others:
        for line in commands(page):
            assert (line in run_here) is not bool(begins(line)), line


@pytest.mark.services
async def test_what_needs_a_daemon(standin_settings: Settings, work: Path, amqp_url: str, tmp_path: Path) -> None:
    own = {**standin_settings, "SWIFT_TRAINER_GATEWAY_TOKENS": str(tmp_path / "tokens.json")}
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        for lines in WITH_A_DAEMON.values():
            for line in lines:
                await run(line.replace("NODE", "node-1"), tmp_path, own)


@pytest.mark.services
async def test_a_backup_taken_while_a_job_runs_brings_it_back(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    body = {"training_type": "llm", "model_path": make_model(steps=8, hold_at=4), "datasets": [data]}
    async with probe(amqp_url) as found:
        async with running_daemon(standin_settings, work, found):
            made = await found.call("job.create", {**body, "output_dir": "out", "logging_steps": 1, "start": True})
            await found.until(lambda event: event["data"].get("step") == 4)
            assert "documents" in await run(SAVE, tmp_path, standin_settings)
            file = tmp_path / shlex.split(SAVE)[-1]
            assert file.stat().st_mode & 0o777 == 0o600
            with pytest.raises(AssertionError, match="is not empty"):
                await run(RESTORE, tmp_path, standin_settings)
        await run(STATE, tmp_path, standin_settings)
        assert (tmp_path / "swift-trainer.state.tar.gz").stat().st_size > 100
        with MongoClient[dict[str, object]](standin_settings["SWIFT_TRAINER_MONGODB_URL"]) as client:
            client.drop_database(standin_settings["SWIFT_TRAINER_MONGODB_DATABASE"])
        await run(RESTORE, tmp_path, standin_settings)
        async with running_daemon(standin_settings, work, found):
            (tmp_path / "model" / "go").touch()
            await found.until(lambda event: event["data"].get("export_status") == "completed")
            job_id = made["job_id"]
            assert [
                event["sequence"] for event in (await found.call("job.events", {"job_id": job_id}))["events"]
            ] == list(range(1, len(found.durable(job_id)) + 1))
            points = (await found.call("job.metrics", {"job_id": job_id}))["points"]
            assert [point["step"] for point in points] == list(range(1, 9))
            assert (await found.call("job.get", {"job_id": job_id}))["attempt"] == 1


@pytest.mark.services
async def test_a_file_that_is_no_backup_is_said(standin_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / shlex.split(RESTORE)[-1]).write_bytes(b"nothing")
    with pytest.raises(AssertionError, match=r"backup: swift-trainer\.backup\.gz") as said:
        await run(RESTORE, tmp_path, standin_settings)
    assert "Traceback" not in str(said.value)


@pytest.mark.services
async def test_an_upgrade_leaves_a_training_running(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    body = {"training_type": "llm", "model_path": make_model(steps=8, hold_at=4), "datasets": [data]}
    async with probe(amqp_url) as found:
        async with running_daemon(standin_settings, work, found):
            assert "ok" in await run(STATUS, tmp_path, standin_settings)
            made = await found.call("job.create", {**body, "output_dir": "out", "logging_steps": 1, "start": True})
            await found.until(lambda event: event["data"].get("step") == 4)
            process_id = (await found.call("job.get", {"job_id": made["job_id"]}))["process_id"]
        os.kill(process_id, 0)  # it runs on without a daemon
        async with running_daemon(standin_settings, work, found):
            assert "ok" in await run(STATUS, tmp_path, standin_settings)
            assert (await found.call("job.get", {"job_id": made["job_id"]}))["process_id"] == process_id
            (tmp_path / "model" / "go").touch()
            await found.status(made["job_id"], "completed", attempt=1)
