"""The stand-in's trainer, `swift/cli/sft.py` as in ms-swift. What it does and how it is steered: `swift_standin.py`."""

import json
import math
import os
import random
import signal
import sys
import time
from typing import Any

from tests.standin.double import checkpoints, failures, output
from tests.standin.double.family import Workers, daemonize, ignore_sigterm
from tests.standin.double.replay import replay
from tests.standin.double.steering import Options, steering_of

LIFETIME_S = 600
POLL_S = 0.01


class Trainer:
    """One pretended training."""

    def __init__(self, options: Options, steering: dict[str, Any], run_dir: str) -> None:
        self.options = options
        self.steering = steering
        self.run_dir = run_dir
        self.total = int(options.number("max_steps", float(steering.get("steps", 20))))
        self.epochs = options.number("num_train_epochs", 1)
        self.rate = options.number("learning_rate", 1e-4)
        self.history: list[dict[str, Any]] = []
        self.begin = 0
        self.step = 0
        self.last: str | None = None
        self.best: str | None = None
        self.best_loss: float | None = None
        self.stop_asked = False
        self.began_s = time.monotonic()
        self.random = random.Random(42)
        validates = bool(options.many("val_dataset")) or options.number("split_dataset_ratio", 0) > 0
        self.save_every = options.steps("save_steps", 500, self.total)
        self.log_every = options.steps("logging_steps", 5, self.total)
        self.eval_every = options.steps("eval_steps", 500, self.total) if validates else 0

    @property
    def elapsed_s(self) -> float:
        """Since this training began."""
        return time.monotonic() - self.began_s

    def resume(self, checkpoint: str) -> None:
        """Go on from a checkpoint."""
        state = checkpoints.state_of(checkpoint)
        self.begin = self.step = int(state["global_step"])
        self.history = list(state["log_history"])

    def run(self, workers: Workers) -> None:
        """Train to the last step (one more where there is none left), or to what it is told to do before."""
        output.bar(0, self.total, 0)
        self.began_s = time.monotonic()
        last = max(self.total, self.begin + 1)
        while self.step < last:
            self._pause(float(self.steering.get("step_seconds", 0.02)))
            self.step += 1
            if workers.dead() is not None:
                output.err("RuntimeError: DataLoader worker (pid(s) 1) exited unexpectedly\n")
                sys.exit(1)
            output.bar(self.step, self.total, self.elapsed_s)
            if self.step % self.log_every == 0 or self.step == 1:
                self._log()
            if self.eval_every and (self.step % self.eval_every == 0 or self.step == last):
                self._evaluate()
            self._misbehave()
            early = self.stop_asked or self.step == self.steering.get("exit_early_at")
            if self.step % self.save_every == 0 or self.step == last or early:
                self._save()
            if early:
                break

    def finish(self) -> None:
        """The usual last lines; `global_step` says whether it was the end."""
        record = {
            "train_runtime": round(self.elapsed_s, 4),
            "train_samples_per_second": 3.55,
            "train_steps_per_second": round(self.step / max(self.elapsed_s, 1e-9), 3),
            "train_loss": 2.5 + self.random.random(),
            "token_acc": 0.5,
            "epoch": self._epoch(),
        }
        output.log_metrics(self.run_dir, record, self.step, self.total, self.elapsed_s, self.begin)
        self.summarize()
        output.ended(self.run_dir, self.last, self.best)

    def summarize(self) -> None:
        """The last line of `logging.jsonl`."""
        output.append_jsonl(
            self.run_dir,
            {
                "last_model_checkpoint": self.last,
                "best_model_checkpoint": self.best,
                "best_metric": self.best_loss,
                "global_step": self.step,
                "log_history": self.history,
                "memory": 0,
            },
        )

    def _pause(self, seconds: float) -> None:
        """A step's time, and the lines it writes meanwhile; a stop does not shorten it."""
        per_second = float(self.steering.get("lines_per_second", 0))
        if not per_second:
            time.sleep(seconds)
            return
        written, began = 0.0, time.monotonic()
        while True:
            waited_s = min(seconds, time.monotonic() - began)
            count = int(waited_s * per_second - written)
            output.noise(count, int(self.steering.get("line_bytes", 100)))
            written += count
            if waited_s >= seconds:
                return
            time.sleep(min(POLL_S, seconds))

    def _epoch(self) -> float:
        return self.epochs * self.step / self.total

    def _log(self) -> None:
        nan_at = self.steering.get("nan_at")
        loss = float(self.steering.get("spare_loss", 2.0)) + 4 * math.exp(-3 * self.step / self.total)
        loss = math.nan if nan_at is not None and self.step >= nan_at else loss + 0.01 * self.random.random()
        record = {
            "loss": loss,
            "grad_norm": 0.7 + 0.1 * self.random.random(),
            "learning_rate": self.rate * max(0.0, 1 - (self.step - 1) / self.total),
            "token_acc": min(1.0, 0.3 + 0.5 * self.step / self.total),
            "epoch": self._epoch(),
        }
        self.history.append({**record, "step": self.step})
        output.rewritten(self.step, self.total, self.elapsed_s)
        output.log_metrics(self.run_dir, record, self.step, self.total, self.elapsed_s, self.begin)

    def _evaluate(self) -> None:
        output.err("\n")
        output.bar(0, 4, 0.0, "Val")
        time.sleep(float(self.steering.get("eval_seconds", 0)))
        output.bar(4, 4, 0.1, "Val")
        loss = 2.1 + 4 * math.exp(-3 * self.step / self.total)
        record = {
            "eval_loss": loss,
            "eval_runtime": 0.2443,
            "eval_samples_per_second": 40.936,
            "eval_steps_per_second": 40.936,
            "eval_token_acc": 0.4,
            "epoch": self._epoch(),
        }
        self.history.append({**record, "step": self.step})
        output.log_metrics(self.run_dir, record, self.step, self.total, self.elapsed_s, self.begin)
        if self.step % self.save_every == 0 and (self.best_loss is None or loss < self.best_loss):
            self.best_loss, self.best = loss, os.path.join(self.run_dir, f"checkpoint-{self.step}")

    def _misbehave(self) -> None:
        told = self.steering
        if told.get("fail") and self.step >= told.get("fail_at", 3):
            if told["fail"] == "disk_full":
                checkpoints.save_torn(self.run_dir, self.step)
            failures.fail(told["fail"])
        while self.step == told.get("hang_at"):
            time.sleep(60)
        go = os.path.join(self.options.text("model"), "go")
        while self.step == told.get("hold_at") and not os.path.exists(go) and not self.stop_asked:
            time.sleep(POLL_S)

    def _save(self) -> None:
        path = os.path.join(self.run_dir, f"checkpoint-{self.step}")
        output.info(f"Saving model checkpoint to {path}")
        state = {
            "best_global_step": None,
            "best_metric": self.best_loss,
            "best_model_checkpoint": self.best,
            "epoch": self._epoch(),
            "global_step": self.step,
            "log_history": self.history,
            "max_steps": self.total,
        }
        checkpoints.save(
            self.run_dir,
            self.step,
            state,
            {name: " ".join(values) for name, values in self.options.values.items()},
            full=self.options.text("tuner_type", "lora") == "full",
            only_model=self.options.yes("save_only_model", default=False),
            took_s=float(self.steering.get("save_seconds", 0)),
        )
        self.last = path
        if self.options.text("save_total_limit"):
            checkpoints.prune(self.run_dir, int(self.options.number("save_total_limit", 2)), self.best)


def main(argv: list[str]) -> None:
    """Pretend to train."""
    signal.alarm(LIFETIME_S)
    options = Options(argv)
    steering = steering_of(options.text("model"))
    ignoring = bool(steering.get("ignore_sigterm"))
    if ignoring:
        ignore_sigterm()
    if os.environ.get("RANK", "0") != "0":
        _wait_for_rank_0(options, steering, ignoring=ignoring)
    time.sleep(float(steering.get("start_seconds", 0)))
    run_dir = _run_dir(options)
    if steering.get("replay"):
        os.makedirs(run_dir, exist_ok=True)
        replay(steering["replay"], run_dir, steering.get("replay_speed"))
    output.began()
    _check(options, steering)
    os.makedirs(run_dir, exist_ok=True)
    output.prepared(run_dir, options.values)
    with open(os.path.join(run_dir, "args.json"), "w", encoding="utf-8") as out:
        json.dump({name: " ".join(values) for name, values in options.values.items()}, out)
    trainer = Trainer(options, steering, run_dir)
    if options.text("resume_from_checkpoint"):
        trainer.resume(options.text("resume_from_checkpoint"))
    _train(trainer, options, steering, ignoring=ignoring)


def _train(trainer: Trainer, options: Options, steering: dict[str, Any], *, ignoring: bool) -> None:
    if not ignoring and (
        "graceful_exit" in options.many("callbacks") or options.yes("enable_jit_checkpoint", default=False)
    ):

        def ask(_number: int, _frame: object) -> None:
            trainer.stop_asked = True

        signal.signal(signal.SIGTERM, ask)
    daemonize(int(steering.get("setsid_children", 0)), os.path.join(trainer.run_dir, "daemonized.txt"))
    workers = _workers(options, steering, ignoring=ignoring)
    try:
        trainer.run(workers)
    except KeyboardInterrupt:
        trainer.summarize()
        raise
    finally:
        workers.end()
    trainer.finish()


def _workers(options: Options, steering: dict[str, Any], *, ignoring: bool) -> Workers:
    count = int(options.number("dataloader_num_workers", 1))
    return Workers(count, ignoring=ignoring, linger_s=float(steering.get("workers_linger_seconds", 0.05)))


def _wait_for_rank_0(options: Options, steering: dict[str, Any], *, ignoring: bool) -> None:
    """The other ranks hold their workers until torchrun's agent ends them."""
    _workers(options, steering, ignoring=ignoring)
    while True:
        time.sleep(60)


def _run_dir(options: Options) -> str:
    base = os.path.abspath(options.text("output_dir", "output"))
    if not options.yes("add_version", default=True):
        return base
    number = 0
    while os.path.isdir(base) and any(name.startswith(f"v{number}-") for name in os.listdir(base)):
        number += 1
    return os.path.join(base, f"v{number}-{time.strftime('%Y%m%d-%H%M%S')}")


def _check(options: Options, steering: dict[str, Any]) -> None:
    """Fail before any training, as told or as ms-swift would."""
    if "train_type" in options.values:
        failures.fail("bad_argument", "train_type")
    model = options.text("model")
    if model.startswith((".", "/")) and not os.path.isdir(model):
        failures.fail("model", model)
    for name in options.many("dataset") + options.many("val_dataset"):
        path = name.partition("#")[0]
        if path.startswith((".", "/")) and not os.path.exists(path):
            failures.fail("dataset", path)
    resumed = options.text("resume_from_checkpoint")
    if resumed and not os.path.isdir(resumed):
        failures.fail("checkpoint", resumed)
    fail = steering.get("fail")
    if fail in failures.BEFORE or fail == "usage":
        failures.fail(fail, {"model": model, "dataset": "no/such", "bad_argument": "no_such_flag"}.get(fail, ""))


if __name__ == "__main__":
    main(sys.argv[1:])
