"""What the loops need of the outside, as protocols. The adapters implement them; nothing here does anything.

Every port method that talks to the outside may raise `UnavailableError`: the outside is away, nothing is known to be
wrong, try again later. An outage is never reported as a job's failure.
"""

from daemon.ports.bus import Bus, Delivery, LiveStatistics
from daemon.ports.common import Clock, Meters, UnavailableError
from daemon.ports.host import Devices, Files, Run, RunEnd, Runs, RunSpec, SpawnError, Toolchain, ToolchainError, Watch
from daemon.ports.store import FolderTakenError, JobPage, JobQuery, Store, Subject

__all__ = [
    "Bus",
    "Clock",
    "Delivery",
    "Devices",
    "Files",
    "FolderTakenError",
    "JobPage",
    "JobQuery",
    "LiveStatistics",
    "Meters",
    "Run",
    "RunEnd",
    "RunSpec",
    "Runs",
    "SpawnError",
    "Store",
    "Subject",
    "Toolchain",
    "ToolchainError",
    "UnavailableError",
    "Watch",
]
