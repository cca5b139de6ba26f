"""The stand-in's `swift export`: writes a folder with a model; one that exists it refuses, or takes for done."""

import json
import os
import sys
import time

from tests.standin.double.checkpoints import safetensors
from tests.standin.double.output import err, info
from tests.standin.double.steering import Options, steering_of


def main(argv: list[str]) -> None:
    """Export a checkpoint."""
    options = Options(argv)
    checkpoint = options.text("adapters") or options.text("model")
    merged = options.yes("merge_lora", default=False)
    method = options.text("quant_method")
    output = options.text("output_dir") or f"{checkpoint.rstrip('/')}-{method or ('merged' if merged else 'peft')}"
    steering = steering_of(_model_of(checkpoint))
    info("rank: -1, local_rank: -1, world_size: 1, local_world_size: 1")
    if not os.path.isdir(checkpoint):
        _raise(f"FileNotFoundError: path: '{checkpoint}'")
    if os.path.exists(output) and not options.yes("exist_ok", default=False):
        _raise(f"FileExistsError: args.output_dir: `{output}` already exists.")
    info(f"args.output_dir: `{output}`")
    if merged and not method and os.path.exists(output):  # `exist_ok` overwrites nothing, whatever its help says
        info(f"The weight directory for the merged LoRA already exists in {output}, skipping the saving process.")
        return
    info("Merge LoRA...")
    time.sleep(float(steering.get("export_seconds", 0)))
    if steering.get("export_fail"):
        _raise(f"RuntimeError: {steering['export_fail']}")
    info("Saving merged weights...")
    os.makedirs(output, exist_ok=True)
    with open(os.path.join(output, "model.safetensors"), "wb") as out:
        out.write(safetensors(64))
    with open(os.path.join(output, "config.json"), "w", encoding="utf-8") as out:
        json.dump({"model_type": "qwen2"}, out)
    err("\rWriting model shards: 100%|██████████| 1/1 [00:00<00:00, 592.25it/s]\n")
    info(f"Successfully merged LoRA and saved in `{output}`.")


def _model_of(checkpoint: str) -> str:
    """The model's folder, which the checkpoint's arguments name."""
    try:
        with open(os.path.join(checkpoint, "args.json"), encoding="utf-8") as source:
            return str(json.load(source)["model"])
    except (OSError, ValueError, KeyError):
        return checkpoint


def _raise(line: str) -> None:
    err(f'Traceback (most recent call last):\n  File "/env/swift/cli/export.py", line 6, in <module>\n{line}\n')
    sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
