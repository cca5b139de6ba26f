"""With a real daemon, a real broker and a stand-in for swift: who is told of what happens to jobs, and what is not
touched when nobody can be told."""

import hashlib
import hmac
import signal
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.e2e.conftest import MakeModel, Settings
from tests.e2e.harness import Probe, probe, running_daemon
from tests.notifier.conftest import MakeQueue
from tests.notifier.notifier import notifier
from tests.notifier.receiver import HANG, RESET, Answer, Call, receiver
from tests.notifier.samples import SECRET, webhook, written

pytestmark = pytest.mark.services


def request(model: str, data: str, **more: Any) -> dict[str, Any]:
    return {
        "training_type": "llm", "model_path": model, "datasets": [data], "output_dir": "out", "start": True,
        "logging_steps": 1, "labels": {"team": "vision"}, "auto_export": False, **more,
    }  # fmt: skip


def verified(call: Call) -> bool:
    signed = f"{call.headers['webhook-id']}.{call.headers['webhook-timestamp']}.".encode() + call.body
    key = b64decode(SECRET.removeprefix("whsec_"))
    return call.headers["webhook-signature"] == f"v1,{b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


async def ended(found: Probe, job_id: str, status: str) -> None:
    await found.until(lambda event: event["subject"] == job_id and event["data"].get("status") == status)


async def test_a_completed_and_a_failed_job_are_told_to_people_and_programs(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, amqp_url: str, tmp_path: Path,
    make_queue: MakeQueue,
) -> None:  # fmt: skip
    async with receiver() as people, receiver() as programs, probe(amqp_url) as found:
        rules = written(
            tmp_path,
            f"""
rules:
  - name: ends
    when: {{status: [completed, failed], labels: {{team: "vis*"}}}}
    to:
      - {webhook(programs.url)}
      - apprise: "{people.apprise}"
  - name: exports
    when: {{export_status: completed}}
    to: {{apprise: "{people.apprise}"}}
    language: zh
""",
        )
        queue = await make_queue()
        async with (
            running_daemon(standin_settings, work, found),
            notifier(tmp_path, rules, standin_settings, "--queue", queue) as told,
        ):
            good = await found.call("job.create", request(make_model("good", steps=3), data))
            await ended(found, good["job_id"], "completed")
            bad = await found.call("job.create", request(make_model("bad", fail="out_of_memory"), data, output_dir="b"))
            await ended(found, bad["job_id"], "failed")
            other = await found.call(
                "job.create", request(make_model("other", steps=3), data, labels={}, output_dir="c")
            )
            await ended(found, other["job_id"], "completed")
            calls = await programs.came(2)
            messages = await people.came(2)
            await found.call("job.export", {"job_id": good["job_id"]})
            await people.came(3)
            assert await told.stop() == 0
        assert [call.json["data"]["status"] for call in calls] == ["completed", "failed"]
        assert all(verified(call) for call in calls)
        assert all(call.headers["content-type"] == "application/cloudevents+json" for call in calls)
        durable = {event["id"]: event for job in (good, bad) for event in found.durable(job["job_id"])}
        for call in calls:
            sent = {key: value for key, value in durable[call.headers["webhook-id"]].items() if key[0] != "_"}
            assert call.json == sent
        assert [message.json["type"] for message in messages[:2]] == ["success", "failure"]
        assert "out_of_memory" in messages[1].json["title"]
        assert "导出" in messages[2].json["title"]
        assert SECRET not in told.log()
        assert "/hook" not in told.log()


async def test_rules_that_fail_touch_no_job(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, tmp_path: Path, amqp_url: str,
    make_queue: MakeQueue,
) -> None:  # fmt: skip
    """Nobody can be told, in each way that there is, and the notifier is killed: the job and its events are as ever."""
    ways: list[Answer | Literal["reset", "hang"]] = [HANG, RESET, Answer(500), Answer(410), HANG, HANG]
    async with receiver(*ways) as found, probe(amqp_url) as watched:
        async with receiver() as gone:
            nobody = gone.apprise
        rules = written(
            tmp_path,
            f"""
rules:
  - name: nobody
    when: {{}}
    to: [{{{webhook(found.url)}}}, {{apprise: "{nobody}"}}]
""",
        )
        queue = await make_queue()
        async with (
            running_daemon(standin_settings, work, watched),
            notifier(tmp_path, rules, standin_settings, "--queue", queue) as told,
        ):
            before = await watched.dead_letters()
            job = (await watched.call("job.create", request(make_model(steps=3), data)))["job_id"]
            await found.came(1)
            await told.stop(signal.SIGKILL)
            await ended(watched, job, "completed")
            await told.start()
            await told.said("notification_failed", 3)
            document = await watched.call("job.get", {"job_id": job})
            history = (await watched.call("job.events", {"job_id": job}))["events"]
            assert await watched.dead_letters() == before
        assert (document["status"], document["error_code"], document["attempt"]) == ("completed", None, 1)
        assert [event["data"]["status"] for event in history if "status" in event["data"]] == [
            "pending", "queued", "starting", "running", "completed",
        ]  # fmt: skip
        assert [event["sequence"] for event in history] == list(range(1, len(history) + 1))
