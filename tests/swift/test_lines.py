r"""Lines are the same however the bytes come, and memory and time stay bounded whatever is written."""

import itertools
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.swift.lines import Line, LineSplitter

PIECES = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"a", b"bc ", "é".encode(), "🐦".encode(), "中".encode(), b"\xff", b"\xc3"]
)
LOGS = st.lists(PIECES | st.binary(max_size=5), max_size=40).map(b"".join)


def split(data: bytes, cuts: list[int] | None = None, max_line_bytes: int = 64 * 1024, offset: int = 0) -> list[Line]:
    splitter = LineSplitter(offset, max_line_bytes)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts or []), len(data)]
    lines = [line for begin, end in itertools.pairwise(edges) for line in splitter.feed(data[begin:end])]
    return lines + splitter.flush()


@given(LOGS, st.lists(st.integers(0, 200), max_size=60), st.sampled_from([1, 3, 8, 64 * 1024]))
def test_any_chunking_gives_the_same_lines_and_offsets(data: bytes, cuts: list[int], max_line_bytes: int) -> None:
    whole = split(data, None, max_line_bytes)
    assert split(data, cuts, max_line_bytes) == whole
    assert split(data, list(range(len(data))), max_line_bytes) == whole


@given(LOGS, st.integers(0, 1000))
def test_offsets_cut_the_file_into_exactly_these_lines(data: bytes, offset: int) -> None:
    lines = split(data, offset=offset)
    begin = 0
    for line in lines:
        end = line.end - offset
        piece = data[begin:end]
        assert piece.rstrip(b"\r\n") == piece[: len(piece) - 2 if piece.endswith(b"\r\n") else None].rstrip(b"\r\n")
        assert line.text == piece.removesuffix(b"\n").removesuffix(b"\r").decode(errors="replace")
        assert line.carriage == piece.endswith(b"\r")
        begin = end
    assert begin == len(data)


@given(LOGS, st.integers(0, 200))
def test_reading_can_go_on_at_the_end_of_any_line(data: bytes, number: int) -> None:
    lines = split(data)
    if not lines:
        return
    at = number % len(lines)
    assert split(data[lines[at].end :], offset=lines[at].end) == lines[at + 1 :]


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b"a\nb\r\nc\rd", [("a", False), ("b", False), ("c", True), ("d", False)]),
        (b"a\r\r\nb\n", [("a", True), ("", False), ("b", False)]),
        (b"\n\n", [("", False), ("", False)]),
        (b"a\r", [("a", True)]),
        (b"", []),
        ("a\u2028b\x0bc\x85d\n".encode(), [("a\u2028b\x0bc\x85d", False)]),
        (b"\xff\xfe\n", [("\ufffd\ufffd", False)]),
    ],
)
def test_ends_of_lines(data: bytes, texts: list[tuple[str, bool]]) -> None:
    assert [(line.text, line.carriage) for line in split(data)] == texts


def test_a_character_cut_in_two_by_a_chunk_is_whole() -> None:
    data = "è🐦\n".encode()
    for cut in range(len(data)):
        assert [line.text for line in split(data, [cut])] == ["è🐦"]


def test_a_long_line_keeps_its_head_and_says_what_is_missing() -> None:
    (line,) = split(b"x" * 100 + b"\n", None, 10)
    assert line.text == "x" * 10 + " …[90 bytes cut]"
    assert line.end == 101


def test_a_head_does_not_end_within_a_character() -> None:
    (line,) = split("aé🐦".encode() + b"\n", None, 4)
    assert line.text == "aé …[4 bytes cut]"


def test_a_line_of_half_a_gigabyte_costs_its_head_and_one_look() -> None:
    splitter = LineSplitter()
    chunk = b"y" * (64 * 1024)
    tracemalloc.start()
    began = time.process_time()
    for _ in range(8 * 1024):
        assert splitter.feed(chunk) == []
    took_s = time.process_time() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (line,) = splitter.feed(b"\n")
    assert line.text.endswith(f"…[{8 * 1024 * 64 * 1024 - 64 * 1024} bytes cut]")
    assert peak < 1024 * 1024
    assert took_s < 5
