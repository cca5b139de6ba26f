"""What a stand-in says: metric lines on standard output, everything else on standard error, bars over `\\r`."""

import json
import os
import sys
import time
from typing import Any


def info(text: str) -> None:
    """An INFO line, glued to whatever bar stands before it."""
    err(f"[INFO:swift] {text}\n")


def err(text: str) -> None:
    """Raw text on standard error."""
    os.write(2, text.encode())


def began() -> None:
    """The lines until the run folder is known."""
    info("Successfully registered `/env/site-packages/swift/dataset/data/dataset_info.json`.")
    rank, local = os.environ.get("RANK", "-1"), os.environ.get("LOCAL_RANK", "-1")
    info(f"rank: {rank}, local_rank: {local}, world_size: 1, local_world_size: 1")
    info("Setting args.warmup_steps: 0.05 (converted from `warmup_ratio`).")


def prepared(run_dir: str, options: dict[str, list[str]]) -> None:
    """The lines between the run folder and the first step."""
    info(f"output_dir: {run_dir}")
    info("args: SftArguments(")
    err("".join(f"{name}={' '.join(values)},\n" for name, values in sorted(options.items())) + ")\n")
    info("Global seed set to 42")
    err("\rLoading weights:   0%|          | 0/27 [00:00<?, ?it/s]")
    err("\rLoading weights: 100%|██████████| 27/27 [00:00<00:00, 21707.15it/s]\n")
    info(f"Start time of running main: {time.strftime('%Y-%m-%d %H:%M:%S')}.000000")
    info("swift.__version__: 4.6.0")
    err("\rMap:   0%|          | 0/128 [00:00<?, ? examples/s]")
    err("\rMap: 100%|██████████| 128/128 [00:00<00:00, 5000.00 examples/s]\n")
    info(f"The SftArguments will be saved in: {run_dir}/args.json")
    info(f"The logging file will be saved in: {run_dir}/logging.jsonl")


def ended(run_dir: str, last: str | None, best: str | None) -> None:
    """The last lines of a run that ended by itself."""
    err("\n")
    info(f"last_model_checkpoint: {last}")
    info(f"best_model_checkpoint: {best}")
    info(f"images_dir: {run_dir}/images")
    info(f"End time of running main: {time.strftime('%Y-%m-%d %H:%M:%S')}.000000")


def bar(step: int, total: int, elapsed_s: float, name: str = "Train") -> None:
    """A progress bar's new state."""
    share = step / total
    full = "█" * int(share * 10)
    left_s = elapsed_s / max(step, 1) * (total - step)
    speed = f"{step / elapsed_s:5.2f}it/s" if elapsed_s and step else "?it/s"
    err(f"\r{name}: {share:4.0%}|{full:10}| {step}/{total} [{_clock(elapsed_s)}<{_clock(left_s)}, {speed}]")


def rewritten(step: int, total: int, elapsed_s: float) -> None:
    """What tqdm does around a printed line."""
    err("\r" + " " * 55 + "\r")
    bar(step, total, elapsed_s)


def log_metrics(run_dir: str, record: dict[str, Any], step: int, total: int, elapsed_s: float, begin: int) -> None:
    """Log a record: `logging.jsonl` first, all digits; then the printed line, every value a string of four.

    `begin` is the step from which this training goes on, which its speed counts from.
    """
    speed = elapsed_s / max(step - begin, 1)
    left_s = speed * max(0, total - step)
    told = {
        "global_step/max_steps": f"{step}/{total}",
        "elapsed_time": _words(elapsed_s),
        "remaining_time": _words(left_s),
        **({"memory(GiB)": 1.51} if os.environ.get("CUDA_VISIBLE_DEVICES") else {}),
        "train_speed(s/it)": round(speed, 6),
    }
    append_jsonl(run_dir, {**record, **told})
    printed = {
        name: f"{value:.4g}" if isinstance(value, int | float) else str(value)
        for name, value in {**record, **told}.items()
    }
    print(printed, flush=True)


def append_jsonl(run_dir: str, record: dict[str, Any]) -> None:
    """A line of `logging.jsonl`."""
    with open(os.path.join(run_dir, "logging.jsonl"), "a", encoding="utf-8") as out:
        out.write(json.dumps(record, ensure_ascii=False) + "\n")


def noise(count: int, size: int) -> None:
    """Further lines."""
    if count > 0:
        sys.stderr.write(
            "".join(f"{f'[INFO:swift] noise {number} ':x<{max(1, size - 1)}}\n" for number in range(count))
        )
        sys.stderr.flush()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def _words(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m {rest}s" if minutes else f"{rest}s"
