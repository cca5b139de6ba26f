"""The stand-in for NVML, compiled once a run, and loaded into this process where `pynvml` finds it by its name."""

import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest

from tests.e2e.conftest import data, make_model, make_settings, work
from tests.nvml.standin import Driver, compile_library

__all__ = ["data", "make_model", "make_settings", "work"]

_nvml: Any = pynvml
THREAD_LIMIT_S = 5.0


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in for `libnvidia-ml.so.1`. Without a compiler these tests are skipped at a desk and fail in CI."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        say = pytest.fail if os.environ.get("CI", "").lower() in {"true", "1"} else pytest.skip
        say("no C compiler (gcc): the stand-in for libnvidia-ml.so.1 can't be made")
    return compile_library(compiler, tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def apart(library: Path, tmp_path: Path) -> Driver:
    """A driver with eight GPUs for another process."""
    return Driver(library, tmp_path)


@pytest.fixture
def driver(apart: Driver, library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    """A driver with eight GPUs for this process: the linker finds what is loaded already by its soname."""
    ctypes.CDLL(str(library))
    monkeypatch.setattr(_nvml, "nvmlLib", None)
    monkeypatch.setattr(_nvml, "_nvmlGetFunctionPointer_cache", {})
    for name, value in apart.steering.items():
        monkeypatch.setenv(name, value)
    yield apart
    apart.heal()
    for thread in threading.enumerate():
        if thread.name.startswith("nvml"):
            thread.join(THREAD_LIMIT_S)
            assert not thread.is_alive()


@pytest.fixture
def stranger() -> Iterator[int]:
    """The id of a process that no daemon started."""
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process.pid
        process.kill()
