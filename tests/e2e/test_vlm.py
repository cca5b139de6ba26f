"""A vision-language model on the real parts: real RabbitMQ, real mongod, the daemon as a process, the real ms-swift.

A tiny random Qwen2.5-VL trains on pictures, is followed step by step and merged. What it needs beside the ms-swift
environment lies in a folder of its own, which reaches the training as it reaches it at an operator's: by the PYTHONPATH
of the daemon.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeSettings
from tests.e2e.curves import assert_same_curve, logged_steps
from tests.e2e.harness import REPO, Event, Json, Probe, probe, running_daemon

pytestmark = [pytest.mark.services, pytest.mark.swift, pytest.mark.timeout(300)]

LIMIT_S = 120
"""Alone on a free machine a training or a merge takes 10 s, most of it imports; this one may be busy."""
MAX_PIXELS = 6272
"""Half of a picture's 112 by 112 pixels: scaled down it is 56 by 56, four tokens of 28 by 28 instead of sixteen."""


def output_of(*argv: str, **env: str) -> str:
    """The last line that a set-up script prints."""
    done = subprocess.run(
        argv, cwd=REPO, env={**os.environ, **env}, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def side_folder(swift_command: str) -> str:
    """What vision-language models need beside the ms-swift environment."""
    return output_of("bash", "deploy/swift-vlm.sh", SWIFT_TRAINER_SWIFT_COMMAND=swift_command)


@pytest.fixture(scope="module")
def tiny_vlm(swift_command: str, side_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Json:
    """Paths of a tiny vision-language model and its data set."""
    python = str(Path(swift_command).with_name("python"))
    folder = str(tmp_path_factory.mktemp("tiny_vlm"))
    made: Json = json.loads(output_of(python, "deploy/tiny_vlm.py", "--dir", folder, PYTHONPATH=side_folder))
    return made


def request(tiny_vlm: Json) -> Json:
    """An order for a training of a vision-language model."""
    return {
        "training_type": "vlm",
        "model_path": tiny_vlm["model"],
        "model_type": "qwen2_5_vl",
        "template": "qwen2_5_vl",
        "data_path": tiny_vlm["data"],
        "output_dir": "output/vlm",
        "freeze_vit": True,
        "freeze_aligner": False,
        "max_pixels": MAX_PIXELS,
        "dataset_num_proc": 1,
        "dataloader_num_workers": 1,
        "logging_steps": 1,
        "save_steps": 4,
        "extra_args": {"check_model": False},  # which asks a hub for 15 s, where there is none
        "start": True,
    }


def lines_of(job: Json) -> list[str]:
    """What ms-swift wrote."""
    return Path(job["log_file_path"]).read_text().splitlines()


async def merged(found: Probe, job_id: str) -> Path:
    """The merged model, when it is there."""

    def ended(event: Event) -> bool:
        return event["_key"] in (f"job.{job_id}.export.completed", f"job.{job_id}.export.failed")

    export = (await found.until(ended, LIMIT_S))["data"]
    assert export["export_status"] == "completed", export
    return Path(export["export_path"])


async def test_a_vision_language_model_trains_on_pictures_and_is_merged(
    make_settings: MakeSettings, swift_command: str, side_folder: str, tiny_vlm: Json, work: Path, amqp_url: str
) -> None:
    settings = {**make_settings(swift_command), "PYTHONPATH": os.pathsep.join((str(REPO), side_folder))}
    async with probe(amqp_url) as found, running_daemon(settings, work, found):
        job_id = (await found.call("job.create", request(tiny_vlm)))["job_id"]
        await found.status(job_id, "completed", LIMIT_S)
        job = await found.call("job.get", {"job_id": job_id})
        run_dir = Path(job["run_dir"])

        # followed step by step: 24 rows, 4 to a step
        assert (job["current_step"], job["total_steps"], job["progress"]) == (6, 6, 100)
        phases = {event["data"]["phase"] for event in found.progress(job_id)}
        assert phases >= {"preprocessing", "training", "saving"}
        assert_same_curve(found.progress(job_id), logged_steps(run_dir))
        saved = [event["data"]["step"] for event in found.durable(job_id) if event["_key"].endswith(".checkpoint")]
        assert saved == [4, 6]
        assert Path(job["log_file_path"]).name == f"vlm_training_{job_id}.log"
        assert (await found.call("job.list", {"training_type": "vlm"}))["total_vlm"] == 1

        # the command line, and what ms-swift read from it
        argv: list[str] = job["swift_argv"]
        begin = argv.index("--vit_lr")
        assert " ".join(argv[begin : begin + 16]) == (
            "--vit_lr 1e-05 --aligner_lr 1e-05 --freeze_vit true --freeze_aligner false --freeze_llm false "
            f"--dataset_num_proc 1 --save_only_model false --max_pixels {MAX_PIXELS}"
        )
        assert argv[argv.index("--dataset") + 1] == tiny_vlm["data"]
        read = json.loads((run_dir / "args.json").read_text())
        assert (read["max_pixels"], read["freeze_vit"], read["freeze_aligner"]) == (MAX_PIXELS, True, False)

        # MAX_PIXELS was in the environment: ms-swift divides it by 28 by 28; and the pictures were scaled down to it
        told = lines_of(job)
        assert any("`IMAGE_MAX_TOKEN_NUM`, Setting image_max_token_num: 8." in line for line in told)
        assert any("<|vision_start|>[151655 * 4]<|vision_end|>" in line for line in told)

        model = await merged(found, job_id)
        assert model == run_dir / "exports" / "checkpoint-6-merged"
        assert (model / "model.safetensors").exists()
        assert (model / "processor_config.json").exists()
