"""What strangers wrote never steers a terminal, and what is for programs stays JSON."""

import json
from datetime import UTC, datetime

import pytest

from daemon.cli import output

EVIL = "a\x1b[2Jb\x9b31mc\u202ed\nle\ud800"


def test_control_characters_are_shown_and_not_sent() -> None:
    assert output.safe(EVIL) == r"a\x1b[2Jb\x9b31mc\u202ed\nle\ud800"
    assert output.safe("学习 ✓ é\tx") == "学习 ✓ é    x"


@pytest.mark.parametrize("indent", [None, 2])
def test_json_means_the_same_and_steers_nothing(indent: int | None) -> None:
    text = output.json_text({"text": EVIL, "name": "学习"}, indent=indent)
    assert json.loads(text) == {"text": EVIL, "name": "学习"}
    assert "学习" in text
    assert all(sign == "\n" or output.safe(sign) == sign for sign in text)


def test_a_table_in_a_pipe_is_neither_folded_nor_marked_up(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_table(("A", "B"), [("x" * 300, "[red]not markup[/red]\x1b[1m"), (None, True)], empty="nothing")
    lines = capsys.readouterr().out.splitlines()
    assert [len(line.split()) for line in lines] == [2, 3, 1]
    assert lines[1].split() == ["x" * 300, "[red]not", r"markup[/red]\x1b[1m"]
    output.show_table(("A",), [], empty="nothing")
    assert capsys.readouterr().out == "nothing\n"


def test_fields_that_say_nothing_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_fields({"loss": 0.123456789, "node_id": None, "labels": {"team": "a\x07"}, "devices": [0, 1]})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["loss", "0.123457"], ["labels", r"team=a\x07"], ["devices", "0,", "1"]]


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, ""),
        ("2026-01-01T00:00:00Z", "2d"),
        ("2026-01-02T23:00:00+00:00", "1h"),
        ("2026-01-02T23:58:01Z", "1m"),
        ("2026-01-03T00:00:05Z", "0s"),
    ],
)
def test_ages_are_short(moment: str | None, text: str) -> None:
    assert output.age_text(moment, datetime(2026, 1, 3, tzinfo=UTC)) == text
