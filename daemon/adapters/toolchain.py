"""The installed ms-swift: finds the interpreter of its environment, asks it once, and remembers the answer on disk.

The command may be a path, a name on the PATH, or an argv prefix such as `/env/bin/python -m swift.cli.main`. Its
interpreter is the first word where that is a Python, else the one that the script's first line names. A command that
can't be asked (a container, a wrapper) needs the operator's word: SWIFT_TRAINER_SWIFT_VERSION.
"""

import asyncio
import hashlib
import json
import os
import re
import shlex
import shutil
from pathlib import Path

from daemon.logs import get_log
from daemon.ports import ToolchainError
from daemon.swift.installed import Installed, options_of, table_for

log = get_log("toolchain")

PROBE = Path(__file__).with_name("swift_probe.py")
PROBE_LIMIT_S = 180.0
VERSION_LIMIT_S = 30.0
_FIND_VERSION = (
    "import importlib.metadata as m; d = m.distribution('ms-swift'); print(d.version); print(d.locate_file(''))"
)
_PYTHON = re.compile(r"^(python|pypy)[\d.]*$")
_EXEC = re.compile(rb"^'''exec' (\S+)", re.MULTILINE)
ADVICE = (
    "set SWIFT_TRAINER_SWIFT_COMMAND to the `swift` of an environment with ms-swift, "
    "or, where it can't be asked, also SWIFT_TRAINER_SWIFT_VERSION"
)


class SwiftToolchain:
    """The ms-swift behind a command."""

    def __init__(self, command: str, *, version: str | None, cache_dir: Path) -> None:
        self._words = shlex.split(command)
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
        path = shutil.which(self._words[0])
        if path is None:
            raise ToolchainError(f"there is no command {self._words[0]!r}; {ADVICE}")
        if self._version is not None:
            try:
                return table_for(self._version)
            except ValueError as error:
                raise ToolchainError(f"SWIFT_TRAINER_SWIFT_VERSION: {error}") from None
        python = await asyncio.to_thread(interpreter_of, Path(path))
        version, place = await self._ask_version(python, path)
        cached = self._cache_dir / f"swift-{_key(python, version, place)}.json"
        types = await asyncio.to_thread(_load, cached)
        if types is None:
            log.info("swift_asking", "reading ms-swift's argument list (once)", python=python, version=version)
            lines = (await _run([python, str(PROBE)], PROBE_LIMIT_S)).strip().splitlines()
            types = json.loads(lines[-1])
            await asyncio.to_thread(_save, cached, types)
        return Installed(
            version=types["version"],
            sft_options=options_of(types["sft"]),
            export_options=frozenset(types["export"]),
            python=python,
        )

    async def _ask_version(self, python: str, command: str) -> tuple[str, str]:
        try:
            answer = (await _run([python, "-c", _FIND_VERSION], VERSION_LIMIT_S)).splitlines()
        except ToolchainError:
            raise ToolchainError(f"{python}, the Python of {command}, has no ms-swift; {ADVICE}") from None
        return answer[0], answer[1]


def interpreter_of(path: Path) -> str:
    """The Python that runs a command. Raises `ToolchainError` where it has none."""
    if _PYTHON.match(path.name):
        return str(path)
    try:
        with path.open("rb") as script:
            head = script.read(1024)
    except OSError as error:
        raise ToolchainError(f"can't read {path}: {error.strerror}; {ADVICE}") from None
    trampoline = _EXEC.search(head)  # pip and uv write a shell line where the interpreter's path is too long
    if trampoline:
        return trampoline[1].decode()
    first = head.split(b"\n", 1)[0].decode(errors="replace")
    if first.startswith("#!"):
        words = shlex.split(first[2:])
        if words and Path(words[0]).name == "env":
            words = [word for word in words[1:] if not word.startswith("-")]
        found = shutil.which(words[0]) if words else None
        if found and _PYTHON.match(Path(found).name):
            return found
    raise ToolchainError(f"can't tell which Python runs {path}; {ADVICE}")


async def _run(argv: list[str], limit_s: float) -> str:
    """Standard output of a command that imports ms-swift or its metadata. Raises `ToolchainError`."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SWIFT_TRAINER_") and name not in {"PYTHONHOME", "VIRTUAL_ENV"}
    }
    process = await asyncio.create_subprocess_exec(
        *argv,
        env={**env, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(limit_s):
            out, err = await process.communicate()
    except TimeoutError:
        raise ToolchainError(f"{argv[0]} did not answer within {limit_s:g} s; {ADVICE}") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        tail = err.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise ToolchainError(f"{argv[0]} could not read ms-swift's arguments: {tail[0]}; {ADVICE}")
    return out.decode(errors="replace")


def _key(python: str, version: str, place: str) -> str:
    """Names the cached answer: another environment, version or reinstallation asks anew."""
    metadata = Path(place) / f"ms_swift-{version}.dist-info"
    try:
        changed = metadata.stat().st_mtime_ns
    except OSError:
        changed = 0
    return hashlib.sha256(f"{python}\0{version}\0{place}\0{changed}\0v1".encode()).hexdigest()[:24]


def _load(path: Path) -> "dict[str, dict[str, str]] | None":
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _save(path: Path, types: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(types))
    part.replace(path)
