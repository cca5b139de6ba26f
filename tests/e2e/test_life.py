"""The life of a job as a stranger sees it, with the stand-in for swift (a test double: what it says is recorded, and it
trains nothing).
"""

import asyncio
import json
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeModel, Settings
from tests.e2e.harness import Json, Probe, RefusedError, probe, processes_of, running_daemon

pytestmark = pytest.mark.services


@pytest.fixture
def request_for(data: str) -> "RequestFor":
    """Makes a request for a model."""
    return RequestFor(data)


class RequestFor:
    """A small request for the stand-in."""

    def __init__(self, data: str) -> None:
        self._data = data

    def __call__(self, model: str, **more: object) -> Json:
        return {
            "training_type": "llm",
            "model_path": model,
            "datasets": [self._data],
            "output_dir": "out",
            "logging_steps": 1,
            "dataloader_num_workers": 1,
            "auto_export": False,
            **more,
        }


async def create(found: Probe, request: Json) -> str:
    """Create a job; its id."""
    return (await found.call("job.create", request))["job_id"]


async def test_the_same_message_id_has_its_effect_once_and_gets_the_first_reply(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    request = json.dumps(request_for(make_model(), start=True)).encode()
    async with probe(amqp_url) as found:
        async with running_daemon(standin_settings, work, found):
            first = await found.raw("job.create", request, message_id="once")
            again = [await found.raw("job.create", request, message_id="once") for _ in range(3)]
            assert again == [first] * 3
            job_id = first["result"]["job_id"]
            await found.status(job_id, "completed")
            deleted = await found.raw("job.delete", b'{"job_id": "%s"}' % job_id.encode(), message_id="away")
            assert deleted["ok"]
        async with running_daemon(standin_settings, work, found):  # what it remembers outlives it
            assert await found.raw("job.create", request, message_id="once") == first
            assert (await found.raw("job.delete", b'{"job_id": "x"}', message_id="away")) == deleted
            assert (await found.call("job.list"))["total"] == 0


async def test_equal_requests_without_a_message_id_are_two_jobs_with_a_folder_each(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    request = json.dumps(request_for(make_model())).encode()
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        replies = [await found.raw("job.create", request, message_id=None) for _ in range(2)]
        jobs = [await found.call("job.get", {"job_id": reply["result"]["job_id"]}) for reply in replies]
        assert jobs[0]["run_dir"] != jobs[1]["run_dir"]
        assert {Path(job["run_dir"]).parent for job in jobs} == {work / "out"}


async def test_the_queue_says_who_waits_for_what_and_starts_by_priority(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    held = make_model("held", hold_at=2)
    quick = make_model("quick", steps=3)
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        running = [await create(found, request_for(held, gpu_id=str(index), start=True)) for index in (0, 1)]
        for job_id in running:
            await found.status(job_id, "running")
        low = await create(found, request_for(quick, start=True))
        high = await create(found, request_for(quick, start=True, priority=5))
        pinned = await create(found, request_for(quick, start=True, gpu_id="1"))
        never = await create(found, request_for(quick, start=True, gpu_id="7", priority=9))

        queue = (await found.call("queue.list"))["jobs"]
        assert [(job["job_id"], job["position"]) for job in queue] == [(never, 1), (high, 2), (low, 3), (pinned, 4)]
        reasons = {job["job_id"]: job["wait_reason"] for job in queue}
        assert "no node has the devices 7" in reasons[never]
        assert all(job_id in reasons[high] for job_id in running)
        assert reasons[pinned] == f"device 1 runs job {running[1]}"
        assert (await found.call("job.get", {"job_id": pinned}))["wait_reason"] == reasons[pinned]
        assert (await found.call("job.start", {"job_id": high}))["queue_position"] == 2
        assert (await found.call("job.start", {"job_id": running[0]}))["status"] == "running"

        await found.call("job.stop", {"job_id": never})
        Path(held, "go").touch()
        for job_id in (*running, high, low, pinned):
            await found.status(job_id, "completed")
        begun = [event["subject"] for event in found.events if event["_key"].endswith("status.starting")]
        assert begun.index(high) < begun.index(low)


async def test_a_stop_ends_the_whole_tree_before_the_job_is_cancelled(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    stubborn = make_model(steps=1000, ignore_sigterm=True, setsid_children=2)
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        # two devices: torchrun's agent and ranks with sessions of their own
        job_id = await create(found, request_for(stubborn, gpu_count=2, start=True))
        await found.until(lambda event: event["subject"] == job_id and event["data"].get("step", 0) >= 2)
        assert len(processes_of(job_id)) >= 6
        answer = await found.call("job.stop", {"job_id": job_id, "grace_seconds": 0.5})
        assert answer["status"] == "stopping"
        cancelled = (await found.status(job_id, "cancelled"))["data"]
        assert processes_of(job_id) == []
        assert (cancelled["previous"], cancelled["processes_left"]) == ("stopping", 0)
        assert {device["state"] for device in (await found.call("gpu.list"))["gpus"]} == {"free"}


async def test_a_pending_and_a_queued_job_are_cancelled_at_once(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        pending = await create(found, request_for(make_model()))
        queued = await create(found, request_for(make_model(), gpu_id="9", start=True))
        for job_id in (pending, queued):
            assert (await found.call("job.stop", {"job_id": job_id}))["status"] == "cancelled"
            assert (await found.call("job.stop", {"job_id": job_id}))["status"] == "cancelled"
        with pytest.raises(RefusedError, match="cancelled"):
            await found.call("job.start", {"job_id": pending})


async def test_an_end_with_code_0_before_the_last_step_is_no_completion(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        job_id = await create(found, request_for(make_model(exit_early_at=7), start=True))
        failed = (await found.status(job_id, "failed"))["data"]
        assert (failed["error_code"], failed["exit_code"]) == ("killed", 0)
        assert "step 7" in failed["error_message"]
        resumed = await found.call("job.resume", {"job_id": job_id})
        assert resumed["status"] == "queued"
        again = await found.until(
            lambda event: event["_key"] == f"job.{job_id}.status.queued" and event["data"]["attempt"] == 2
        )
        assert "checkpoint-7" in again["data"]["reason"]


async def test_a_retry_goes_on_from_the_last_checkpoint(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    model = make_model(steps=12, attempts={"1": {"fail": "killed", "fail_at": 7}})
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        job_id = await create(found, request_for(model, save_steps=5, max_retries=1, start=True))
        again = await found.until(
            lambda event: event["_key"] == f"job.{job_id}.status.queued" and event["data"]["attempt"] == 2
        )
        assert "retry 1 of 1" in again["data"]["reason"]
        await found.status(job_id, "completed", attempt=2)
        job = await found.call("job.get", {"job_id": job_id})
        assert (job["attempt"], job["current_step"], job["progress"]) == (2, 12, 100)
        assert job["swift_argv"][job["swift_argv"].index("--resume_from_checkpoint") + 1].endswith("checkpoint-5")
        points = (await found.call("job.metrics", {"job_id": job_id}))["points"]
        assert [point["step"] for point in points] == list(range(1, 13))


@pytest.mark.parametrize(
    ("fail", "code"),
    [
        ("out_of_memory", "out_of_memory"),
        ("nccl", "nccl_error"),
        ("disk_full", "disk_full"),
        ("dataset", "dataset_error"),
        ("malformed", "dataset_error"),
        ("model", "model_not_found"),
        ("bad_argument", "bad_argument"),
        ("usage", "bad_argument"),
        ("killed", "killed"),
        ("crash", "unknown"),
    ],
)
async def test_a_failure_says_why(
    standin_settings: Settings,
    make_model: MakeModel,
    request_for: RequestFor,
    work: Path,
    amqp_url: str,
    fail: str,
    code: str,
) -> None:
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        job_id = await create(found, request_for(make_model(fail=fail), start=True))
        failed = (await found.status(job_id, "failed"))["data"]
        assert failed["error_code"] == code, failed
        assert failed["error_message"]
        assert failed["exit_code"] != 0


async def test_a_timeout_and_a_command_that_is_not_there(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    async with probe(amqp_url) as found:
        async with running_daemon(standin_settings, work, found):
            hanging = make_model(hang_at=2)
            job_id = await create(found, request_for(hanging, timeout_seconds=1, start=True))
            failed = (await found.status(job_id, "failed"))["data"]
            assert failed["error_code"] == "timeout"
            assert processes_of(job_id) == []
        missing = {**standin_settings, "SWIFT_TRAINER_SWIFT_COMMAND": "no-such-swift"}
        async with running_daemon(missing, work, found):
            job_id = await create(found, request_for(make_model(), start=True))
            failed = (await found.status(job_id, "failed"))["data"]
            assert failed["error_code"] == "spawn_failed"
            assert "SWIFT_TRAINER_SWIFT_COMMAND" in failed["error_message"]
            assert (await found.call("system.status"))["status"] == "degraded"


async def test_an_expired_command_is_never_carried_out(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    async with probe(amqp_url) as found:
        async with running_daemon(standin_settings, work, found):
            pass
        await found.send("job.create", request_for(make_model(), labels={"late": "yes"}), expiration=0.01)
        await found.send("job.create", request_for(make_model(), labels={"late": "no"}))
        await asyncio.sleep(0.1)
        async with running_daemon(standin_settings, work, found):
            await found.until(lambda event: event["data"].get("labels") == {"late": "no"})
            assert (await found.call("job.list"))["total"] == 1


async def test_the_owner_is_the_user_that_the_broker_checked(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        await create(found, request_for(make_model()))
        owned = (await found.call("job.create", request_for(make_model()), user_id="guest"))["job_id"]
        listed = await found.call("job.list", {"owner": "guest"})
        assert [job["id"] for job in listed["jobs"]] == [owned]
        event = await found.status(owned, "pending")
        assert event["data"]["owner"] == "guest"


async def test_lists_are_paged_and_filtered(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        model = make_model(steps=3)
        ids = [await create(found, request_for(model, labels={"n": str(number % 2)})) for number in range(5)]
        vlm = await create(
            found, {"training_type": "vlm", "model_path": model, "data_path": "a/b", "output_dir": "out-vlm"}
        )
        page = await found.call("job.list", {"page": 2, "size": 2})
        assert [job["id"] for job in page["jobs"]] == [ids[3], ids[2]]
        assert (page["total"], page["total_llm"], page["total_vlm"]) == (6, 5, 1)
        only = await found.call("job.list", {"training_type": "vlm"})
        assert [job["id"] for job in only["jobs"]] == [vlm]
        assert (await found.call("job.list", {"label": "n=1"}))["total"] == 2
        assert (await found.call("job.list", {"status": ["running", "failed"]}))["total"] == 0
        assert (await found.call("system.status"))["counts"]["pending"] == 6


async def test_delete_is_refused_while_it_runs_and_purges_where_asked(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        held = make_model(hold_at=2, steps=4)
        job_id = await create(found, request_for(held, start=True))
        await found.status(job_id, "running")
        with pytest.raises(RefusedError, match="running"):
            await found.call("job.delete", {"job_id": job_id})
        Path(held, "go").touch()
        await found.status(job_id, "completed")
        run_dir = Path((await found.call("job.get", {"job_id": job_id}))["run_dir"])
        assert run_dir.exists()
        await found.call("job.delete", {"job_id": job_id, "purge_output": True})
        assert not run_dir.exists()
        with pytest.raises(RefusedError, match="not_found"):
            await found.call("job.get", {"job_id": job_id})


async def test_an_export_is_automatic_on_command_and_repeatable(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    def ended(event: Json) -> bool:
        return event["_key"].endswith(("export.completed", "export.failed"))

    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        request = request_for(make_model(steps=6), save_steps=3, auto_export=True, start=True)
        job_id = await create(found, request)
        first = (await found.until(ended))["data"]
        assert first["export_path"].endswith("checkpoint-6-merged")
        assert Path(first["export_path"]).is_dir()
        answer = await found.call("job.export", {"job_id": job_id, "checkpoint": "checkpoint-3"})
        assert answer["status"] == "exporting"
        second = (await found.until(ended, number=2))["data"]
        assert second["export_path"].endswith("checkpoint-3-merged")
        merged = Path(first["export_path"]) / "model.safetensors"
        whole = merged.read_bytes()
        merged.write_bytes(whole[: len(whole) // 2])  # a merge that was cut off: ms-swift would take it for done
        await found.call("job.export", {"job_id": job_id})
        third = (await found.until(ended, number=3))["data"]
        assert (third["export_status"], third["export_path"]) == ("completed", first["export_path"])
        assert merged.read_bytes() == whole
        with pytest.raises(RefusedError, match="forbidden"):
            await found.call("job.export", {"job_id": job_id, "checkpoint": "../../.."})
        with pytest.raises(RefusedError, match="conflict"):
            await found.call("job.export", {"job_id": job_id, "checkpoint": "checkpoint-99"})
        assert (await found.call("job.get", {"job_id": job_id}))["status"] == "completed"


async def test_a_failed_export_leaves_the_job_completed(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        model = make_model(steps=3, export_fail="no room for a second model")
        job_id = await create(found, request_for(model, auto_export=True, start=True))
        event = await found.until(lambda event: event["_key"] == f"job.{job_id}.export.failed")
        assert "no room for a second model" in event["data"]["export_error"]
        job = await found.call("job.get", {"job_id": job_id})
        assert (job["status"], job["export_status"], job["export_completed"]) == ("completed", "failed", False)


async def test_a_drained_node_starts_nothing_new(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        assert (await found.call("node.drain", {"node_id": "node-1"}))["state"] == "drained"
        job_id = await create(found, request_for(make_model(steps=3), start=True))
        (waiting,) = (await found.call("queue.list"))["jobs"]
        assert "drained" in waiting["wait_reason"]
        assert {device["state"] for device in (await found.call("gpu.list"))["gpus"]} == {"drained"}
        assert (await found.call("node.resume", {"node_id": "node-1"}))["state"] == "online"
        await found.status(job_id, "completed")
        states = [event["_key"] for event in found.events if event["_key"].startswith("node.")]
        assert states == ["node.node-1.online", "node.node-1.drained", "node.node-1.online"]
        with pytest.raises(RefusedError, match="not_found"):
            await found.call("node.drain", {"node_id": "nobody"})


async def test_logs_are_read_from_the_end_and_by_range(
    standin_settings: Settings, make_model: MakeModel, request_for: RequestFor, work: Path, amqp_url: str
) -> None:
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        job_id = await create(found, request_for(make_model(steps=5), start=True))
        await found.status(job_id, "completed")
        lines: list[str] = []
        offset, eof = 0, False
        while not eof:
            part = await found.call("job.logs", {"job_id": job_id, "offset": offset, "limit": 700})
            assert part["offset"] == offset
            lines += part["lines"]
            offset, eof = part["next_offset"], part["eof"]
        job = await found.call("job.get", {"job_id": job_id})
        assert offset == Path(job["log_file_path"]).stat().st_size
        steps = [line for line in lines if "'loss'" in line]
        assert len(steps) == 5
        tail = await found.call("job.logs", {"job_id": job_id, "tail": 3})
        assert tail["lines"] == lines[-3:]
        told = [
            line for event in found.events if event["_key"] == f"job.{job_id}.log" for line in event["data"]["lines"]
        ]
        assert [line for line in told if "'loss'" in line] == steps
