"""The installed ms-swift: finds the interpreter of its environment, asks it once, and remembers the answer on disk.

The command may be a path, a name on the PATH, or an argv prefix such as `/env/bin/python -m swift.cli.main`. Its
interpreter is the first word where that is a Python, else the one that the script's first line names. A command that
can't be asked (a container, a wrapper, a double) may run all the same: the newest known version is assumed until the
operator says better (SWIFT_TRAINER_SWIFT_VERSION). Only a command that is not there is an error.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from daemon.logs import get_log
from daemon.ports import ToolchainError
from daemon.swift.installed import Installed, assumed, options_of, table_for

log = get_log("toolchain")

PROBE = Path(__file__).with_name("swift_probe.py")
PROBE_LIMIT_S = 180.0
VERSION_LIMIT_S = 30.0
_FIND_VERSION = (
    "import importlib.metadata as m; d = m.distribution('ms-swift'); print(d.version); print(d.locate_file(''))"
)
_PYTHON = re.compile(r"^(python|pypy)[\d.]*$")
_EXEC = re.compile(rb"^'''exec' (?:\"([^\"\n]+)\"|(\S+))", re.MULTILINE)
_VERSION = re.compile(r"[0-9]+(\.[0-9A-Za-z]+)*")
ADVICE = "set SWIFT_TRAINER_SWIFT_COMMAND to the `swift` of an environment with ms-swift"
ADVICE_VERSION = "set SWIFT_TRAINER_SWIFT_VERSION to the version that it runs"


class UnaskedError(Exception):
    """The command is there, but it can't be asked what ms-swift it runs."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the probe found: names and declared types of ms-swift's options."""

    version: str
    sft: Mapping[str, str]
    export: Mapping[str, str]


class SwiftToolchain:
    """The ms-swift behind a command."""

    def __init__(self, command: str, *, version: str | None, cache_dir: Path | None) -> None:
        """Without a `cache_dir` the command is asked anew, whatever it answered before."""
        self._words = _split(command)
        self._version = version
        self._cache_dir = cache_dir
        self._lock = asyncio.Lock()
        self._installed: Installed | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """The argument vector's prefix, its first word as an absolute path where it can be found."""
        if not self._words:
            return ()
        found = shutil.which(self._words[0])
        return (found or self._words[0], *self._words[1:])

    @property
    def known(self) -> Installed | None:
        """What `installed` found, where it was asked already; never waits."""
        return self._installed

    async def installed(self) -> Installed:
        """Version and options; asked at the first call, then remembered. Raises `ToolchainError`."""
        async with self._lock:
            if self._installed is None:
                self._installed = await self._find()
                log.info("swift_found", "ms-swift is there", version=self._installed.version)
            return self._installed

    async def _find(self) -> Installed:
        if not self._words:
            raise ToolchainError(f"SWIFT_TRAINER_SWIFT_COMMAND is empty; {ADVICE}")
        path = await asyncio.to_thread(shutil.which, self._words[0])
        if path is None:
            raise ToolchainError(f"there is no command {self._words[0]!r}; {ADVICE}")
        if self._version is not None:
            try:
                return table_for(self._version)
            except ValueError as error:
                raise ToolchainError(f"SWIFT_TRAINER_SWIFT_VERSION: {error}") from None
        try:
            return await self._ask(path)
        except UnaskedError as error:
            found = assumed()
            log.warning("swift_assumed", f"{error}; {found.version} is assumed; {ADVICE_VERSION}", command=path)
            return found

    async def _ask(self, command: str) -> Installed:
        """Have the command's own interpreter answer. Raises `UnaskedError`."""
        python = await asyncio.to_thread(interpreter_of, Path(command))
        version, place = await _version_of(python, command)
        cached = self._cache_dir and self._cache_dir / f"swift-{_key(python, version, place)}.json"
        answer = await asyncio.to_thread(_load, cached, version) if cached else None
        if answer is None:
            log.info("swift_asking", "reading ms-swift's argument list (once)", python=python, version=version)
            try:
                answer = _parsed((await _run([python, str(PROBE)], PROBE_LIMIT_S)).strip().rpartition("\n")[2])
            except UnaskedError as error:
                return _shipped(version, python, str(error))
            if answer is None:
                return _shipped(version, python, f"{python} gave no answer that can be understood")
            if cached:
                await asyncio.to_thread(_save, cached, answer)
        return Installed(
            version=answer.version,
            sft_options=options_of(answer.sft),
            export_options=frozenset(answer.export),
            python=python,
        )


def _split(command: str) -> list[str]:
    """The words of a command; one word where its quotes are not closed, which is then no command that is there."""
    try:
        return shlex.split(command)
    except ValueError:
        return [command]


def _shipped(version: str, python: str, problem: str) -> Installed:
    """The shipped table for a version whose own list can't be read. Raises `UnaskedError` where there is none."""
    try:
        found = table_for(version)
    except ValueError as error:
        raise UnaskedError(f"{problem}; {error}") from None
    log.warning("swift_not_read", f"{problem}; the options of its nearest known version are used", version=version)
    return replace(found, python=python, problem=problem)


async def _version_of(python: str, command: str) -> tuple[str, str]:
    """Version and place of the ms-swift of a Python. Raises `UnaskedError`."""
    try:
        lines = (await _run([python, "-c", _FIND_VERSION], VERSION_LIMIT_S)).strip().splitlines()
        version, place = lines[-2:]
    except (UnaskedError, ValueError):
        raise UnaskedError(f"{python}, the Python of {command}, has no ms-swift") from None
    return version, place


def interpreter_of(path: Path) -> str:
    """The Python that runs a command. Raises `UnaskedError` where it has none."""
    if _PYTHON.match(path.name):
        return str(path)
    try:
        with path.open("rb") as script:
            head = script.read(1024)
    except OSError as error:
        raise UnaskedError(f"can't read {path}: {error.strerror}") from None
    trampoline = _EXEC.search(head)  # pip and uv write a shell line where the interpreter's path is too long
    if trampoline:
        return (trampoline[1] or trampoline[2]).decode(errors="surrogateescape")
    first = head.split(b"\n", 1)[0].decode(errors="replace")
    if first.startswith("#!"):
        words = first[2:].split()
        if words and Path(words[0]).name == "env":
            words = [word for word in words[1:] if not word.startswith("-")]
        found = shutil.which(words[0]) if words else None
        if found and _PYTHON.match(Path(found).name):
            return found
    raise UnaskedError(f"can't tell which Python runs {path}")


async def _run(argv: list[str], limit_s: float) -> str:
    """Standard output of a command that imports ms-swift or its metadata. Raises `UnaskedError`."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SWIFT_TRAINER_") and name not in {"PYTHONHOME", "VIRTUAL_ENV"}
    }
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env={**env, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise UnaskedError(f"can't start {argv[0]}: {error.strerror}") from None
    try:
        async with asyncio.timeout(limit_s):
            out, err = await process.communicate()
    except TimeoutError:
        raise UnaskedError(f"{argv[0]} did not answer within {limit_s:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        tail = err.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise UnaskedError(f"{argv[0]} could not read ms-swift's arguments: {tail[0]}")
    return out.decode(errors="replace")


def _key(python: str, version: str, place: str) -> str:
    """Names the cached answer: another environment, version or reinstallation asks anew."""
    metadata = Path(place) / f"ms_swift-{version}.dist-info"
    try:
        changed = metadata.stat().st_mtime_ns
    except OSError:
        changed = 0
    return hashlib.sha256(f"{python}\0{version}\0{place}\0{changed}\0v1".encode()).hexdigest()[:24]


def _load(path: Path, version: str) -> Answer | None:
    """A remembered answer; None where there is none, or none that can be understood."""
    try:
        found = _parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if found is not None and found.version == version else None


def _parsed(text: str) -> Answer | None:
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    entries: dict[str, object] = found  # pyright: ignore[reportUnknownVariableType]
    version, sft, export = entries.get("version"), _types(entries.get("sft")), _types(entries.get("export"))
    if not isinstance(version, str) or not _VERSION.fullmatch(version) or not sft or not export:
        return None
    return Answer(version, sft, export)


def _types(found: object) -> dict[str, str]:
    """Option names with their types; empty where it is no such thing."""
    if not isinstance(found, dict):
        return {}
    entries: dict[object, object] = found  # pyright: ignore[reportUnknownVariableType]
    return {name: kind for name, kind in entries.items() if isinstance(name, str) and isinstance(kind, str)}


def _save(path: Path, answer: Answer) -> None:
    """Remember an answer. That it can't be kept costs the next start some seconds and is no fault."""
    part = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(asdict(answer)), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        log.warning("swift_answer_not_kept", str(error), path=str(path))
