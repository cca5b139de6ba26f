"""Drawings fit the terminal, say nothing in colour alone, and nothing in them steers it."""

import io

import pytest
from rich.console import Console, RenderableType

from daemon.cli.drawing import ROWS_AROUND, BoardDrawing, JobDrawing, plain_line
from daemon.cli.job_view import JobView
from schemas.enums import TrainingStatus
from tests.cli.views import a_view, running

FIGURES = {
    "step": 41, "total_steps": 63, "percent": 65.1, "loss": 5.9321, "learning_rate": 8.9e-5, "seconds_per_step": 0.24,
    "remaining_seconds": 125.0,
    "gpus": [{"index": 0, "utilization": 97, "memory_used_mib": 36_218, "memory_total_mib": 81_559}],
}  # fmt: skip


def drawn(
    what: RenderableType, width: int = 80, height: int = 24, encoding: str = "utf-8", **more: object
) -> list[str]:
    """The lines as a terminal gets them."""
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=out, width=width, height=height, **more)  # pyright: ignore[reportArgumentType]
    console.print(what)
    out.seek(0)
    return out.read().splitlines()


def a_running_one(job_id: str = "job-1") -> JobView:
    return running(job_id, **FIGURES)


def test_one_job_fits_eighty_columns() -> None:
    first, second = drawn(JobDrawing(a_running_one()))
    assert first.split()[0] == "training"
    assert first.rstrip().endswith(" 65%  41/63  0.24 s/step  2m 05s left")
    assert second.split()[:2] == ["loss", "5.9321"]
    assert second.rstrip().endswith("lr 8.9e-05  GPU 0 97% 35/80 GiB")


def test_an_ascii_terminal_gets_ascii() -> None:
    for what in (JobDrawing(a_running_one()), BoardDrawing([a_running_one()], "1 running")):
        assert all(line.isascii() for line in drawn(what, width=140, encoding="ascii"))
        assert not all(line.isascii() for line in drawn(what, width=140))


def test_without_colours_nothing_but_text_is_sent() -> None:
    told = drawn(JobDrawing(a_running_one()), force_terminal=True, no_color=True, color_system=None)
    assert "\x1b" not in "".join(told)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 130, 200])
def test_a_table_fits_its_terminal(width: int) -> None:
    views = [a_running_one(f"job-{number}") for number in range(50)]
    lines = drawn(BoardDrawing(views, "50 running"), width=width, height=20)
    assert len(lines) <= 20
    assert max(map(len, lines)) <= width
    assert f"and {50 - (20 - ROWS_AROUND)} more" in lines[-2]
    assert lines[-1] == "50 running"


def test_columns_that_say_nothing_are_left_out() -> None:
    heads = drawn(BoardDrawing([a_view(status=TrainingStatus.QUEUED)], "1 queued"), width=200)[0].split()
    assert heads == ["JOB", "STATE", "PROGRESS"]
    heads = drawn(BoardDrawing([a_running_one()], ""), width=200)[0].split()
    assert heads == ["JOB", "STATE", "PROGRESS", "STEP", "LOSS", "CURVE", "RATE", "LEFT", "GPU"]


def test_an_empty_board_says_so() -> None:
    assert "no unfinished jobs" in drawn(BoardDrawing([], "nothing unfinished"))[0]


def test_labels_steer_nothing_and_are_no_markup() -> None:
    view = a_view(labels={"evil": "\x1b[2J[red]x[/red]"}, owner="o\x9b")
    text = "\n".join(drawn(BoardDrawing([view], ""), width=200))
    assert r"evil=\x1b[2J[red]x[/red]" in text
    assert r"o\x9b" in text


def test_a_line_for_a_pipe() -> None:
    assert plain_line(a_running_one()) == (
        "training   65%  41/63  0.24 s/step  2m 05s left  loss 5.9321  GPU 0 97% 35/80 GiB"
    )
