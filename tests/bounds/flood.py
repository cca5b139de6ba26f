"""A `swift` that trains nothing and writes what it is told, as fast as it can: a test double for what a log can hold.

    python -S -E flood.py sft --model MODEL --output_dir RUN ...

`flood.json` in the model's folder is a list of acts, done in order; the steps of all of them are the training's:

    {"steps": N, "pause_s": S}               N steps, one every S seconds
    {"blob": N}                              N bytes without a newline
    {"empty": N}                             N empty lines
    {"lines": N, "seconds": S, "steps": M}   N lines of 100 bytes with M steps evenly among them, over S seconds
    {"hold": NAME}                           wait until the model's folder has a file of this name
    {"until": NAME, "pause_s": S}            a step every S seconds until then

A step is a record in `logging.jsonl`, then the same line on standard output, as ms-swift does it. Its `learning_rate`
is the time of writing, so a subscriber knows how late it hears of it; its `loss` is a function of the step, of more
digits than the printed line has. After each act `done.json` there tells its times, and the lines and bytes so far.
"""

import json
import os
import sys
import time
from itertools import pairwise
from typing import Any

LINE = b"[INFO:swift] so many words that nobody ever reads them, and yet they all are written down".ljust(99) + b"\n"
TICK_S = 0.01
MOST_PER_TICK = 10_000
LIFETIME_S = 600
PIECE = 4 * 1024 * 1024
NO_END = 10**9

Act = dict[str, Any]


def loss_of(step: int) -> float:
    """The loss that a step logs."""
    return round(2 + 1 / (step + 3), 9)


class Flood:
    """One training."""

    def __init__(self, model: str, run: str, acts: list[Act]) -> None:
        self._model = model
        self._acts = acts
        endless = any("until" in act for act in acts)
        self._total = NO_END if endless else max(1, sum(act.get("steps", 0) for act in acts))
        self._step = self._lines = self._bytes = 0
        self._end = time.time() + LIFETIME_S
        os.makedirs(run, exist_ok=True)
        self._jsonl = os.open(os.path.join(run, "logging.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._write(f"[INFO:swift] The logging file will be saved in: {run}/logging.jsonl\n".encode(), 1)

    def play(self) -> None:
        """Do all acts."""
        done: list[Act] = []
        for act in self._acts:
            began = time.time()
            self._play(act)
            done.append({"began": began, "ended": time.time(), "lines": self._lines, "bytes": self._bytes})
            part = os.path.join(self._model, f"done.{os.getpid()}")
            with open(part, "w", encoding="utf-8") as out:
                json.dump(done, out)
            os.replace(part, os.path.join(self._model, "done.json"))

    def _play(self, act: Act) -> None:
        if "blob" in act:
            for begin in range(0, act["blob"], PIECE):
                self._write(b"x" * min(PIECE, act["blob"] - begin), 0)
        elif "empty" in act:
            self._write(b"\n" * act["empty"], act["empty"])
        elif "lines" in act:
            self._flood(act["lines"], act["seconds"], act["steps"])
        elif "hold" in act:
            while not self._is_there(act["hold"]):
                self._pause(0.02)
        elif "until" in act:
            while not self._is_there(act["until"]):
                self._write(self._next_step(), 1)
                self._pause(act["pause_s"])
        else:
            for _ in range(act["steps"]):
                self._write(self._next_step(), 1)
                self._pause(act["pause_s"])

    def _flood(self, lines: int, seconds: float, steps: int) -> None:
        """So many lines in even parts; a part that is late is followed by the next at once."""
        began, ticks = time.time(), max(round(seconds / TICK_S), lines // MOST_PER_TICK, 1)
        for tick in range(ticks):
            count = lines * (tick + 1) // ticks - lines * tick // ticks
            stepped = steps * (tick + 1) // ticks - steps * tick // ticks
            records = b"".join(self._next_step() for _ in range(stepped))
            self._write(LINE * (count // 2) + records + LINE * (count - count // 2), count + stepped)
            self._pause(max(0.0, began + seconds * (tick + 1) / ticks - time.time()))

    def _next_step(self) -> bytes:
        self._step += 1
        loss, now, place = loss_of(self._step), time.time(), f"{self._step}/{self._total}"
        full = {"loss": loss, "learning_rate": now, "epoch": 0.125, "global_step/max_steps": place}
        os.write(self._jsonl, json.dumps(full).encode() + b"\n")
        return (
            f"{{'loss': '{loss:.4g}', 'learning_rate': '{now}', 'epoch': '0.125', 'global_step/max_steps': '{place}', "
            f"'elapsed_time': '12s', 'remaining_time': '1m 26s', 'train_speed(s/it)': '12.25'}}\n"
        ).encode()

    def _write(self, data: bytes, lines: int) -> None:
        while data:
            count = os.write(1, data)
            self._bytes += count
            data = data[count:]
        self._lines += lines

    def _pause(self, seconds: float) -> None:
        if time.time() > self._end:
            sys.exit("nobody has ended this in time")
        time.sleep(seconds)

    def _is_there(self, name: str) -> bool:
        return os.path.exists(os.path.join(self._model, name))


def main(argv: list[str]) -> None:
    """Do what the model's folder says."""
    options = dict(pairwise(argv))
    with open(os.path.join(options["--model"], "flood.json"), encoding="utf-8") as source:
        acts = json.load(source)
    Flood(options["--model"], options["--output_dir"], acts).play()


if __name__ == "__main__":
    main(sys.argv[1:])
