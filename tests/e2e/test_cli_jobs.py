"""The command line against a real daemon: a job from a file to its deletion, the node, and the dead letters."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from daemon.cli.dead_letters import LOOKS_BEFORE_COPY, dead_letters
from daemon.client import Client
from tests.e2e.conftest import MakeModel, Settings
from tests.e2e.harness import probe, running_daemon
from tests.e2e.test_cli import program, trainer

pytestmark = pytest.mark.services


async def done(*words: str, settings: Settings) -> str:
    """What a command printed that must succeed."""
    code, out, err = await trainer(*words, settings=settings)
    assert code == 0, (words, out, err)
    assert "\x1b" not in out
    return out


async def read(*words: str, settings: Settings) -> Any:
    """The document of a command that must succeed."""
    return json.loads(await done(*words, "--json", settings=settings))


async def test_a_job_from_its_file_to_its_deletion(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    own = standin_settings
    file = tmp_path / "job.yaml"
    model = make_model(steps=8, hold_at=4)
    file.write_text(
        f"training_type: llm\nmodel_path: {model}\ndatasets: [{data}]\noutput_dir: out\n"
        'learning_rate: 1e-4\nlogging_steps: 1\nauto_export: false\nlabels: {evil: "a\\eb"}\n'
    )
    async with probe(amqp_url) as found, running_daemon(own, work, found):
        job_id: str = (await read("submit", str(file), "--set", "lr=2e-4", "--start", settings=own))["job_id"]
        short = job_id[:8]
        await found.until(lambda event: event["data"].get("step") == 4)
        following = asyncio.create_task(trainer("logs", short, "-f", "--json", settings=own))
        watching = asyncio.create_task(trainer("watch", short, "--json", settings=own))
        shown = await read("show", short, settings=own)
        assert (shown["learning_rate"], shown["owner"]) == (2e-4, "guest")
        assert r"evil=a\x1bb" in await done("list", "--status", "running", settings=own)
        assert r"evil=a\x1bb" in await done("show", short, settings=own)
        assert [gpu["state"] for gpu in (await read("gpus", settings=own))["gpus"]].count("leased") == 1
        assert "node-1" in await done("gpus", settings=own)
        assert (await trainer("delete", short, settings=own))[0] == 1
        second: str = (await read("submit", str(file), "--set", "gpu_count=2", "--start", settings=own))["job_id"]
        assert second[:8] in await done("queue", settings=own)
        assert "cancelled" in await done("stop", second, settings=own)
        (tmp_path / "model" / "go").touch()
        code, out, err = await watching
        assert code == 0, err
        assert all(json.loads(line)["subject"] == job_id for line in out.splitlines())
        code, out, err = await following
        assert code == 0, err
        lines = [json.loads(line)["line"] for line in out.splitlines()]
        assert lines == (await found.call("job.logs", {"job_id": job_id, "tail": 10_000}))["lines"][-len(lines) :]
        history = [json.loads(line) for line in (await done("events", short, "--json", settings=own)).splitlines()]
        assert [event["sequence"] for event in history] == list(range(1, len(history) + 1))
        assert f"{job_id} job.status attempt=1, status=running" in await done("events", short, settings=own)
        assert "deleted" in await done("delete", short, "--purge", settings=own)
        assert (await trainer("show", short, settings=own))[::2] == (
            1,
            f"swift-trainer: not_found: there is no job {short}\n",
        )


async def test_the_node_and_the_doctor(standin_settings: Settings, work: Path, amqp_url: str) -> None:
    own = standin_settings
    async with probe(amqp_url) as found, running_daemon(own, work, found):
        assert "ok" in await done("status", settings=own)
        await done("drain", "node-1", settings=own)
        assert "drained" in await done("nodes", settings=own)
        await done("undrain", "node-1", settings=own)
        await done("drain", "node-1", "--devices", "1", settings=own)
        assert {gpu["index"]: gpu["state"] for gpu in (await read("gpus", settings=own))["gpus"]} == {
            0: "free",
            1: "drained",
        }
        parts = {finding["part"]: finding["verdict"] for finding in await read("doctor", settings=own)}
        assert parts["broker"] == parts["store"] == parts["swift"] == parts["node node-1"] == "ok"
        assert parts["device node-1/1"] == "note"
        seen = ("clock of this machine", "clock of the store", "versions of swift-trainer", "may order nodes")
        assert [parts[part] for part in (*seen, "may follow events")] == ["ok"] * 5
        assert {"disk of node-1", "dead letters"} <= set(parts)
        assert (await read("params", "vlm", settings=own))["lora_rank"] == 16
        full_disk = os.open("/dev/full", os.O_WRONLY)
        code, _, err = await program("daemon.cli.main", "list", "--json", settings=own, stdout=full_disk)
        os.close(full_disk)
        assert (code, err) == (1, '{"error": {"message": "can\'t print: No space left on device"}}\n')


async def test_a_node_that_is_gone_is_forgotten(standin_settings: Settings, work: Path, amqp_url: str) -> None:
    own = standin_settings
    other = {**own, "SWIFT_TRAINER_NODE_ID": "node-2", "SWIFT_TRAINER_STATE_DIR": str(work / "state-2")}
    async with probe(amqp_url) as found, running_daemon(own, work, found):
        async with running_daemon(other, work, found):
            await found.until(lambda event: event["_key"] == "node.node-2.online")
            code, _, err = await trainer("forget", "node-2", settings=own)
            assert code == 1
            assert "is online, so it can't be forgotten" in err
        gone = {
            finding["part"]: finding for finding in json.loads((await trainer("doctor", "--json", settings=own))[1])
        }
        assert gone["node node-2"]["verdict"] == "wrong"
        assert "`swift-trainer forget node-2`" in gone["node node-2"]["advice"]
        assert "forgotten" in await done("forget", "node-2", settings=own)
        parts = {finding["part"]: finding["verdict"] for finding in await read("doctor", settings=own)}
        assert "node node-2" not in parts
        assert parts["node node-1"] == "ok"


async def test_dead_letters_are_looked_at_often_requeued_and_dropped(
    standin_settings: Settings, work: Path, amqp_url: str
) -> None:
    own = standin_settings
    late = work / "late.jsonl"
    body = {"training_type": "llm", "model_path": "a/b", "datasets": [str(late)], "output_dir": "o"}
    async with probe(amqp_url) as found, running_daemon(own, work, found):
        await done("dead", "drop", "--all", settings=own)
        await found.raw("job.create", json.dumps(body).encode(), message_id="late-1")
        await found.raw("no.such", b"{")
        async with Client(amqp_url) as client, asyncio.timeout(30):
            looks = 0
            while looks < 3 * LOOKS_BEFORE_COPY:  # more often than a quorum queue may give a message back
                async with dead_letters(client) as desk:  # empty while the broker takes the last look's letters back
                    looks += sorted(letter.command for letter in desk.letters) == ["job.create", "no.such"]
        listed = [json.loads(line) for line in (await done("dead", "list", "--json", settings=own)).splitlines()]
        ids = {letter["command"]: letter["id"] for letter in listed}
        assert "late.jsonl" in (await read("dead", "show", ids["job.create"], settings=own))["reason"]
        assert (await trainer("dead", "drop", ids["no.such"], "nobody", settings=own))[0] == 1
        assert (await trainer("dead", "drop", settings=own))[0] == 2
        late.write_text("{}\n")
        await done("dead", "requeue", ids["job.create"], settings=own)
        await found.until(lambda event: event["data"].get("status") == "pending")
        await done("dead", "drop", ids["no.such"], settings=own)
        assert await done("dead", "list", settings=own) == "no dead letters\n"
