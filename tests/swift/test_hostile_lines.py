"""No line, however it is made, costs more than a look at it: each is fed to all that reads a log."""

import time
from collections.abc import Callable

import pytest

from daemon.core.masking import mask
from daemon.swift.failures import Evidence, classify
from daemon.swift.lines import Line
from daemon.swift.records import LogParser, duration_s

LENGTH = 64 * 1024
LIMIT_S = 1.0
"""A line that is read in linear time takes 1 to 30 ms here; in quadratic time, 10 s and more."""
UNITS = (
    "a", "a_", "a.", "a-", "-", "--", "--a", " ", "\t", "/", "[", "(", "é", "token", "token ", "token:", "token=a&",
    "--token", "secret\"", "secret'", "api_key", "api_", "bearer ", "://", "://a", "://a:", "://a:b", "@", "a@",
    "eyJ", "eyJ-", "eyJa.", "hf_", "ms-", "sk-", "ghp_", "{'", "{'loss': '", "'a': 'b', ", "{'loss': '1', ",
    "{'global_step/max_steps': '", "'global_step/max_steps': '1/1', ", "Train: ", "Train:  1%|",
    "Train:  1%|a| 1/1 [a]",
    "Train: 1it [a]", "Val:", "Map", "Map ", "Map:", "Generating a", "[INFO:swift] ", "Saving model checkpoint to ",
    "[INFO:swift] Saving model checkpoint to /checkpoint-1", "[INFO:swift] output_dir: ", "checkpoint-1", "1m ", "1",
    "Error", "AError", "A.", "a.A", "Error:", "_Aa", "ProcessGroupNCCL", "NCCL WARN Call to ", "inline_container",
    "path: '", "x.py: error: ", "Target modules ", "failed (exitcode: ", "torch/distributed/elastic/", "[rank1]: ",
)  # fmt: skip
AROUND = (
    ("", ""),
    ("Train: ", ""),
    ("{'", "}"),
    ("memory error NCCL ", "x"),
    ("[INFO:swift] ", "!"),
    ("ValueError: ", ""),
)


def evidence(text: str) -> None:
    found = Evidence()
    found.feed(text)
    classify(found, 1)


def parse(text: str) -> None:
    LogParser().feed(Line(text, 0, carriage=True))


@pytest.mark.parametrize("read", [mask, parse, evidence, duration_s])
def test_every_line_is_read_in_linear_time(read: Callable[[str], object]) -> None:
    for unit in UNITS:
        for before, behind in AROUND:
            text = (before + unit * (LENGTH // len(unit) + 1))[:LENGTH] + behind
            began = time.process_time()
            read(text)
            took_s = time.process_time() - began
            assert took_s < LIMIT_S, (unit, before, took_s)
