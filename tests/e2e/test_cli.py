"""The programs as a person types them: the daemon's `--help` and `--check`, and the operator's command line."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from daemon import __version__
from daemon.settings import PREFIX
from daemon.settings import Settings as DaemonSettings
from tests.e2e.conftest import MakeModel, Settings
from tests.e2e.harness import REPO, clean_environment, probe, running_daemon

LIMIT_S = 60


async def program(
    module: str,
    *words: str,
    settings: Settings | None = None,
    stdin: str = "",
    cwd: Path | None = None,
    stdout: BinaryIO | int = asyncio.subprocess.PIPE,
) -> tuple[int, str, str]:
    """Run one of the two programs; exit code, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *words,
        cwd=cwd or REPO,
        env={**clean_environment(), "PYTHONPATH": str(REPO), "COLUMNS": "200", **(settings or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(LIMIT_S):
        out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return process.returncode, (out or b"").decode(), err.decode()


async def daemon(*words: str, settings: Settings | None = None) -> tuple[int, str, str]:
    """`swift-trainerd`."""
    return await program("daemon.main", *words, settings=settings)


async def trainer(*words: str, settings: Settings | None = None, stdin: str = "") -> tuple[int, str, str]:
    """`swift-trainer`."""
    return await program("daemon.cli.main", *words, settings=settings, stdin=stdin)


async def test_help_lists_every_setting_with_its_default() -> None:
    code, out, _ = await daemon("--help")
    assert code == 0
    for name in DaemonSettings.model_fields:
        assert f"{PREFIX}{name.upper()}" in out
    assert "amqp://guest:guest@localhost:5672/" in out
    assert "mongodb://localhost:27017" in out


async def test_a_bad_setting_is_named() -> None:
    code, _, err = await daemon("--check", settings={"SWIFT_TRAINER_STOP_GRACE_SECONDS": "soon"})
    assert code == 2
    assert "SWIFT_TRAINER_STOP_GRACE_SECONDS" in err
    code, _, err = await daemon(settings={"SWIFT_TRAINER_DEVICES": "gpu0"})
    assert code == 2
    assert "SWIFT_TRAINER_DEVICES" in err
    assert "Traceback" not in err


async def test_the_check_says_what_is_wrong_with_each_part(tmp_path: Path) -> None:
    settings = {
        "SWIFT_TRAINER_AMQP_URL": "amqp://guest:secret@127.0.0.1:1/",
        "SWIFT_TRAINER_MONGODB_URL": "mongodb://u:secret@127.0.0.1:1",
        "SWIFT_TRAINER_SWIFT_COMMAND": "no-such-swift",
        "SWIFT_TRAINER_STATE_DIR": str(tmp_path / "state"),
    }
    code, out, err = await daemon("--check", settings=settings)
    assert code == 1
    said = {line.split()[0]: line for line in out.splitlines()}
    assert set(said) == {"broker", "store", "devices", "ms-swift", "state", "work"}
    assert "SWIFT_TRAINER_AMQP_URL" in said["broker"]
    assert "SWIFT_TRAINER_MONGODB_URL" in said["store"]
    assert "SWIFT_TRAINER_DEVICES=cpu" in said["devices"]
    assert "SWIFT_TRAINER_SWIFT_COMMAND" in said["ms-swift"]
    assert said["state"].split()[1] == "ok"
    assert "secret" not in out + err


def broken_swift(folder: Path) -> Settings:
    """An ms-swift whose distribution is there, and which can't be imported."""
    (folder / "ms_swift-4.6.0.dist-info").mkdir(parents=True)
    (folder / "ms_swift-4.6.0.dist-info" / "METADATA").write_text("Name: ms-swift\nVersion: 4.6.0\n")
    (folder / "swift.py").write_text("raise ImportError('libcudart.so.12: cannot open')\n")
    return {"SWIFT_TRAINER_SWIFT_COMMAND": f"{sys.executable} -m swift", "PYTHONPATH": str(folder)}


@pytest.mark.services
@pytest.mark.parametrize(
    ("part", "settings", "said"),
    [
        ("store", {"SWIFT_TRAINER_MONGODB_DATABASE": "a.b"}, "SWIFT_TRAINER_MONGODB_DATABASE"),
        ("work", {"SWIFT_TRAINER_WORK_DIR": "/no/such"}, "there is no folder /no/such"),
        ("ms-swift", None, "libcudart.so.12: cannot open"),
    ],
)
async def test_the_check_fails_for_one_part_alone(
    standin_settings: Settings, tmp_path: Path, part: str, settings: Settings | None, said: str
) -> None:
    broken = settings or broken_swift(tmp_path / "broken")
    plain = {name: value for name, value in standin_settings.items() if name != "SWIFT_TRAINER_SWIFT_VERSION"}
    code, out, err = await daemon("--check", settings={**(standin_settings if settings else plain), **broken})
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert said in lines.pop(part)
    assert all(line.split()[1] == "ok" for line in lines.values()), out
    assert code == 1
    assert "Traceback" not in err


@pytest.mark.services
async def test_the_check_passes_where_all_is_well(standin_settings: Settings) -> None:
    code, out, _ = await daemon("--check", settings=standin_settings)
    assert code == 0, out
    assert all(line.split()[1] == "ok" for line in out.splitlines()), out


@pytest.mark.services
async def test_call_watch_and_events(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    request = {
        "training_type": "llm",
        "model_path": make_model(steps=30, hold_at=10),
        "datasets": [data],
        "output_dir": "out",
        "logging_steps": 1,
    }
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        code, out, err = await trainer("call", "job.create", "-", settings=standin_settings, stdin=json.dumps(request))
        assert code == 0, err
        job_id = json.loads(out)["job_id"]
        watching = asyncio.create_task(trainer("watch", job_id, settings=standin_settings))
        code, out, _ = await trainer("call", "job.start", json.dumps({"job_id": job_id}), settings=standin_settings)
        assert json.loads(out)["status"] == "queued"
        await found.until(lambda event: event["data"].get("step") == 10)
        (tmp_path / "model" / "go").touch()
        code, out, err = await watching
        assert code == 0, err
        assert "completed" in out
        assert "export completed" in out
        code, _, err = await trainer("call", "job.start", '{"job_id": "nobody"}', settings=standin_settings)
        assert (code, err.strip()) == (1, "swift-trainer: not_found: there is no job nobody")
        code, _, err = await trainer("call", "job.start", "{", settings=standin_settings)
        assert code == 2
        assert "JSON" in err


async def test_no_broker_is_one_line_and_an_exit_code() -> None:
    settings = {"SWIFT_TRAINER_AMQP_URL": "amqp://guest:guest@127.0.0.1:1/"}
    code, _, err = await trainer("call", "gpu.list", settings=settings)
    assert code == 3
    assert len(err.strip().splitlines()) == 1
    assert "SWIFT_TRAINER_AMQP_URL" in err
    code, out, err = await trainer("gpus", "--json", settings=settings)
    assert (code, out) == (3, "")
    assert "SWIFT_TRAINER_AMQP_URL" in json.loads(err)["error"]["message"]
    code, out, err = await trainer("doctor", settings=settings)
    assert (code, err) == (3, "")
    assert "start RabbitMQ" in out
    assert "the node that answers" not in out


async def test_the_version_is_told() -> None:
    for ask, name in ((trainer, "swift-trainer"), (daemon, "swift-trainerd")):
        assert await ask("--version") == (0, f"{name} {__version__}\n", "")


@pytest.fixture
def full_disk() -> Iterator[BinaryIO]:
    """A file that takes nothing."""
    with Path("/dev/full").open("wb") as file:
        yield file


@pytest.mark.parametrize(
    ("words", "said"), [("schema llm", "swift-trainer: can't print: "), ("schema --json", '{"error": {"message": ')]
)
async def test_a_full_disk_is_one_line(full_disk: BinaryIO, words: str, said: str) -> None:
    code, _, err = await program("daemon.cli.main", *words.split(), stdout=full_disk)
    assert (code, len(err.splitlines())) == (1, 1), err
    assert err.startswith(said)


async def test_a_reader_that_goes_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody_reads:
        assert await program("daemon.cli.main", "schema", "llm", stdout=nobody_reads) == (1, "", "")


async def test_schemas_and_tokens_for_programs(tmp_path: Path) -> None:
    assert {"llm", "vlm", "job.list"} <= set(json.loads((await trainer("schema", "--json"))[1]))
    tokens = ("--file", str(tmp_path / "tokens.json"), "--json")
    code, out, err = await trainer("token", "add", "ci", "--role", "submit", "--owner", "alice", *tokens)
    made = json.loads(out)
    assert (code, err, made["token"] != "") == (0, "", True)
    assert {**made, "token": ""} == {"name": "ci", "role": "submit", "owner": "alice", "token": ""}
    code, _, err = await trainer("token", "add", "ci", "--role", "read", *tokens)
    assert code == 1
    assert "already" in json.loads(err)["error"]["message"]
    assert json.loads((await trainer("token", "remove", "ci", *tokens))[1]) == {"name": "ci", "action": "removed"}
