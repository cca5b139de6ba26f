"""The daemon's own log: a stable action in every line, fields as values, secrets masked, nobody can forge a line."""

import json
import logging
from collections.abc import Generator

import pytest

from daemon.logs import configure, get_log


@pytest.fixture(autouse=True)
def root_as_before() -> Generator[None]:
    """Leave the logging of the process as it was."""
    loggers = [logging.getLogger(name) for name in ("", "swift_trainer", "aiormq.connection")]
    handlers, levels = loggers[0].handlers[:], [logger.level for logger in loggers]
    yield
    loggers[0].handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def test_a_json_line_has_time_level_action_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure(form="json", level="info")
    get_log("intake").info("job_claimed", "devices leased", job_id="j-1", devices=[0, 1])
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert said["time"].endswith("+00:00")
    assert {key: said[key] for key in said if key != "time"} == {
        "level": "info",
        "logger": "intake",
        "action": "job_claimed",
        "message": "devices leased",
        "job_id": "j-1",
        "devices": [0, 1],
    }


def test_a_line_for_people_is_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure(form="human", level="info")
    get_log("intake").warning("command_dead", "bad\n2026 INFO forged: line", command="x\r\ny\x1b[31m")
    (line,) = capsys.readouterr().err.splitlines()
    assert "WARNING command_dead: bad\\n2026" in line
    assert "command=x\\r\\ny\\x1b[31m" in line


@pytest.mark.parametrize("form", ["json", "human"])
def test_secrets_are_masked_in_message_fields_and_trace(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure(form=form, level="debug")
    log = get_log("rabbit")
    log.debug("away", "amqp://guest:s3cret@host/ is away", url="mongodb://u:s3cret@host")
    try:
        int("api_key=s3cret")
    except ValueError as error:
        log.crash("bug", "it broke", error)
    said = capsys.readouterr().err
    assert "s3cret" not in said
    assert "ValueError" in said


def test_other_libraries_speak_from_warning_on_under_an_action_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    configure(form="json", level="debug")
    logging.getLogger("aiormq").info("quiet")
    logging.getLogger("aiormq").warning("loud")
    (line,) = capsys.readouterr().err.splitlines()
    assert (json.loads(line)["action"], json.loads(line)["logger"]) == ("library", "aiormq")


def test_levels_below_the_setting_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    configure(form="human", level="warning")
    get_log("x").info("quiet", "quiet")
    assert capsys.readouterr().err == ""
