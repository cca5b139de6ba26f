"""The main job on the real parts: real RabbitMQ, real mongod, the daemon as a process, the real ms-swift.

A tiny model trains, is followed step by step, stopped with a checkpoint, resumed, fails and says why.
"""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.e2e.conftest import Settings
from tests.e2e.curves import assert_same_curve, logged_steps
from tests.e2e.harness import Event, Json, Probe, RefusedError, probe, processes_of, running_daemon

pytestmark = [pytest.mark.services, pytest.mark.swift, pytest.mark.timeout(600)]

START_LIMIT_S = 240
"""Importing torch takes 10 s alone on a free machine; this one may be busy."""


def seed_request(tiny: dict[str, str], **more: object) -> Json:
    """The example of the document that the project started from, with a model and data that are at hand."""
    return {
        "training_type": "llm",
        "gpu_id": "0",
        "datasets": [f"{tiny['train']}#500", f"{tiny['second']}#500"],
        "model_path": tiny["model"],
        "output_dir": "output/llm_test",
        "num_epochs": 1,
        "batch_size": 1,
        "learning_rate": 1e-4,
        "lora_rank": 8,
        "lora_alpha": 32,
        "target_modules": "all-linear",
        "gradient_accumulation_steps": 16,
        "eval_steps": 50,
        "save_steps": 50,
        "save_total_limit": 2,
        "logging_steps": 5,
        "max_length": 2048,
        "warmup_ratio": 0.05,
        "dataloader_num_workers": 4,
        "torch_dtype": "bfloat16",
        "system": "You are a helpful assistant.",
        "model_author": "swift",
        "model_name": "swift-robot",
        "model_type": "qwen2",
        "template": "qwen2_5",
        **more,
    }


QUICK: Json = {"extra_args": {"check_model": False}}
"""Without it ms-swift asks a hub whether a local model is the newest: 20 s where there is none."""


def assert_gapless(events: list[Event]) -> None:
    """Durable events by sequence 1, 2, 3, ..., each id once."""
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert len({event["id"] for event in events}) == len(events)


async def exported(found: Probe, job_id: str, times: int = 1) -> Event:
    """The last of so many ended exports."""

    def ended(event: Event) -> bool:
        return (
            event["subject"] == job_id
            and event["type"] == "swift.job.export.v1"
            and event["data"]["export_status"] in ("completed", "failed")
        )

    event = await found.until(ended, START_LIMIT_S, number=times)
    assert event["data"]["export_status"] == "completed", event["data"]
    return event


async def test_the_seeds_example_trains_is_followed_step_by_step_and_merged(
    real_settings: Settings, tiny: dict[str, str], work: Path, amqp_url: str
) -> None:
    async with probe(amqp_url) as found, running_daemon(real_settings, work, found):
        created = await found.call("job.create", seed_request(tiny))
        assert set(created) == {"job_id", "status", "message"}
        assert created["status"] == "pending"
        job_id = created["job_id"]
        started = await found.call("job.start", {"job_id": job_id})
        assert (started["status"], started["queue_position"]) == ("queued", 1)
        await found.status(job_id, "running", START_LIMIT_S)
        assert {device["state"] for device in (await found.call("gpu.list"))["gpus"]} == {"leased", "free"}
        await found.status(job_id, "completed", START_LIMIT_S)
        export = await exported(found, job_id)

        job = await found.call("job.get", {"job_id": job_id})
        assert job["swift_argv"][1] == "sft"
        run_dir = Path(job["run_dir"])
        assert run_dir.parent == work / "output" / "llm_test"
        assert_same_curve(found.progress(job_id), logged_steps(run_dir))
        points = (await found.call("job.metrics", {"job_id": job_id}))["points"]
        assert [point["loss"] for point in points if point["loss"] is not None] == [
            record["loss"] for record in logged_steps(run_dir)
        ]

        assert_gapless(found.durable(job_id))
        kinds = [event["_key"].removeprefix(f"job.{job_id}.") for event in found.durable(job_id)]
        assert [kind for kind in kinds if kind.startswith("status")] == [
            f"status.{status}" for status in ("pending", "queued", "starting", "running", "completed")
        ]
        assert [kind for kind in kinds if kind.startswith("export")] == [
            f"export.{status}" for status in ("queued", "running", "completed")
        ]
        asked = (await found.call("job.events", {"job_id": job_id}))["events"]
        assert [event["id"] for event in asked] == [event["id"] for event in found.durable(job_id)]

        percents = [event["data"]["percent"] for event in found.progress(job_id)]
        assert percents == sorted(percents)
        assert (job["status"], job["progress"], job["exit_code"]) == ("completed", 100, 0)
        assert job["current_step"] == job["total_steps"] == 63
        assert job["final_loss"] == logged_steps(run_dir)[-1]["loss"]
        assert job["checkpoint_path"] == str(run_dir / "checkpoint-63")
        assert job["export_path"] == export["data"]["export_path"] == str(run_dir / "exports" / "checkpoint-63-merged")
        assert (Path(job["export_path"]) / "model.safetensors").exists()
        phases = [event["data"]["phase"] for event in found.progress(job_id)]
        assert [phase for phase, before in zip(phases, [None, *phases], strict=False) if phase != before][:3] == [
            "loading",
            "preprocessing",
            "training",
        ]

        log = await found.call("job.logs", {"job_id": job_id, "tail": 5})
        assert log["eof"]
        assert any("End time of running main" in line for line in log["lines"])
        assert Path(job["log_file_path"]).name == f"llm_training_{job_id}.log"

        again = await found.call("job.export", {"job_id": job_id})
        assert again["status"] == "exporting"
        await exported(found, job_id, times=2)
        assert processes_of(job_id) == []


async def test_a_training_outlives_the_daemon_a_stop_saves_and_a_resume_goes_on_from_there(
    real_settings: Settings, tiny: dict[str, str], work: Path, amqp_url: str
) -> None:
    request = seed_request(
        tiny,
        datasets=[f"{tiny['long']}#600"],
        gradient_accumulation_steps=4,
        logging_steps=1,
        save_steps=30,
        dataloader_num_workers=1,
        auto_export=False,
        start=True,
        **QUICK,
    )
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(probe(amqp_url))
        async with running_daemon(real_settings, work, found) as first:
            job_id = (await found.call("job.create", request))["job_id"]
            await found.status(job_id, "running", START_LIMIT_S)
            await first.stop()
        assert len(processes_of(job_id)) > 1
        await stack.enter_async_context(running_daemon(real_settings, work, found))
        await found.until(
            lambda event: event["subject"] == job_id and event["data"].get("step", 0) >= 33, START_LIMIT_S
        )
        answer = await found.call("job.stop", {"job_id": job_id, "save": True})
        assert answer["status"] == "stopping"
        cancelled = (await found.status(job_id, "cancelled", START_LIMIT_S))["data"]
        assert processes_of(job_id) == []
        assert cancelled["processes_left"] == 0

        stopped = await found.call("job.get", {"job_id": job_id})
        assert stopped["exit_code"] == 0  # which a stop that saves ends with, and which is no completion
        saved_at = int(stopped["checkpoint_path"].rpartition("-")[2])
        assert 33 <= saved_at < 150
        assert stopped["progress"] < 100
        assert (await found.call("job.stop", {"job_id": job_id}))["status"] == "cancelled"

        await found.call("job.export", {"job_id": job_id})
        await exported(found, job_id)
        model = Path((await found.call("job.get", {"job_id": job_id}))["export_path"])

        resumed = await found.call("job.resume", {"job_id": job_id})
        assert resumed["status"] == "queued"
        await found.status(job_id, "completed", START_LIMIT_S, attempt=2)
        job = await found.call("job.get", {"job_id": job_id})
        assert (job["attempt"], job["run_dir"], job["current_step"]) == (2, stopped["run_dir"], 150)
        assert list(model.glob("*.safetensors")), "what rotates the checkpoints must not take it for one"
        points = (await found.call("job.metrics", {"job_id": job_id, "max_points": 1000}))["points"]
        assert [point["step"] for point in points if point["loss"] is not None] == list(range(1, 151))
        second = [event["data"] for event in found.progress(job_id) if event["data"]["attempt"] == 2]
        assert min(data["step"] for data in second) == saved_at
        assert [data["percent"] for data in second] == sorted(data["percent"] for data in second)
        assert_gapless(found.durable(job_id))


FAILING: tuple[tuple[str, Json, str], ...] = (
    ("bad_argument", {"model_type": None, "template": None, **QUICK}, "model_type"),
    ("bad_argument", {"extra_args": {"check_model": False, "optim": "no_such_optimizer"}}, "no_such_optimizer"),
    ("dataset_error", {"datasets": ["broken.jsonl"], **QUICK}, ""),
)
"""The code, what is changed in the seed's example, and a part of the line that a person would look for."""


async def test_failing_jobs_say_why(real_settings: Settings, tiny: dict[str, str], work: Path, amqp_url: str) -> None:
    (work / "broken.jsonl").write_text('{"messages": [\n{"messages"')
    devices = {"SWIFT_TRAINER_DEVICES": f"cpu:{len(FAILING)}"}  # side by side: most of it is ms-swift's start
    async with probe(amqp_url) as found, running_daemon({**real_settings, **devices}, work, found):
        jobs: list[str] = []
        for place, (_, change, _) in enumerate(FAILING):
            request = seed_request(tiny, **change, gpu_id=str(place), output_dir=f"output/{place}", start=True)
            asked = {name: value for name, value in request.items() if value is not None}
            jobs.append((await found.call("job.create", asked))["job_id"])
        for job_id, (code, _, telling) in zip(jobs, FAILING, strict=True):
            failed = (await found.status(job_id, "failed", START_LIMIT_S))["data"]
            assert failed["error_code"] == code, failed
            assert telling in failed["error_message"]
            assert failed["exit_code"] not in (None, 0)
            job = await found.call("job.get", {"job_id": job_id})
            assert (job["status"], job["error_message"]) == ("failed", failed["error_message"])


async def test_an_option_that_this_ms_swift_does_not_have_is_refused_at_once(
    real_settings: Settings, tiny: dict[str, str], work: Path, amqp_url: str
) -> None:
    async with probe(amqp_url) as found, running_daemon(real_settings, work, found):
        with pytest.raises(RefusedError) as refused:
            await found.call("job.create", seed_request(tiny, extra_args={"weight_decya": 0.1}))
        assert refused.value.code == "invalid_request"
        assert refused.value.details[0]["loc"] == ["extra_args", "weight_decya"]
        assert "weight_decay" in refused.value.details[0]["message"]
