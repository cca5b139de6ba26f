"""What a process costs, from /proc."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MIB_PER_KIB = 1 / 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """In MiB."""

    resident: float
    own: float
    """What would be free again if it ended: its private pages (USS)."""


def memory(pid: int) -> Memory:
    """What a process has in memory now."""
    sizes = {
        line.split(":")[0]: int(line.split()[1])
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    }
    own = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return Memory(sizes["Rss"] * MIB_PER_KIB, own * MIB_PER_KIB)


def cpu_s(pid: int) -> float:
    """CPU time that a process has used since its start, in user and in kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def cpu_shares(pid: int, rounds: int, round_s: float) -> list[float]:
    """How much of one core a process uses, in percent, in each of some rounds."""
    shares: list[float] = []
    for _ in range(rounds):
        used, began = cpu_s(pid), time.monotonic()
        time.sleep(round_s)
        shares.append(100 * (cpu_s(pid) - used) / (time.monotonic() - began))
    return shares
