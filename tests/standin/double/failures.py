"""How a stand-in fails: the last lines of real failures, and their exit codes."""

import os
import signal
import sys

from tests.standin.double.output import err

SWIFT = "/env/site-packages/swift"
BEFORE = {
    "dataset": (
        f"{SWIFT}/dataset/loader.py",
        "ValueError: The local path does not exist, dataset_id: `{name}`.",
    ),
    "malformed": (
        "/env/site-packages/datasets/builder.py",
        "datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset",
    ),
    "model": (f"{SWIFT}/utils/hub_utils.py", "ValueError: path: '{name}' not found"),
    "checkpoint": (f"{SWIFT}/utils/hub_utils.py", "FileNotFoundError: path: '{name}'"),
    "bad_argument": (f"{SWIFT}/pipelines/base.py", "ValueError: remaining_argv: ['--{name}', '3']"),
    "bf16": (
        "/env/site-packages/transformers/training_args.py",
        "ValueError: Your setup doesn't support bf16/gpu. "
        "You need to assign use_cpu if you want to train the model on CPU.",
    ),
}
"""Failures before any training: the last frame's file, the last line."""

DURING = {
    "out_of_memory": (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. "
        "GPU 0 has a total capacity of 79.11 GiB of which 1.21 GiB is free. "
        "Including non-PyTorch memory, this process has 77.89 GiB memory in use."
    ),
    "nccl": (
        "[rank0]: torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/NCCLUtils.hpp:317, "
        "remote process exited or there was a network error, NCCL version 2.21.5"
    ),
    "disk_full": "OSError: [Errno 28] No space left on device",
    "exception": "RuntimeError: the stand-in was told to fail",
}


def fail(kind: str, name: str = "") -> None:
    """Fail so; does not come back."""
    if kind == "crash":
        _signal_self(signal.SIGSEGV)
    if kind == "killed":
        _signal_self(signal.SIGKILL)
    if kind == "usage":
        err("usage: sft.py [-h] [--model MODEL]\nsft.py: error: argument --logging_steps/--logging-steps: ")
        err("invalid int value: 'abc'\n")
        sys.exit(2)
    place, line = BEFORE[kind] if kind in BEFORE else (f"{SWIFT}/trainers/mixin.py", DURING[kind])
    err("Traceback (most recent call last):\n")
    err(f'  File "{SWIFT}/cli/sft.py", line 20, in <module>\n    sft_main()\n')
    err(f'  File "{place}", line 109, in _run\n    raise\n{line.format(name=name)}\n')
    sys.exit(1)


def _signal_self(number: int) -> None:
    signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
    os.kill(os.getpid(), number)
