"""The settings: environment variables `SWIFT_TRAINER_*`, also read from a `.env` file. All of them, in one place.

`swift-trainerd --help` and `deploy/swift-trainer.env.example` list them from here.
"""

import json
import socket
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from daemon.core.watchdog import Limits
from daemon.core.work import Shares

PREFIX = "SWIFT_TRAINER_"


class Quota(BaseModel):
    """What one owner may have; absent: no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpus: Annotated[int, Field(ge=0)] | None = None
    """Devices at once."""
    queued: Annotated[int, Field(ge=0)] | None = None
    """Trainings in the queue."""


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "{}")
    except ValueError as error:
        raise ValueError(f"must be a JSON object with a member per owner, * for all others: {error}") from None


_BY_OWNER = (NoDecode, BeforeValidator(_decoded))


class Settings(BaseSettings):
    """Settings of the daemon; the name on the environment is the field's in capitals behind `SWIFT_TRAINER_`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    amqp_url: SecretStr = SecretStr("amqp://guest:guest@localhost:5672/")
    """The broker; `amqps://` for TLS."""
    amqp_ca_file: Path | None = None
    """CA bundle for `amqps://`, where the system's own does not know the broker."""
    mongodb_url: SecretStr = SecretStr("mongodb://localhost:27017")
    """The store."""
    mongodb_database: str = "swift_trainer"
    """Database of the store."""
    node_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")] = Field(
        default_factory=lambda: node_name(socket.gethostname())
    )
    """Name of this daemon's node, unique among all daemons; the host's name where not given."""
    state_dir: Path = Path("~/.local/state/swift-trainer")
    """Run records, log files of jobs and caches."""
    swift_command: str = "swift"
    """The `swift` command: a path, or a shell-quoted argv prefix."""
    swift_version: Annotated[str, Field(pattern=r"^\d+\.\d+(\.\d+)?.*$")] | None = None
    """Version of ms-swift, where its command can't be asked (containers, wrappers); absent: asked once and cached."""
    devices: str = "auto"
    """`auto` (NVML), NVML indices (`0,2,3`), or `cpu` / `cpu:N` (N slots without CUDA)."""
    allowed_roots: str = ""
    """Colon-separated folders below which every local path of a request must resolve; empty: anywhere."""
    work_dir: Path = Field(default_factory=Path.cwd)
    """Trainings run here, and relative paths of requests resolve below it; the current folder where not given."""
    allow_external_plugins: bool = False
    """Let requests name Python files for ms-swift to import."""
    stop_grace_seconds: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """Seconds between SIGTERM and SIGKILL when a job is stopped."""
    lease_seconds: Annotated[float, Field(ge=3, le=3600)] = 30.0
    """A node that has not renewed for so long counts as offline."""
    node_lost_seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    """A node that is silent for so long is lost: its jobs are requeued on other nodes, and it ends them itself when
    three quarters of that have passed; at least `lease_seconds`. 0: jobs stay with their node, however long it or the
    store is away."""
    poll_seconds: Annotated[float, Field(ge=0.05, le=60)] = 2.0
    """Slow poll behind every wake-up."""
    gpu_interval_seconds: Annotated[float, Field(ge=0.5, le=3600)] = 10.0
    """Seconds between readings of the devices."""
    gpu_foreign_mib: Annotated[int, Field(ge=0)] = 500
    """Memory that processes of others may hold on a device before it counts as in foreign use, MiB."""
    stall_seconds: Annotated[float, Field(ge=0)] = 1800.0
    """Seconds without output, while a job trains, evaluates or saves, after which it counts as stalled; 0: never."""
    stall_loading_seconds: Annotated[float, Field(ge=0)] = 14_400.0
    """The same while it loads a model or prepares its data, which may be silent for long."""
    stall_policy: Literal["warn", "stop"] = "warn"
    """What happens to a stalled job: `warn` says it in its document and events, `stop` ends and fails it."""
    nan_steps: Annotated[int, Field(ge=0)] = 5
    """Logged steps in a row with a loss that is NaN or infinite, after which a job fails with `nan_loss`; 0: never."""
    disk_min_free_mib: Annotated[int, Field(ge=0)] = 100
    """Free space below an output folder under which no job starts there, and a running one is warned, MiB; 0: any."""
    owner_weights: Annotated[dict[str, Annotated[float, Field(gt=0, le=1000)]], *_BY_OWNER] = {}
    """Fair shares of the devices among owners (AMQP users) of equal priority, as JSON: `{"alice": 2, "*": 1}` gives
    alice twice what each other gets while both have jobs that wait. `*` is whoever is not named; without it, 1."""
    owner_quotas: Annotated[dict[str, Quota], *_BY_OWNER] = {}
    """What owners may have, as JSON: `{"alice": {"gpus": 8, "queued": 100}, "*": {"gpus": 2}}`: `gpus` devices at once
    (more jobs wait), `queued` trainings in the queue (more are refused). `*` is whoever is not named."""
    preemption: bool = False
    """Let waiting jobs of a higher priority interrupt running ones of a lower: those save a checkpoint, wait in the
    queue again, and go on from it."""
    preemption_grace_seconds: Annotated[float, Field(ge=0, le=86_400)] = 120.0
    """Seconds that a training has to save and end before it is killed, when it is interrupted for another."""
    on_exit: Literal["leave", "stop"] = "leave"
    """What a stop of the daemon does to its trainings: `leave` them running, or `stop` them."""
    http_host: str = "127.0.0.1"
    """Address that `/metrics`, `/healthz` and `/readyz` are served at; they ask for no password."""
    http_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Port of `/metrics`, `/healthz` and `/readyz`; 0: none is opened."""
    log_format: Literal["json", "human"] = "human"
    """Form of the daemon's own log on standard error."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level of the daemon's own log."""

    @model_validator(mode="after")
    def _lost_is_later_than_offline(self) -> Self:
        if 0 < self.node_lost_seconds < self.lease_seconds:
            raise ValueError(
                f"{PREFIX}NODE_LOST_SECONDS ({self.node_lost_seconds:g}) must be 0 or at least {PREFIX}LEASE_SECONDS "
                f"({self.lease_seconds:g})"
            )
        return self

    @property
    def state_path(self) -> Path:
        """The state folder, absolute."""
        return self.state_dir.expanduser().absolute()

    @property
    def work_path(self) -> Path:
        """The work folder, absolute."""
        return self.work_dir.expanduser().absolute()

    @property
    def root_paths(self) -> tuple[Path, ...]:
        """The allowed roots, absolute; empty: anywhere."""
        return tuple(Path(part).expanduser().absolute() for part in self.allowed_roots.split(":") if part)

    @property
    def amqp_ca_path(self) -> str | None:
        """The CA bundle's path, where there is one."""
        return str(self.amqp_ca_file) if self.amqp_ca_file else None

    @property
    def limits(self) -> Limits:
        """What is too much for a running attempt."""
        return Limits(
            stall_s=self.stall_seconds,
            stall_loading_s=self.stall_loading_seconds,
            nan_steps=self.nan_steps,
            disk_min_free_mib=self.disk_min_free_mib,
        )

    @property
    def shares(self) -> Shares:
        """What each owner may have."""
        quotas = self.owner_quotas.items()
        return Shares(
            weights=self.owner_weights,
            devices={owner: quota.gpus for owner, quota in quotas if quota.gpus is not None},
            queued={owner: quota.queued for owner, quota in quotas if quota.queued is not None},
        )

    def log_path(self, kind: str, job_id: str) -> Path:
        """Log file of a job's training."""
        return self.state_path / "logs" / f"{kind}_training_{job_id}.log"

    def export_log_path(self, job_id: str, number: int) -> Path:
        """Log file of a job's export."""
        return self.state_path / "logs" / f"export_{job_id}_{number}.log"


def node_name(host: str) -> str:
    """A node id made of a host name: what can't stand in a routing key's word becomes `-`."""
    name = "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "-" for char in host)
    return name.strip("-_")[:63] or "node"


def setting_faults(error: ValidationError, prefix: str = PREFIX) -> list[str]:
    """What is wrong with the settings, a line each that begins with the variable's name."""
    faults = error.errors(include_url=False, include_input=False)
    return [f"{prefix}{str(fault['loc'][0]).upper()}: {_inside(fault['loc'][1:])}{fault['msg']}" for fault in faults]


def _inside(place: tuple[int | str, ...]) -> str:
    """Where in a setting's JSON a fault is."""
    return f"{'.'.join(map(str, place))}: " if place else ""
