"""Replaying a recording of a real run: both streams as they came, and the code it ended with."""

import ast
import json
import os
import sys
import time

RECORDINGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "data", "swift_logs")


def replay(name: str, run_dir: str, speed: float | None) -> None:
    """Write what was recorded; does not come back."""
    folder = os.path.join(RECORDINGS, name)
    jsonl = _lines(os.path.join(folder, "logging.jsonl"))
    began = time.monotonic()
    for at_s, number, chunk in _chunks(folder):
        if speed:
            time.sleep(max(0.0, at_s / speed - (time.monotonic() - began)))
        if number == 1 and b"{'" in chunk:
            _append(run_dir, jsonl[: chunk.count(b"{'")])
            del jsonl[: chunk.count(b"{'")]
        os.write(number, chunk)
    _append(run_dir, jsonl)
    with open(os.path.join(folder, "summary.json"), encoding="utf-8") as source:
        code = int(json.load(source)["rc"])
    if code < 0:
        os.kill(os.getppid(), -code)
    sys.stdout.flush()
    os._exit(code & 0xFF)


def _chunks(folder: str) -> list[tuple[float, int, bytes]]:
    """Time, file descriptor and bytes, in their order; the leader has said `run sh` itself."""
    found: list[tuple[float, int, bytes]] = []
    for number, name in ((1, "stdout.ts"), (2, "stderr.ts")):
        skipping = number == 1
        for line in _lines(os.path.join(folder, name)):
            at_s, _, literal = line.decode().strip().partition(" ")
            chunk: bytes = ast.literal_eval(literal)
            if skipping:
                skipping = b"\n" not in chunk
                chunk = chunk.partition(b"\n")[2]
            found.append((float(at_s), number, chunk))
    return sorted(found, key=lambda part: part[0])


def _append(run_dir: str, lines: list[bytes]) -> None:
    if lines:
        with open(os.path.join(run_dir, "logging.jsonl"), "ab") as out:
            out.write(b"".join(lines))


def _lines(path: str) -> list[bytes]:
    try:
        with open(path, "rb") as source:
            return source.readlines()
    except OSError:
        return []
