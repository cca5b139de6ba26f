"""The stand-in for `libnvidia-ml.so.1` from the test's side: what its devices are, what runs on them, what is broken.

`libnvidia-ml.c` tells what it can do. Every change replaces the state file at once, so the process that has loaded the
library sees the old state or the new one, and the next call already the new one.
"""

import os
import subprocess
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("libnvidia-ml.c")
LIBRARY = "libnvidia-ml.so.1"
GPUS = 8

UNINITIALIZED, NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, GPU_IS_LOST, RESET_REQUIRED = 1, 3, 4, 13, 15, 16
UNKNOWN = 999


def compile_library(compiler: str, folder: Path) -> Path:
    """Make the library; its path. Warnings are errors."""
    path = folder / LIBRARY
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread"]
    argv = [compiler, *flags, f"-Wl,-soname,{LIBRARY}", "-o", str(path), str(SOURCE)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return path


@dataclass
class Gpu:
    """A device; None is what it does not have."""

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    total: int = 81_559
    """MiB."""
    used: int = 4
    """MiB, without the driver's own share."""
    util: int | None = 0
    temp: int | None = 31
    power: int | None = 71_250
    """Milliwatt."""
    ecc: int | None = 0
    """Uncorrected errors since the driver was loaded."""
    mig: int | None = 0

    def line(self, index: int) -> str:
        """As the state file has it."""
        return f"gpu {index} {_words(self)}"


@dataclass
class Instance:
    """A MIG instance of a device."""

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3 MIG 3g.40gb"
    total: int = 40_448
    """MiB."""
    used: int = 30
    """MiB."""

    def line(self, gpu: int, place: int) -> str:
        """As the state file has it."""
        return f"instance {gpu} {place} {_words(self)}"


def _text(number: int | None) -> str:
    return "-" if number is None else str(number)


def _words(figures: Gpu | Instance) -> str:
    values = {field.name: getattr(figures, field.name) for field in fields(figures)}
    return " ".join(f"{key}={'-' if value is None else str(value).replace(' ', '_')}" for key, value in values.items())


class Call(NamedTuple):
    """One call that the library was asked for."""

    thread: int
    function: str
    gpu: int


class Driver:
    """The state of the stand-in, written anew with every change."""

    def __init__(self, library: Path, folder: Path, count: int = GPUS) -> None:
        self._library = library
        self._state = folder / "driver.txt"
        self._trace = folder / "calls.txt"
        self._gpus = [Gpu(f"GPU-0000000{index}-aaaa-bbbb-cccc-0123456789ab") for index in range(count)]
        self._instances: dict[tuple[int, int], Instance] = {}
        self._processes: list[tuple[int, int, int | None, int | None]] = []
        self._rules: list[str] = []
        self._pairs: list[str] = []
        self._xids: list[tuple[int, int]] = []
        self._epoch = 1
        self._delay_us = 0
        self._write()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs, so that `pynvml` finds the stand-in and the stand-in its state."""
        return {"LD_LIBRARY_PATH": str(self._library.parent), **self.steering}

    @property
    def steering(self) -> dict[str, str]:
        """What the stand-in needs once it is found."""
        return {"NVML_STANDIN_STATE": str(self._state), "NVML_STANDIN_TRACE": str(self._trace)}

    def change(self, gpu: int, **figures: str | int | None) -> None:
        """Give a device other figures."""
        for key, value in figures.items():
            assert hasattr(self._gpus[gpu], key)
            setattr(self._gpus[gpu], key, value)
        self._write()

    def cut(self, gpu: int, *ids: str | None) -> None:
        """A device is in MIG mode, cut into instances with these ids, by place; None: nothing is at that place."""
        self._instances = {key: value for key, value in self._instances.items() if key[0] != gpu}
        self._instances |= {(gpu, place): Instance(f"MIG-{uid}") for place, uid in enumerate(ids) if uid is not None}
        self.change(gpu, mig=1)

    def use(self, gpu: int, pid: int, mib: int, *, told: bool = True, place: int | None = None) -> None:
        """A process takes memory, on a MIG instance or on the whole; the driver may not tell how much."""
        self._processes.append((gpu, pid, mib if told else None, place))
        user = self._gpus[gpu] if place is None else self._instances[gpu, place]
        user.used += mib
        self._write()

    def leave(self, gpu: int) -> None:
        """Whatever ran on a device is gone, with its memory."""
        self._processes = [entry for entry in self._processes if entry[0] != gpu]
        self.change(gpu, used=4)

    def near(self, gpu: int, other: int, level: int) -> None:
        """What two devices have in common on the PCI bus, as NVML numbers it."""
        self._pairs.append(f"near {gpu} {other} {level}")
        self._write()

    def links(self, gpu: int, peer: int | str, count: int) -> None:
        """A device has so many NVLinks to a peer, or to a `switch`."""
        self._pairs.append(f"links {gpu} {peer} {count}")
        self._write()

    def xid(self, gpu: int, number: int) -> None:
        """The driver tells of an error, once, to whoever listens by now."""
        self._xids.append((gpu, number))
        self._write()

    def fail(self, function: str, gpu: int | str, code: int) -> None:
        """From now on this function answers so for this device; `*` for any."""
        self._rules.append(f"fail {function} {gpu} {code}")
        self._write()

    def lose(self, gpu: int) -> None:
        """It falls off the bus."""
        self.fail("*", gpu, GPU_IS_LOST)

    def hang(self, function: str = "*", gpu: int | str = "*") -> None:
        """From now on this function does not return."""
        self._rules.append(f"hang {function} {gpu} -")
        self._write()

    def slow(self, microseconds: int) -> None:
        """From now on every call takes so long."""
        self._delay_us = microseconds
        self._write()

    def heal(self) -> None:
        """Nothing fails, and nothing hangs."""
        self._rules = []
        self._write()

    def reload(self) -> None:
        """The driver is loaded anew; who used the old one is a stranger."""
        self._epoch += 1
        self._write()

    def calls(self) -> list[Call]:
        """All calls so far."""
        lines = self._trace.read_text().splitlines() if self._trace.exists() else []
        return [Call(int(thread), function, int(gpu)) for thread, function, gpu in map(str.split, lines)]

    def wait_call(self, function: str, gpu: int, *, seen: int = 0, limit_s: float = 10.0) -> None:
        """Wait until the library was asked for this, after the first `seen` calls."""
        until_s = time.monotonic() + limit_s
        while not any((call.function, call.gpu) == (function, gpu) for call in self.calls()[seen:]):
            assert time.monotonic() < until_s
            time.sleep(0.005)

    def _write(self) -> None:
        lines = [f"epoch {self._epoch}", f"delay {self._delay_us}"]
        lines += [gpu.line(index) for index, gpu in enumerate(self._gpus)]
        lines += [one.line(gpu, place) for (gpu, place), one in self._instances.items()]
        lines += [f"process {gpu} {pid} {_text(mib)} {_text(place)}" for gpu, pid, mib, place in self._processes]
        lines += [f"xid {number} {gpu} {xid}" for number, (gpu, xid) in enumerate(self._xids, 1)]
        new = self._state.with_suffix(".new")
        new.write_text("\n".join([*lines, *self._pairs, *self._rules]) + "\n")
        now = time.time_ns()  # the file system's own clock is coarser than two changes in a row
        os.utime(new, ns=(now, now))
        new.replace(self._state)
