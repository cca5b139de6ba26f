"""The README's examples, run as they stand against a daemon; only the model and the data are local ones."""

import asyncio
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer.core
import typer.main

from daemon.cli.main import app
from schemas.commands import COMMANDS
from tests.e2e.conftest import MakeModel, Settings
from tests.e2e.harness import REPO, clean_environment, probe, running_daemon

README = (REPO / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
LIMIT_S = 60
OTHER = {"training_type": "vlm", "model_path": "a/b", "data_path": "c/d"}


async def example(code: str, amqp_url: str) -> asyncio.subprocess.Process:
    """A program of the README in a process of its own, without this project on its path."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-c",
        code,
        env={**clean_environment(), "SWIFT_TRAINER_AMQP_URL": amqp_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.services
async def test_the_publisher_and_the_subscriber_work_as_they_stand(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, amqp_url: str
) -> None:
    publisher, subscriber = BLOCKS
    for hub_id, local in (
        ("Qwen/Qwen2.5-7B-Instruct", make_model(steps=5)),
        ("AI-ModelScope/alpaca-gpt4-data-zh", data),
        ("AI-ModelScope/alpaca-gpt4-data-en", data),
    ):
        assert hub_id in publisher
        publisher = publisher.replace(hub_id, local)
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found), asyncio.timeout(LIMIT_S):
        listening = await example(subscriber, amqp_url)
        assert listening.stdout is not None
        heard = asyncio.create_task(listening.stdout.readline())
        while not heard.done():  # nothing else tells that it has bound its queue
            await found.call("job.create", {**OTHER, "output_dir": "elsewhere"})
            await asyncio.wait({heard}, timeout=0.2)
        asking = await example(publisher, amqp_url)
        out, err = await asking.communicate()
        assert asking.returncode == 0, err.decode()
        assert "'status': 'queued'" in out.decode()
        out, err = await listening.communicate()
        assert listening.returncode == 0, err.decode()
        lines = out.decode().splitlines()
        assert lines[-1].split()[0].endswith("status.completed")
        assert any(".progress" in line for line in lines)
        assert (await found.call("job.list", {"owner": "guest"}))["total"] == 1, "the publisher's alone"


def test_the_readme_names_every_command_and_every_make_target_it_uses_exists() -> None:
    for command in COMMANDS:
        assert f"`{command}`" in README, command
    makefile = (REPO / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z][a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_line_of_the_command_line_is_one_that_it_understands() -> None:
    (block,) = (found for found in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "swift-trainer submit" in found)
    for line in block.splitlines():
        _, *words = shlex.split(line)
        names, command = words, typer.main.get_command(app)
        while isinstance(command, typer.core.TyperGroup):
            command, names = command.commands[names[0]], names[1:]
        command.make_context(line, list(names))  # raises what the shell's user would see


def test_every_file_that_the_readme_links_to_is_there() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (REPO / link).exists(), link
    assert json.loads((REPO / "schemas" / "generated" / "commands" / "job.create.json").read_text())
