"""The real ms-swift through faults, once: the daemon killed while it trains, stopped with a checkpoint, resumed."""

import signal
from pathlib import Path

import pytest

from tests.e2e.harness import processes_of
from tests.faults.account import assert_sound, steps_told
from tests.faults.place import Place, step_reached
from tests.faults.services import Services
from tests.faults.witness import Witness

pytestmark = [pytest.mark.services, pytest.mark.swift, pytest.mark.timeout(240)]

START_LIMIT_S = 120
STEPS = 30


async def test_a_real_training_outlives_a_killed_daemon_is_stopped_and_resumed(
    pair: Services, found: Witness, swift_command: str, tiny: dict[str, str], tmp_path: Path
) -> None:
    place = Place(tmp_path, pair.amqp_url, pair.mongodb_url, swift_command, stop_grace_seconds=60)
    request = place.request(
        tiny["model"],
        datasets=[f"{tiny['long']}#{STEPS * 4}"],
        model_type="qwen2",
        template="qwen2_5",
        gradient_accumulation_steps=4,
        save_steps=10,
        extra_args={"check_model": False},
    )
    daemon = await place.daemon()
    job_id = await found.create(request)
    await found.status(job_id, "running", START_LIMIT_S)
    daemon = await place.replace(daemon)
    await step_reached(found, job_id, 11)
    await place.end(daemon, signal.SIGKILL)
    assert len(processes_of(job_id)) > 2
    await place.daemon()
    await found.order("job.stop", {"job_id": job_id, "save": True})
    cancelled = (await found.status(job_id, "cancelled", START_LIMIT_S))["data"]
    assert (cancelled["exit_code"], cancelled["processes_left"]) == (0, 0)
    assert processes_of(job_id) == []
    stopped = await found.job(job_id)
    saved_at = int(stopped["checkpoint_path"].rpartition("-")[2])
    assert 11 <= saved_at < STEPS

    await found.order("job.resume", {"job_id": job_id})
    await found.status(job_id, "completed", START_LIMIT_S, attempt=2)
    job = await found.job(job_id)
    assert (job["attempt"], job["current_step"], job["exit_code"]) == (2, STEPS, 0)
    points = (await found.order("job.metrics", {"job_id": job_id}))["points"]
    assert steps_told(points) == list(range(1, STEPS + 1))
    assert {point["attempt"] for point in points if point["step"] > saved_at} == {2}
    await assert_sound(found, job_id)
    await place.close()
