"""The environment of a training process.

It inherits the daemon's own, so that an operator's HF_TOKEN, proxies and NCCL settings reach it, less what would
mislead it: the daemon's settings and those of its traces (secrets are among them), variables of a launcher around the
daemon, and those that tie Python to the daemon's virtual environment. PYTHONPATH stays: operators use it for their own
plug-ins.
"""

from collections.abc import Mapping

_DROPPED_PREFIXES = ("SWIFT_TRAINER_", "OTEL_", "TORCHELASTIC_", "ACCELERATE_")
_DROPPED = frozenset(
    {
        "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES",
        "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "NODE_RANK", "NNODES",
        "NPROC_PER_NODE", "MASTER_ADDR", "MASTER_PORT", "PAI_TRAINING_JOB_ID",
        "RAY_SWIFT_ARGS", "SWIFT_CONFIG_FILE", "TENSORBOARD_LOGGING_DIR",
        "VIRTUAL_ENV", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONWARNINGS", "PYTHONPROFILEIMPORTTIME",
        "INVOCATION_ID", "JOURNAL_STREAM", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID",
    }
)  # fmt: skip
"""PAI_TRAINING_JOB_ID makes ms-swift write no `logging.jsonl`; RAY_SWIFT_ARGS takes the place of its arguments."""


def training_env(
    inherited: Mapping[str, str],
    *,
    job_id: str,
    attempt: int,
    devices: tuple[int, ...],
    cuda_names: tuple[str, ...],
    master_port: int | None,
    max_pixels: int | None,
    request_env: Mapping[str, str],
) -> dict[str, str]:
    """The whole environment of a training or an export: inherited, then the request's, then what the contract sets.

    `cuda_names` is what CUDA calls the devices, none for CPU slots.
    """
    env = {
        name: value
        for name, value in inherited.items()
        if name not in _DROPPED and not name.startswith(_DROPPED_PREFIXES)
    }
    env.update(request_env)
    env.update(
        {
            "SWIFT_TRAINER_JOB_ID": job_id,
            "SWIFT_TRAINER_ATTEMPT": str(attempt),
            "SWIFT_TRAINER_JOB_DEVICES": ",".join(map(str, devices)),
            "CUDA_VISIBLE_DEVICES": ",".join(cuda_names),
        }
    )
    if cuda_names:
        env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    if len(devices) > 1:
        env["NPROC_PER_NODE"] = str(len(devices))
        if master_port is not None:
            env["MASTER_PORT"] = str(master_port)
    if max_pixels is not None:
        env["MAX_PIXELS"] = str(max_pixels)
    return env
