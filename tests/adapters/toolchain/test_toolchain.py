"""Finding the ms-swift behind a command: asked once, remembered, and no failure where it merely can't be asked."""

import json
import sys
from pathlib import Path

import pytest

from daemon.adapters import toolchain as module
from daemon.adapters.toolchain import SwiftToolchain, UnaskedError, interpreter_of
from daemon.ports import Toolchain, ToolchainError
from daemon.swift.installed import table_for

ANSWER = {"version": "4.6.0", "sft": {"model": "str", "dataset": "List[str]"}, "export": {"adapters": "List[str]"}}


class Asked:
    """Stands in for the processes that ask: counts them, and answers."""

    def __init__(self, version: str = "4.6.0", answer: str = json.dumps(ANSWER)) -> None:
        self.version = version
        self.answer = answer
        self.calls: list[str] = []

    async def __call__(self, argv: list[str], limit_s: float) -> str:
        assert limit_s > 0
        self.calls.append(argv[1])
        return f"{self.version}\n/nowhere\n" if argv[1] == "-c" else f"noise\n{self.answer}\n"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """An ms-swift that answers."""
    found = Asked()
    monkeypatch.setattr(module, "_run", found)
    return found


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def tool(command: str, tmp_path: Path, version: str | None = None) -> SwiftToolchain:
    return SwiftToolchain(command, version=version, cache_dir=tmp_path / "cache")


@pytest.fixture
def swift(tmp_path: Path) -> str:
    """A `swift` script of an environment."""
    return str(script(tmp_path / "swift", f"#!{sys.executable}\nprint()\n"))


async def test_it_is_asked_once_and_remembered(swift: str, tmp_path: Path, asked: Asked) -> None:
    first = tool(swift, tmp_path)
    assert first.known is None
    found = await first.installed()
    assert first.known is found is await first.installed()
    assert (found.version, found.python, found.assumed) == ("4.6.0", sys.executable, False)
    assert found.sft_options["dataset"].takes_many
    assert found.export_options == {"adapters"}
    assert len(asked.calls) == 2
    assert await tool(swift, tmp_path).installed() == found
    assert asked.calls[2:] == ["-c"]


@pytest.mark.parametrize(
    "broken",
    [
        "", "{", "[]", "7", "null", "{}", '{"version": 4}', '{"version": "4.6.0", "sft": [], "export": {"a": "b"}}',
        '{"version": "4.6.0", "sft": {"a": 1}, "export": {"a": "b"}}', '{"version": "x y", "sft": {"a": "b"}}',
        json.dumps({**ANSWER, "version": "4.5.0"}), "[" * 100_000, "\x00",
    ],
)  # fmt: skip
async def test_a_broken_remembered_answer_is_asked_anew(swift: str, tmp_path: Path, asked: Asked, broken: str) -> None:
    found = await tool(swift, tmp_path).installed()
    (cached,) = (tmp_path / "cache").iterdir()
    cached.write_text(broken)
    assert await tool(swift, tmp_path).installed() == found
    assert len(asked.calls) == 4
    assert json.loads(cached.read_text()) == ANSWER


async def test_an_ms_swift_that_can_not_be_imported_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real probe: the distribution is there, and what it needs is broken."""
    (tmp_path / "ms_swift-4.6.0.dist-info").mkdir()
    (tmp_path / "ms_swift-4.6.0.dist-info" / "METADATA").write_text("Name: ms-swift\nVersion: 4.6.0\n")
    (tmp_path / "swift.py").write_text("raise ImportError('libcudart.so.12: cannot open\\nit')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = await tool(f"{sys.executable} -m swift", tmp_path).installed()
    assert (found.version, found.assumed) == ("4.6.0", False)
    assert found.state.endswith("could not read ms-swift's arguments: libcudart.so.12: cannot open it")
    assert not (tmp_path / "cache").exists(), "a failure is not remembered"


async def test_without_a_cache_it_is_asked_anew(swift: str, tmp_path: Path, asked: Asked) -> None:
    await tool(swift, tmp_path).installed()
    asked.answer = "Traceback"
    assert (await tool(swift, tmp_path).installed()).state == "ok"
    assert (await SwiftToolchain(swift, version=None, cache_dir=None).installed()).problem is not None


async def test_a_folder_that_can_not_be_written_is_no_fault(swift: str, tmp_path: Path, asked: Asked) -> None:
    (tmp_path / "cache").write_text("a file")
    assert (await tool(swift, tmp_path).installed()).version == "4.6.0"
    assert len(asked.calls) == 2


@pytest.mark.parametrize("command", ["", "no-such-swift", "/no/such/swift --x", "un'closed"])
async def test_a_command_that_is_not_there_is_an_error(command: str, tmp_path: Path) -> None:
    missing = tool(command, tmp_path)
    with pytest.raises(ToolchainError, match="SWIFT_TRAINER_SWIFT_COMMAND"):
        await missing.installed()
    assert missing.known is None


@pytest.mark.parametrize(
    "text", ["#!/bin/sh\nexec docker run x swift\n", "\x7fELF", "", "#!\n", "#!/usr/bin/env\n", "#!/no/python3\n"]
)  # fmt: skip
async def test_a_command_that_can_not_be_asked_is_assumed_to_be_the_newest(tmp_path: Path, text: str) -> None:
    wrapper = tool(str(script(tmp_path / "wrapped", text)), tmp_path)
    found = await wrapper.installed()
    assert (found.version, found.assumed) == ("4.6.0", True)
    assert found.sft_options == table_for("4.6.0").sft_options
    assert wrapper.known is found


async def test_a_python_without_ms_swift_is_assumed_as_well(tmp_path: Path) -> None:
    """A test double: a script of its own under a Python that knows no ms-swift."""
    fake = script(tmp_path / "fake_swift.py", "print()\n")
    found = await tool(f"{sys.executable} -I {fake}", tmp_path).installed()
    assert found.assumed


async def test_a_python_that_is_gone_is_assumed_as_well(tmp_path: Path) -> None:
    text = "#!/bin/sh\n'''exec' \"/no such/python3\" \"$0\" \"$@\"\n' '''\n"
    assert (await tool(str(script(tmp_path / "swift", text)), tmp_path).installed()).assumed


@pytest.mark.parametrize("answer", ["Traceback", "", "{}"])
async def test_a_version_whose_list_can_not_be_read_has_its_shipped_one(
    swift: str, tmp_path: Path, asked: Asked, answer: str
) -> None:
    asked.version, asked.answer = "3.9.1", answer
    found = await tool(swift, tmp_path).installed()
    assert (found.version, found.assumed, found.python) == ("3.9.1", False, sys.executable)
    assert found.sft_options == table_for("3.12.6").sft_options
    assert found.state.startswith("ms-swift 3.9.1 does not answer, its trainings may not start: ")
    asked.version = "5.0.0"
    assert (await tool(swift, tmp_path).installed()).assumed


async def test_the_operators_word_on_the_version_counts(tmp_path: Path) -> None:
    command = str(script(tmp_path / "wrapped", "#!/bin/sh\n"))
    found = await tool(command, tmp_path, "3.10.2").installed()
    assert (found.version, found.major, found.assumed) == ("3.10.2", 3, False)
    assert "train_type" in found.sft_options
    with pytest.raises(ToolchainError, match="SWIFT_TRAINER_SWIFT_VERSION"):
        await tool(command, tmp_path, "2.0").installed()


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("#!{python}\n", None),
        ("#!{python} -I\n", None),
        ("#! {python}\n", None),
        ("#!/usr/bin/env -S python3 -u\n", "python3"),
        ("#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n", None),
        ("#!/bin/sh\n'''exec' \"/a b/python3\" \"$0\" \"$@\"\n' '''\n", "/a b/python3"),
    ],
)
def test_the_interpreter_of_a_script(tmp_path: Path, text: str, python: str | None) -> None:
    found = interpreter_of(script(tmp_path / "swift", text.format(python=sys.executable)))
    assert found.endswith(python or sys.executable)


def test_the_interpreter_of_a_python_is_itself(tmp_path: Path) -> None:
    assert interpreter_of(tmp_path / "python3.12") == str(tmp_path / "python3.12")
    with pytest.raises(UnaskedError, match="can't read"):
        interpreter_of(tmp_path / "gone")


def test_the_command_keeps_its_words(swift: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tool(f"'{swift}' --flag 'a b'", tmp_path).command == (swift, "--flag", "a b")
    assert tool("", tmp_path).command == ()
    monkeypatch.setenv("PATH", str(tmp_path))
    ported: Toolchain = tool("swift", tmp_path)
    assert ported.command == (swift,)


async def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERSION_LIMIT_S", 0.2)
    hanging = script(tmp_path / "python3", "#!/bin/sh\nexec sleep 60\n")
    assert (await tool(str(hanging), tmp_path).installed()).assumed


async def test_the_daemons_secrets_are_not_told_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFT_TRAINER_AMQP_URL", "amqp://u:p@h")
    seen = tmp_path / "seen"
    python = script(tmp_path / "python3", f"#!/bin/sh\nenv > {seen}\nexit 1\n")
    await tool(str(python), tmp_path).installed()
    assert "SWIFT_TRAINER_" not in seen.read_text()


@pytest.mark.swift
@pytest.mark.timeout(300)
async def test_the_real_ms_swift_answers(swift_command: str, tmp_path: Path) -> None:
    real = tool(swift_command, tmp_path)
    found = await real.installed()
    assert not found.assumed
    assert found.python == str(Path(swift_command).with_name("python"))
    assert found.sft_options["use_cpu"].type_name in {"bool", "<class 'bool'>"}
    assert "exist_ok" in found.export_options
    python = f"{Path(swift_command).with_name('python')} -m swift.cli.main"
    assert (await tool(python, tmp_path).installed()).sft_options == found.sft_options
