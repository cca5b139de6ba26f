"""Checkpoints: which are whole, which is the best, from which a training goes on."""

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.swift.checkpoints import Folder, best_of, complete, is_complete, resumable, step_of

LORA = {
    "README.md": 1, "adapter_config.json": 1, "adapter_model.safetensors": 100, "additional_config.json": 1,
    "args.json": 1, "optimizer.pt": 9, "rng_state.pth": 9, "scheduler.pt": 9, "trainer_state.json": 9,
    "training_args.bin": 9,
}  # fmt: skip
FULL = {
    "args.json": 1, "config.json": 1, "generation_config.json": 1, "model.safetensors": 100, "optimizer.pt": 9,
    "rng_state.pth": 9, "scheduler.pt": 9, "tokenizer.json": 9, "trainer_state.json": 9, "training_args.bin": 9,
}  # fmt: skip
OWN_TUNER = {
    "README.md": 1, "args.json": 1, "configuration.json": 2, "default": 4096, "optimizer.pt": 9, "rng_state.pth": 9,
    "scheduler.pt": 9, "trainer_state.json": 9, "training_args.bin": 9,
}  # fmt: skip
"""As `--tuner_type adapter` and `llamapro` leave it."""
SHARDED = {
    "config.json": 1, "model-00001-of-00002.safetensors": 60, "model-00002-of-00002.safetensors": 40,
    "model.safetensors.index.json": 9, "optimizer.pt": 9, "trainer_state.json": 9,
}  # fmt: skip
DEEPSPEED = {"adapter_model.safetensors": 100, "global_step8": 4096, "latest": 11, "trainer_state.json": 9}
INDEX = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})


def folder(
    step: int = 8,
    sizes: dict[str, int] | None = None,
    *,
    state: dict[str, Any] | str | None = None,
    declared: dict[str, int] | None = None,
    index: str = INDEX,
) -> Folder:
    found = dict(LORA if sizes is None else sizes)
    texts = {"trainer_state.json": state if isinstance(state, str) else json.dumps(state or {"global_step": step})}
    if "model.safetensors.index.json" in found:
        texts["model.safetensors.index.json"] = index
    weights = {name: size for name, size in found.items() if name.endswith(".safetensors")}
    return Folder(Path(f"/o/v0-1/checkpoint-{step}"), found, texts, weights if declared is None else declared)


def without(sizes: dict[str, int], name: str) -> dict[str, int]:
    return {other: size for other, size in sizes.items() if other != name}


@pytest.mark.parametrize("sizes", [LORA, FULL, OWN_TUNER, SHARDED, DEEPSPEED])
def test_what_real_runs_leave_is_complete_and_resumable(sizes: dict[str, int]) -> None:
    assert is_complete(folder(sizes=sizes))
    assert resumable(folder(sizes=sizes))


@pytest.mark.parametrize(
    "torn",
    [
        folder(sizes={}),
        folder(sizes=without(LORA, "adapter_model.safetensors")),
        folder(sizes={**LORA, "adapter_model.safetensors": 0}),
        folder(declared={"adapter_model.safetensors": 120}),
        folder(declared={"adapter_model.safetensors": 0}),
        folder(sizes={**without(LORA, "adapter_model.safetensors"), "adapter_model.bin": 0}),
        folder(sizes=without(SHARDED, "model-00002-of-00002.safetensors")),
        folder(sizes=SHARDED, index="{"),
        folder(sizes=SHARDED, index="[]"),
        folder(sizes={**LORA, "checkpoint-is-incomplete.txt": 1}),
        folder(state={"global_step": 7}),
        folder(state={"other": 1}),
        folder(state='{"global_step": 8'),
        folder(state="[8]"),
        Folder(Path("/o/checkpoint-8"), LORA, {}, {"adapter_model.safetensors": 100}),
        Folder(Path("/o/other"), LORA, {"trainer_state.json": "{}"}, {"adapter_model.safetensors": 100}),
    ],
)
def test_torn_checkpoints(torn: Folder) -> None:
    assert not is_complete(torn)


def test_weights_alone_can_not_be_resumed() -> None:
    alone = folder(sizes={name: LORA[name] for name in ("adapter_model.safetensors", "trainer_state.json")})
    assert is_complete(alone)
    assert not resumable(alone)


def test_complete_ones_come_by_step() -> None:
    folders = [folder(100), folder(20), folder(9, {}), folder(3)]
    assert [step_of(found.path) for found in complete(folders)] == [3, 20, 100]


def test_the_best_is_what_the_newest_state_says_while_it_is_there() -> None:
    def state(step: int, best: str | None) -> dict[str, Any]:
        return {"global_step": step, "best_model_checkpoint": best}

    old, new = folder(10, state=state(10, "/o/v0-1/checkpoint-10")), folder(20, state=state(20, "/else/checkpoint-10"))
    assert best_of([new, old]) == "/o/v0-1/checkpoint-10"
    assert best_of([new]) is None
    assert best_of([old, folder(20, state=state(20, None))]) is None
    assert best_of([]) is None


@pytest.mark.parametrize(("name", "step"), [("checkpoint-8", 8), ("checkpoint-", None), ("xcheckpoint-8", None)])
def test_steps(name: str, step: int | None) -> None:
    assert step_of(Path("/o") / name) == step
