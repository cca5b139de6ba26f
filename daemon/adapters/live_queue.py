"""The bounded queue of live events: what is worth something only now.

Beyond its bound the oldest log batches go first (the file has them), then the oldest of the rest. What was dropped is
counted, never silent.
"""

from collections import deque
from dataclasses import dataclass

MOST_MESSAGES = 10_000
MOST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LiveMessage:
    """An event on its way."""

    routing_key: str
    body: bytes
    event_id: str
    event_type: str

    @property
    def is_log(self) -> bool:
        return self.routing_key.endswith(".log")


@dataclass(frozen=True, slots=True)
class LiveStatistics:
    """A snapshot."""

    waiting: int
    waiting_bytes: int
    dropped: int


class LiveQueue:
    """First in, first out, within bounds. Log batches stand in a line of their own, so that dropping is cheap."""

    def __init__(self, most_messages: int = MOST_MESSAGES, most_bytes: int = MOST_BYTES) -> None:
        self._logs: deque[tuple[int, LiveMessage]] = deque()
        self._others: deque[tuple[int, LiveMessage]] = deque()
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._number = 0
        self._bytes = 0
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._logs) + len(self._others)

    def put(self, message: LiveMessage) -> None:
        """Add a message; drops old ones where there is no room."""
        self._number += 1
        (self._logs if message.is_log else self._others).append((self._number, message))
        self._bytes += len(message.body)
        while len(self) > self._most_messages or self._bytes > self._most_bytes:
            self._leave(self._logs or self._others)
            self._dropped += 1

    def take(self) -> LiveMessage | None:
        """The oldest message."""
        if not self:
            return None
        first_log = not self._others or (self._logs and self._logs[0][0] < self._others[0][0])
        return self._leave(self._logs if first_log else self._others)

    def refuse(self) -> None:
        """Nobody is there to send it to: a message is dropped before it came in."""
        self._dropped += 1

    def clear(self) -> None:
        """Nobody can get them: all are dropped."""
        self._dropped += len(self)
        self._logs.clear()
        self._others.clear()
        self._bytes = 0

    def statistics(self) -> LiveStatistics:
        """How much waits, how much was dropped since the start."""
        return LiveStatistics(len(self), self._bytes, self._dropped)

    def _leave(self, line: deque[tuple[int, LiveMessage]]) -> LiveMessage:
        _, message = line.popleft()
        self._bytes -= len(message.body)
        return message
