"""The README's lines about the gateway, run as they stand; only the port and the job's id are other ones."""

import asyncio
import json
import re
import shlex
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeModel, Served
from tests.e2e.harness import REPO

LINES = re.findall(r"^curl .*$", (REPO / "README.md").read_text(), re.MULTILINE)


@pytest.mark.services
async def test_what_is_asked_with_curl_is_answered(
    make_model: MakeModel, data: str, tmp_path: Path, served: Served
) -> None:
    body = {"model_path": make_model(steps=3), "datasets": [data], "output_dir": "out", "start": True}
    (tmp_path / "job.json").write_text(json.dumps(body))
    assert len(LINES) == 3
    gateway = served.gateway

    async def run(line: str) -> str:
        words = shlex.split(line.replace("http://localhost:8000", gateway.url.replace("127.0.0.1", "localhost")))
        process = await asyncio.create_subprocess_exec(
            *words, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    listing, creating, following = LINES
    assert json.loads(await run(listing))["total"] == 0
    job_id = json.loads(await run(creating))["job_id"]
    streamed = await run(following.replace("JOB", job_id))
    assert "event: end" in streamed
    assert '"status":"completed"' in streamed
