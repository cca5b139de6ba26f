"""What ms-swift only repeats: its command line, its arguments, a row of the data."""

import pytest

from daemon.swift.quoting import Quoting


@pytest.mark.parametrize(
    ("line", "quoted"),
    [
        ("[INFO:swift] output_dir: /o", False),
        ("[INFO:swift] args: SftArguments(", True),
        ("system=You are", True),
        ("Traceback (most recent call last):", False),
        ("ValueError: x", False),
        ("[INFO:swift] [INPUT_IDS] [1, 2]", True),
        ("[INFO:swift] [INPUT] hello", True),
        ("ValueError: in the data", True),
        ("", True),
        ("[rank1]: Traceback (most recent call last):", False),
        ("[rank1]: ValueError: of another rank", False),
        ("[INFO:swift] [LABELS] [-100 * 4]ok", True),
        ("[INFO:swift] Dataset Token Length: 4", False),
        ("anything", False),
    ],
)
def test_lines(line: str, quoted: bool) -> None:
    """In the order of a log."""
    assert _QUOTING.feed(line) is quoted


_QUOTING = Quoting()


def test_the_command_line_ends_with_its_closing_quote() -> None:
    quoting = Quoting()
    assert [quoting.feed(line) for line in ("run sh: `python sft.py`", "a")] == [True, False]
    assert [quoting.feed(line) for line in ("run sh: `python --system a", "b", "c` d", "e`", "f")] == [True] * 4 + [
        False
    ]
    assert [quoting.feed(line) for line in ("run sh: `python --system a …[9 bytes cut]", "b")] == [True, False]
    assert [quoting.feed(line) for line in ("run sh: `python --system a", "[INFO:swift] rank: -1")] == [True, False]
