"""Tables fit their terminal: ids short, long values cut, what matters least left out; in a pipe nothing is cut."""

import io

import pytest
from rich.console import Console

from daemon.cli.jobs import COLUMNS, nothing_on
from daemon.cli.nodes import GPU_COLUMNS, NODE_COLUMNS, QUEUE_COLUMNS
from daemon.cli.tables import Column, Excess, fitted, fitted_table, show_fitted

JOB = "84a75fd0-7c2a-59db-957b-46820604b95a"
JOBS = [
    [JOB[:8], "llm", "running", "45%", "1.23456", "gpu01.cluster.example.com", "0, 1", "alice", "3h",
     "/data/models/Qwen2.5-7B-Instruct", "team=vision, run=long-name"],
    [JOB[:8], "vlm", "completed", "100%", "", "gpu02", "0", "bob", "2d", "m", ""],
]  # fmt: skip
REASON = "waits for 2 free devices on one node: node-1 has 1 free of 8, which is kept for it"
TABLES = [
    (COLUMNS, JOBS),
    (QUEUE_COLUMNS, [["1", JOB[:8], "training", "0", "2", "alice", "3m", "node-1", "2026-12-01T22:00:00Z", REASON]]),
    (GPU_COLUMNS, [["n1", "0", "NVIDIA H100 80GB HBM3", "drained", "0/81559", "0%", "36°C", "65W", JOB[:8], REASON]]),
    (NODE_COLUMNS, [["n1", "online", "8", "3s", "2d", "+0.1s", "swift-trainer=0.1.0, ms-swift=4.6.0", REASON]]),
]


def drawn(columns: tuple[Column, ...], cells: list[list[str]], width: int, encoding: str = "utf-8") -> list[str]:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    shown = Console(file=out, width=width)
    shown.print(fitted_table(columns, cells, shown))
    out.seek(0)
    return out.read().splitlines()


@pytest.mark.parametrize(("columns", "cells"), TABLES)
@pytest.mark.parametrize("width", [60, 80, 100, 130, 200])
def test_a_table_is_no_wider_than_its_terminal_and_its_ids_are_whole(
    columns: tuple[Column, ...], cells: list[list[str]], width: int
) -> None:
    lines = drawn(columns, cells, width)
    assert max(map(len, lines)) <= width
    assert JOB[:8] in lines[1] or columns is NODE_COLUMNS


def test_a_list_has_a_line_a_job_in_eighty_columns() -> None:
    lines = drawn(COLUMNS, JOBS, 80)
    assert len(lines) == 1 + len(JOBS)
    assert lines[0].split() == ["JOB", "STATUS", "PROGRESS", "LOSS", "NODE", "AGE", "MODEL"]
    assert lines[1].split()[4] == "gpu01.clust…"
    assert lines[1].rstrip().endswith("…/Qwen2.5-7B-Instruct")
    assert all(line.isascii() for line in drawn(COLUMNS, JOBS, 80, encoding="ascii"))


def test_what_says_nothing_is_left_out_and_what_matters_least_first() -> None:
    columns = (Column("A", 1), Column("B", 2), Column("C", 0, Excess.CUT, least=4))
    row = ["aaaa", "bbbb", "cccccccc"]
    assert fitted(columns, [["", "bbbb", ""]], 80) == {1: 4}
    assert fitted(columns, [row], 20) == {0: 4, 1: 4, 2: 8}
    assert fitted(columns, [row], 16) == {0: 4, 1: 4, 2: 4}
    assert fitted(columns, [row], 15) == {0: 4, 2: 8}
    assert fitted(columns, [row], 5) == {2: 5}


def test_a_wide_sign_takes_two_columns() -> None:
    columns = (Column("A", 0, Excess.CUT, least=5),)
    assert drawn(columns, [["学习学习"]], 6)[1] == "学习… "
    assert drawn(columns, [["学习学习"]], 8)[1] == "学习学习"


def test_a_pipe_gets_all_columns_and_whole_ids(capsys: pytest.CaptureFixture[str]) -> None:
    columns = (Column("JOB", 0, ids=True), Column("NOTHING", 1), Column("TEXT", 2, Excess.CUT, least=3))
    show_fitted(columns, [(JOB, None, "x" * 300)], empty="none")
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["JOB", "NOTHING", "TEXT"],
        [JOB, "x" * 300],
    ]
    show_fitted(columns, [], empty="none")
    assert capsys.readouterr().out == "none\n"


@pytest.mark.parametrize(
    ("page", "total", "said"),
    [
        (1, 0, "no jobs"),
        (99, 1, "no jobs on page 99; 1 job in all, on page 1"),
        (99, 41, "no jobs on page 99; 41 jobs in all, on pages 1 to 3"),
    ],
)
def test_a_page_behind_the_last_says_which_there_are(page: int, total: int, said: str) -> None:
    assert nothing_on(page, 20, total) == said
