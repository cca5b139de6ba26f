"""The bounded queue of live events: what is worth something only now.

Each routing key has a line of its own, and the lines take turns: a job that tells of a thousand steps a second makes no
other job's step wait, and none is lost for it. Beyond the bound the fullest line of log batches loses its oldest one
(the file has it), then the fullest of the rest. What was dropped is counted, never silent.
"""

from collections import deque
from dataclasses import dataclass

from daemon.ports import LiveStatistics

MOST_MESSAGES = 10_000
MOST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LiveMessage:
    """An event on its way."""

    routing_key: str
    body: bytes
    event_id: str
    event_type: str


class LiveQueue:
    """First in, first out for each routing key, within bounds."""

    def __init__(self, most_messages: int = MOST_MESSAGES, most_bytes: int = MOST_BYTES) -> None:
        self._lines: dict[str, deque[LiveMessage]] = {}
        """None is empty; the first one is next."""
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._count = 0
        self._bytes = 0
        self._dropped = 0

    def __len__(self) -> int:
        return self._count

    def put(self, message: LiveMessage) -> None:
        """Add a message; drops old ones where there is no room."""
        self._lines.setdefault(message.routing_key, deque()).append(message)
        self._count += 1
        self._bytes += len(message.body)
        while self._count > self._most_messages or self._bytes > self._most_bytes:
            self._leave(self._fullest())
            self._dropped += 1

    def take(self) -> LiveMessage | None:
        """The oldest message of the line whose turn it is."""
        if not self._lines:
            return None
        key = next(iter(self._lines))
        message = self._leave(key)
        line = self._lines.pop(key, None)
        if line is not None:
            self._lines[key] = line  # behind the others
        return message

    def refuse(self) -> None:
        """Nobody is there to send it to: a message is dropped before it came in."""
        self._dropped += 1

    def clear(self) -> None:
        """Nobody can get them: all are dropped."""
        self._dropped += self._count
        self._lines.clear()
        self._count = self._bytes = 0

    def statistics(self) -> LiveStatistics:
        """How much waits, how much was dropped since the start."""
        return LiveStatistics(self._count, self._bytes, self._dropped)

    def _fullest(self) -> str:
        """The line that has to lose one: of log batches, where there is one."""
        keys = [key for key in self._lines if key.endswith(".log")] or self._lines
        return max(keys, key=lambda key: len(self._lines[key]))

    def _leave(self, key: str) -> LiveMessage:
        message = self._lines[key].popleft()
        self._count -= 1
        self._bytes -= len(message.body)
        if not self._lines[key]:
            del self._lines[key]
        return message
