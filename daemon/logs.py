"""The daemon's own log: one line an event, each with a stable action name, as JSON or for people.

`log = get_log("intake")`, then `log.info("command_refused", "unknown command", command=name)`. Fields are values, never
parts of the message, so that a collector can count by `action` and filter by `job_id`. Secrets are masked at the door.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from daemon.core.masking import mask

ROOT: Final = "swift_trainer"


class Log:
    """A named logger whose lines carry an action and fields."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"{ROOT}.{name}")

    def debug(self, action: str, message: str, **fields: object) -> None:
        self._emit(logging.DEBUG, action, message, fields, None)

    def info(self, action: str, message: str, **fields: object) -> None:
        self._emit(logging.INFO, action, message, fields, None)

    def warning(self, action: str, message: str, **fields: object) -> None:
        self._emit(logging.WARNING, action, message, fields, None)

    def error(self, action: str, message: str, **fields: object) -> None:
        self._emit(logging.ERROR, action, message, fields, None)

    def crash(self, action: str, message: str, error: BaseException, **fields: object) -> None:
        """A bug, with its trace."""
        self._emit(logging.ERROR, action, message, fields, error)

    def _emit(
        self, level: int, action: str, message: str, fields: dict[str, object], error: BaseException | None
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", message, extra={"action": action, "fields": fields}, exc_info=error)


def get_log(name: str) -> Log:
    """The log of one room, by its name."""
    return Log(name)


class _Formatter(logging.Formatter):
    """Renders a record as JSON or as a line for people; lines of other libraries get the action `library`."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        action = str(getattr(record, "action", "library"))
        fields: dict[str, object] = getattr(record, "fields", {})
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        message = mask(record.getMessage())
        trace = mask(self.formatException(record.exc_info)) if record.exc_info else None
        name = record.name.removeprefix(f"{ROOT}.")
        if self._as_json:
            line = {"time": time, "level": record.levelname.lower(), "logger": name, "action": action}
            extra = {key: mask(value) if isinstance(value, str) else value for key, value in fields.items()}
            return json.dumps({**line, "message": message, **extra, **({"trace": trace} if trace else {})}, default=str)
        shown = " ".join(f"{key}={_plain(value)}" for key, value in fields.items())
        text = f"{time} {record.levelname:<7} {action}: {_plain(message)}" + (f"  {shown}" if shown else "")
        return f"{text}\n{trace}" if trace else text


def _plain(value: object) -> str:
    """One line without control characters, so that nothing from outside can forge a line of the log."""
    text = mask(str(value))
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def configure(*, form: str, level: str) -> None:
    """Send the daemon's log to standard error. Libraries speak from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(as_json=form == "json"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("aiormq.connection").setLevel(logging.CRITICAL)  # the adapter says the same, with advice
    logging.getLogger(ROOT).setLevel(level.upper())
