"""`make demo`: the main job on real parts. Makes a tiny model, starts what is needed, orders a training over RabbitMQ,
follows it live, waits for the merge, says where everything is, and stops what it started.
"""

import asyncio
import sys
import time
from pathlib import Path

import desk

from daemon.cli.watching import watch_job
from daemon.client import Client, ClientError, Json, RefusedError

FOLDER = Path(".demo")
EXIT_INTERRUPTED = 130


def say(text: str) -> None:
    """A line for the person who watches."""
    sys.stdout.write(f"demo: {text}\n")
    sys.stdout.flush()


def request(tiny: dict[str, str]) -> Json:
    """The seed's example, with a model and data that are made on the spot."""
    return {
        "training_type": "llm",
        "model_path": tiny["model"],
        "model_type": "qwen2",
        "template": "qwen2_5",
        "datasets": [f"{tiny['train']}#500", f"{tiny['second']}#500"],
        "output_dir": "output/llm_test",
        "num_epochs": 1,
        "learning_rate": 1e-4,
        "lora_rank": 8,
        "gradient_accumulation_steps": 16,
        "logging_steps": 5,
        "save_steps": 50,
        "extra_args": {"check_model": False},  # else ms-swift asks a hub about the model, 20 s where there is none
        "labels": {"made-by": "demo"},
    }


async def order(opened: desk.Desk, tiny: dict[str, str]) -> Json:
    """Create, start and follow the job; its document at the end."""
    async with Client(opened.amqp_url, ca_file=opened.amqp_ca_file) as client:
        created = await client.call("job.create", request(tiny))
        job_id = created["job_id"]
        say(f"job.create answered: {created['message']} ({job_id})")
        started = await client.call("job.start", {"job_id": job_id})
        say(f"job.start answered: {started['message']}")
        await watch_job(client, job_id)
        return await client.call("job.get", {"job_id": job_id})


def main() -> None:
    """Entry point."""
    began = time.monotonic()
    folder = FOLDER.absolute()
    desk.interrupts_raise()
    try:
        say("broker, store and ms-swift")
        opened = desk.open_desk(folder, "swift_trainer_demo", on_exit="stop")
        tiny = desk.tiny_model(opened.settings["SWIFT_TRAINER_SWIFT_COMMAND"], folder / "tiny")
        desk.start_daemon(opened)
        say(f"swift-trainerd is ready, devices: {opened.settings['SWIFT_TRAINER_DEVICES']}")
        job = asyncio.run(order(opened, tiny))
    except (ClientError, RefusedError) as error:
        desk.fail(f"demo: {error}\nthe daemon's log: {folder / 'daemon.log'}")
        return
    except KeyboardInterrupt:
        sys.stderr.write("demo: interrupted; stopping what was started\n")
        sys.exit(EXIT_INTERRUPTED)
    finally:
        desk.interrupts_wait()
        desk.stop_daemon(folder)
        desk.stop_services(folder)
    for name, path in (
        ("adapter", job["checkpoint_path"]),
        ("merged model", job["export_path"]),
        ("training log", job["log_file_path"]),
        ("daemon's log", folder / "daemon.log"),
    ):
        say(f"{name:<13} {path}")
    if job["status"] != "completed" or not job["export_completed"]:
        desk.fail(f"demo: the job ended as {job['status']}: {job['error_message'] or job['export_error']}")
    say(f"done in {time.monotonic() - began:.0f} s; what was started is stopped again")


if __name__ == "__main__":
    main()
