"""The examples, run as they stand, each in a process of its own, against a real daemon."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import aio_pika
import pytest

from tests.e2e.conftest import MakeModel, Settings
from tests.e2e.harness import REPO, Probe, clean_environment, probe, running_daemon

pytestmark = pytest.mark.services

EXAMPLES = REPO / "docs" / "examples"
QUEUES = ("swift-subscriber.python-example", "swift-subscriber.node-example")
LIMIT_S = 90
STATUSES = ["pending", "queued", "starting", "running", "completed"]


@pytest.fixture
async def found(amqp_url: str, standin_settings: Settings, work: Path) -> AsyncGenerator[Probe]:
    """A probe beside a daemon; the durable queues of the examples are gone before and after."""
    async with probe(amqp_url) as connected, await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        for name in QUEUES:
            await channel.queue_delete(name)
        async with running_daemon(standin_settings, work, connected):
            yield connected
        for name in QUEUES:
            await channel.queue_delete(name)


async def started(*argv: str, url: str, cwd: Path) -> asyncio.subprocess.Process:
    """A program with nothing but the broker's URL."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**clean_environment(), "PATH": path, "SWIFT_TRAINER_AMQP_URL": url, "COLUMNS": "200"}
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*argv, cwd=cwd, env=env, stdout=pipe, stderr=pipe)


async def ran(*argv: str, url: str, cwd: Path) -> tuple[int | None, list[str], str]:
    """A program run to its end: exit code, lines and standard error."""
    process = await started(*argv, url=url, cwd=cwd)
    async with asyncio.timeout(LIMIT_S):
        out, err = await process.communicate()
    return process.returncode, out.decode().splitlines(), err.decode()


@pytest.mark.parametrize("name", ["python_client.py", "python_pika.py"])
async def test_python(name: str, found: Probe, make_model: MakeModel, data: str, amqp_url: str, tmp_path: Path) -> None:
    program = (sys.executable, str(EXAMPLES / name))
    code, lines, err = await ran(*program, make_model(steps=5), data, url=amqp_url, cwd=tmp_path)
    assert code == 0, err
    told = " ".join(lines)
    assert all(told.count(f" {status}") >= 1 for status in STATUSES), lines
    if name == "python_pika.py":
        assert [line.split()[1] for line in lines] == STATUSES
    code, _, err = await ran(*program, make_model(), "./no-such.jsonl", url=amqp_url, cwd=tmp_path)
    assert code == 1
    assert err.startswith("refused: ")
    assert "Traceback" not in err
    await every_job_has_its_owner(found)


async def test_shell(found: Probe, make_model: MakeModel, data: str, amqp_url: str, tmp_path: Path) -> None:
    program = ("bash", str(EXAMPLES / "shell" / "train.sh"))
    code, lines, err = await ran(*program, make_model(steps=5), data, url=amqp_url, cwd=tmp_path)
    assert code == 0, err
    assert lines[-1].startswith("completed "), lines
    await every_job_has_its_owner(found)
    assert (await ran(*program, make_model(), "./no-such.jsonl", url=amqp_url, cwd=tmp_path))[0] == 1
    assert (await ran(*program, url=amqp_url, cwd=tmp_path))[0] == 2
    nowhere = "amqp://guest:guest@127.0.0.1:1/"
    assert (await ran(*program, make_model(), data, url=nowhere, cwd=tmp_path))[0] == 3


async def test_node(found: Probe, make_model: MakeModel, data: str, amqp_url: str, tmp_path: Path) -> None:
    if shutil.which("npm") is None and "CI" not in os.environ:
        pytest.skip("needs node and npm")
    home = tmp_path / "node"
    shutil.copytree(EXAMPLES / "node", home, ignore=shutil.ignore_patterns("node_modules"))
    code, _, err = await ran("npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", url=amqp_url, cwd=home)
    assert code == 0, err
    listening = await started("node", "watch.mjs", url=amqp_url, cwd=home)
    assert listening.stdout is not None
    assert (await listening.stdout.readline()).strip() == b"listening"
    listening.kill()  # what comes now is kept for it
    await listening.communicate()
    model = make_model(steps=5, hold_at=3)
    code, lines, err = await ran("node", "submit.mjs", model, data, url=amqp_url, cwd=home)
    assert code == 0, err
    job_id = lines[-1]
    await found.status(job_id, "running")
    await send_again(found, amqp_url, job_id)
    Path(model, "go").touch()
    await found.status(job_id, "completed")
    code, lines, err = await ran("node", "watch.mjs", job_id, url=amqp_url, cwd=home)
    assert code == 0, err
    assert [line.split()[2] for line in lines if line.startswith(job_id)] == STATUSES
    code, _, err = await ran("node", "submit.mjs", model, "./no-such.jsonl", url=amqp_url, cwd=home)
    assert (code, err.startswith("refused: ")) == (1, True)
    await every_job_has_its_owner(found)


async def every_job_has_its_owner(found: Probe) -> None:
    """The user of the URL that the example was given."""
    jobs = (await found.call("job.list", {}))["jobs"]
    assert jobs
    assert {job["owner"] for job in jobs} == {"guest"}


async def send_again(found: Probe, url: str, job_id: str) -> None:
    """Send a job's durable events so far a second time, as the daemon may."""
    async with await aio_pika.connect(url) as connection:
        exchange = await (await connection.channel()).get_exchange("swift.events", ensure=False)
        for event in found.durable(job_id):
            body = {name: value for name, value in event.items() if not name.startswith("_")}
            await exchange.publish(aio_pika.Message(json.dumps(body).encode()), routing_key=event["_key"])
