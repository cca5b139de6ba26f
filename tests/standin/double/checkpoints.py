"""The checkpoint folders of a stand-in: tiny, and whole in every way that a reader can check."""

import json
import os
import re
import shutil
import time
from typing import Any

_NAME = re.compile(r"^checkpoint-(\d+)$")


def safetensors(values: int = 16) -> bytes:
    """A valid safetensors file: header length, header, one tensor."""
    size = values * 4
    header = json.dumps(
        {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [values], "data_offsets": [0, size]}}
    )
    return len(header).to_bytes(8, "little") + header.encode() + b"\0" * size


def save(
    run_dir: str, step: int, state: dict[str, Any], args: dict[str, Any], *, full: bool, only_model: bool, took_s: float
) -> str:
    """Write `checkpoint-N`, `trainer_state.json` last; its path."""
    path = os.path.join(run_dir, f"checkpoint-{step}")
    os.makedirs(path, exist_ok=True)
    _write(path, "model.safetensors" if full else "adapter_model.safetensors", safetensors())
    _write(path, "config.json" if full else "adapter_config.json", b'{"peft_type": "LORA"}')
    _write(path, "args.json", json.dumps(args).encode())
    if not only_model:
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            _write(path, name, b"PK\x03\x04 stand-in")
    time.sleep(took_s)
    _write(path, "trainer_state.json", json.dumps(state).encode())
    link = os.path.join(run_dir, "last-checkpoint")
    if os.path.islink(link):
        os.unlink(link)
    os.symlink(f"checkpoint-{step}", link)
    return path


def save_torn(run_dir: str, step: int) -> None:
    """What a full disk leaves."""
    path = os.path.join(run_dir, f"checkpoint-{step}")
    os.makedirs(path, exist_ok=True)
    _write(path, "adapter_model.safetensors", safetensors()[:-20])


def prune(run_dir: str, limit: int, best: str | None) -> None:
    """Remove the oldest checkpoints above the limit, never the best."""
    steps = sorted(int(found[1]) for found in map(_NAME.match, os.listdir(run_dir)) if found)
    paths = [os.path.join(run_dir, f"checkpoint-{step}") for step in steps]
    for path in [path for path in paths if path != best][: max(0, len(paths) - limit)]:
        if path != paths[-1]:
            shutil.rmtree(path)


def state_of(path: str) -> dict[str, Any]:
    """A checkpoint's trainer state. Raises `FileNotFoundError` as ms-swift says it."""
    try:
        with open(os.path.join(path, "trainer_state.json"), encoding="utf-8") as source:
            return json.load(source)
    except OSError:
        raise FileNotFoundError(f"path: '{path}'") from None


def _write(folder: str, name: str, content: bytes) -> None:
    with open(os.path.join(folder, name), "wb") as out:
        out.write(content)
