"""The command line at a terminal: live tables, interruption, completion in the shell; and what a person types wrong."""

import asyncio
import fcntl
import functools
import json
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from daemon.cli.job_file import read_job
from tests.e2e.conftest import MakeModel, Settings
from tests.e2e.harness import REPO, RefusedError, clean_environment, probe, running_daemon
from tests.e2e.test_cli import trainer
from tests.e2e.test_cli_jobs import done
from tests.waiting import until

pytestmark = pytest.mark.services

ROWS, COLUMNS = 24, 140


class Screen:
    """A command at a terminal of its own."""

    def __init__(self, process: asyncio.subprocess.Process, master: int) -> None:
        self._process = process
        self._master = master
        self.text = ""

    def shows(self, text: str) -> bool:
        """Whether a text was shown at any time so far."""
        with suppress(OSError):  # nothing new, or the program has ended
            self.text += os.read(self._master, 1 << 16).decode(errors="replace")
        return text in self.text

    async def interrupted(self) -> int:
        """Its exit code after Ctrl-C."""
        self._process.send_signal(signal.SIGINT)
        return await self.ended()

    async def ended(self) -> int:
        """Its exit code."""
        await until(lambda: self.shows("\0never") or self._process.returncode is not None)
        assert self._process.returncode is not None
        return self._process.returncode

    def type(self, text: str) -> None:
        """As from the keyboard."""
        os.write(self._master, text.encode())


@asynccontextmanager
async def screen(*words: str, settings: Settings, **more: str) -> AsyncGenerator[Screen]:
    """`swift-trainer` at a terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    os.set_blocking(master, False)
    env = {**clean_environment(), "PYTHONPATH": str(REPO), "TERM": "xterm-256color", "LANG": "C.UTF-8", **settings}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "daemon.cli.main", *words,
        cwd=REPO, env={**env, **more}, stdin=slave, stdout=slave, stderr=slave,
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a background run ignores it
    )  # fmt: skip
    os.close(slave)
    try:
        yield Screen(process, master)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(master)


def job_files(tmp_path: Path, data: str, *models: str, auto_export: bool = False) -> list[str]:
    """A job file for each model."""
    files: list[str] = []
    for number, model in enumerate(models):
        file = tmp_path / f"job{number}.yaml"
        file.write_text(
            f"training_type: llm\nmodel_path: {model}\ndatasets: [{data}]\noutput_dir: out{number}\n"
            f"logging_steps: 1\nauto_export: {str(auto_export).lower()}\nlabels: {{number: n{number}}}\n"
        )
        files.append(str(file))
    return files


async def test_all_jobs_live_at_a_terminal_and_in_a_pipe(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    own = standin_settings
    models = [make_model("one", steps=8, hold_at=4), make_model("two", steps=8, hold_at=4, fail="crash", fail_at=6)]
    files = job_files(tmp_path, data, *models)
    async with (
        probe(amqp_url) as found,
        running_daemon(own, work, found),
        screen("watch", settings=own) as table,
        screen("watch", "--label", "number=n1", settings=own, NO_COLOR="1") as filtered,
    ):
        await until(lambda: table.shows("no unfinished jobs"))
        await until(lambda: filtered.shows("no unfinished jobs"))
        following = asyncio.create_task(trainer("submit", *files, "--watch", "--json", settings=own))
        await found.until(lambda event: event["data"].get("step") == 4, number=2)
        await until(lambda: table.shows("2 running"))
        await until(lambda: table.shows(" 4/8 "))
        await until(lambda: filtered.shows("1 running"))
        (tmp_path / "one" / "go").touch()
        await until(lambda: table.shows("1 running; ended since: 1 completed"))
        (tmp_path / "two" / "go").touch()
        await until(lambda: table.shows("nothing unfinished; ended since: 1 completed, 1 failed"))
        assert await table.interrupted() == 130
        assert "Traceback" not in table.text
        await until(lambda: filtered.shows("ended since: 1 failed"))
        assert not filtered.shows("1 completed")
        assert "\x1b[3" not in filtered.text, "a colour where none may be"
        assert await filtered.interrupted() == 130
        code, out, err = await following
        assert code == 1, err  # one of the two failed
        lines = [json.loads(line) for line in out.splitlines()]
        ids = [line["job_id"] for line in lines if "status" in line]
        ends = {line["subject"]: line["data"]["status"] for line in lines if line.get("type") == "swift.job.status.v1"}
        assert ends == {ids[0]: "completed", ids[1]: "failed"}


async def test_several_jobs_have_ended_when_their_exports_have(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    own = standin_settings
    models = [make_model("one", steps=3), make_model("two", steps=4, hold_at=3, export_fail="no room left")]
    files = job_files(tmp_path, data, *models, auto_export=True)
    async with (
        probe(amqp_url) as found,
        running_daemon(own, work, found),
        screen("watch", settings=own) as table,
    ):
        await until(lambda: table.shows("no unfinished jobs"))
        following = asyncio.create_task(trainer("submit", *files, "--watch", settings=own))
        await found.until(lambda event: event["data"].get("export_status") == "completed")
        (tmp_path / "two" / "go").touch()  # the last end of all is one whose export fails
        code, out, err = await following
        assert code == 1, (out, err)
        assert out.count(" export completed: ") == 1
        assert out.count(" export failed: ") == 1
        await until(lambda: table.shows("nothing unfinished; ended since: 2 completed"))
        assert "3 completed" not in table.text
        async with screen("list", settings=own, TERM="dumb", COLUMNS="80") as listed:
            assert await listed.ended() == 0
        lines = listed.text.splitlines()
        ids = [line.partition(":")[0][:8] for line in out.splitlines()[:2]]
        assert [line.split()[0] for line in lines] == ["JOB", *reversed(ids)]
        assert max(map(len, lines)) <= 80
        assert await done("list", "--page", "9", settings=own) == "no jobs on page 9; 2 jobs in all, on page 1\n"
        told = (await done("submit", files[0], "--watch", "--json", settings=own)).splitlines()
        assert json.loads(told[0])["status"] == "queued"
        assert {json.loads(line)["subject"] for line in told[1:]} == {json.loads(told[0])["job_id"]}
        assert await table.interrupted() == 130


async def test_a_dumb_terminal_gets_lines(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    (file,) = job_files(tmp_path, data, make_model(steps=20))
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        async with screen("submit", file, "--watch", settings=standin_settings, TERM="dumb") as shown:
            assert await shown.ended() == 0
        assert "\x1b" not in shown.text
        lines = shown.text.splitlines()
        assert any(line.startswith("running: ") for line in lines)
        assert [line for line in lines if line.startswith("training ") and " 50% " in line]
        assert lines[-1].startswith("completed  100%  20/20")


async def test_purging_is_asked_about_at_a_terminal_alone(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    own = standin_settings
    (file,) = job_files(tmp_path, data, make_model(steps=3))
    async with probe(amqp_url) as found, running_daemon(own, work, found):
        job_id = json.loads(await done("submit", file, "--json", settings=own))["job_id"]
        assert "queued" in await done("start", job_id, "--watch", settings=own)
        assert "completed" in await done("export", job_id, "--watch", settings=own)
        async with screen("delete", job_id, "--purge", settings=own) as asked:
            await until(lambda: asked.shows("[y/N]"))
            asked.type("n\n")
            assert await asked.ended() == 1
        async with screen("delete", job_id, "--purge", "--yes", settings=own) as told:
            assert await told.ended() == 0


async def completed(words: str, settings: Settings) -> list[str]:
    """What bash offers at the end of a line."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("swift-trainer")),
        env={
            **clean_environment(),
            **settings,
            "_SWIFT_TRAINER_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert err == b""
    return out.decode().split()


async def test_the_shell_completes_ids(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    own = standin_settings
    (file,) = job_files(tmp_path, data, make_model())
    async with probe(amqp_url) as found, running_daemon(own, work, found):
        job_id = json.loads(await done("submit", file, "--json", settings=own))["job_id"]

        async def offers(
            words: str, *wanted: str
        ) -> bool:  # it gives up after two seconds, which a busy machine may take
            return await completed(words, own) == list(wanted)

        for command in ("show", "watch", "logs", "stop", "delete"):
            await until(functools.partial(offers, f"swift-trainer {command} {job_id[:6]}", job_id))
        await until(functools.partial(offers, "swift-trainer drain node-", "node-1"))
        assert await completed("swift-trainer submit jo", own) == [], "files are the shell's own business"
        elsewhere = {**own, "SWIFT_TRAINER_AMQP_URL": "amqp://guest:guest@127.0.0.1:1/"}
        assert await completed(f"swift-trainer show {job_id[:6]}", elsewhere) == []
        assert await completed("swift-trainer call node.d", elsewhere) == ["node.drain"]
        assert await completed("swift-trainer schema v", elsewhere) == ["vlm"]
        await done("dead", "drop", "--all", settings=own)
        await found.raw("no.such", b"{")
        letter_id = json.loads(await done("dead", "list", "--json", settings=own))["id"]
        for command in ("show", "requeue", "drop"):
            await until(functools.partial(offers, f"swift-trainer dead {command} {letter_id[:4]}", letter_id))


async def test_each_fault_of_a_job_file_is_told_with_its_line(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    (good,) = job_files(tmp_path, data, make_model())
    bad = tmp_path / "bad.yaml"
    bad.write_text(f"training_type: llm\nmodel_path: /no/such\ndatasets: [{data}]\nlora_rnk: 8\nlearning_rate: -1\n")
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        await done("dead", "drop", "--all", settings=standin_settings)
        code, out, err = await trainer("submit", str(bad), good, settings=standin_settings)
        assert code == 1
        assert out.count("created") == 1, "the good one was created"
        assert [line.partition(": ")[0] for line in err.splitlines()] == [
            str(bad), f"{bad}:4", f"{bad}:5", "swift-trainer",
        ]  # fmt: skip
        assert "output_dir: Field required" in err
        assert "lora_rnk: is not a field here; did you mean lora_rank?" in err
        assert "3 faults; no job was created" in err
        assert await done("dead", "list", settings=standin_settings) == "no dead letters\n", "it was never sent"
        with pytest.raises(RefusedError) as refused:  # which the daemon would have said, too
            await found.call("job.create", read_job(bad.read_text()).request)
        code, _, err = await trainer("submit", str(bad), "--json", settings=standin_settings)
        error = json.loads(err)["error"]
        assert (code, error["file"]) == (1, str(bad))
        assert str(refused.value) == f"{error['code']}: {error['message']}"
        told = {tuple(fault["loc"]): fault.pop("line") for fault in error["details"]}
        assert told == {("output_dir",): None, ("lora_rnk",): 4, ("learning_rate",): 5}
        assert sorted(error["details"], key=str) == sorted(refused.value.details, key=str)


MISTAKES = {
    "show ../../x": 1, "show ": 1, "watch nosuch": 1, "watch x --owner y": 2, "watch --status nosuch": 2,
    "logs x -n 0": 2, "logs x -f": 1, "events x": 1, "drain nosuch": 1, "drain node-1 --devices -1": 2,
    "drain node-1 --devices 99999999999999999999": 1, "list --label =": 1, "list --page 99999999999999": 1,
    "stop x --grace nan": 2, "stop x --grace 1e400": 1, "export x --quant-bits 99999999999999999999": 1,
    "dead show x": 1, "status --url nonsense": 3, "status --url amqp://[::1": 3,
    "status --url amqp://127.0.0.1:99999": 3, "call nosuch": 1, "call job.get [1]": 2,
    'call job.get {"job_id":1e400}': 1, "params nosuch": 2, "schema nosuch": 2,
    "submit": 2, "submit /no/such": 2, "submit /": 2, "submit - --set x": 2, "nosuch": 2,
}  # fmt: skip
NOT_JSON = ("call", "schema", "submit", "nosuch")
"""What has no `--json`, or is tried with it elsewhere."""


async def test_a_mistake_is_told_without_a_traceback(standin_settings: Settings, work: Path, amqp_url: str) -> None:
    turns = asyncio.Semaphore(os.cpu_count() or 1)

    async def told(words: str, wanted: int, *more: str) -> str:
        async with turns:
            code, out, err = await trainer(*words.split(" "), *more, settings=standin_settings, stdin="a: b")
        assert code == wanted, (words, more, out, err)
        assert err.strip(), words
        assert "Traceback" not in err, (words, err)
        return err

    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        await asyncio.gather(*(told(words, wanted) for words, wanted in MISTAKES.items()))
        as_json = {words: MISTAKES[words] for words in MISTAKES if words.split(" ")[0] not in NOT_JSON}
        for err in await asyncio.gather(*(told(words, wanted, "--json") for words, wanted in as_json.items())):
            assert json.loads(err)["error"]["message"]
