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
    """First in, first out, within bounds."""

    def __init__(self, most_messages: int = MOST_MESSAGES, most_bytes: int = MOST_BYTES) -> None:
        self._messages: deque[LiveMessage] = deque()
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._bytes = 0
        self._dropped = 0

    def put(self, message: LiveMessage) -> None:
        """Add a message; drops old ones where there is no room."""
        self._messages.append(message)
        self._bytes += len(message.body)
        while len(self._messages) > self._most_messages or self._bytes > self._most_bytes:
            self._drop()

    def take(self) -> LiveMessage | None:
        """The oldest message."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._bytes -= len(message.body)
        return message

    def clear(self) -> None:
        """Nobody can get them: all are dropped."""
        self._dropped += len(self._messages)
        self._messages.clear()
        self._bytes = 0

    def statistics(self) -> LiveStatistics:
        """How much waits, how much was dropped since the start."""
        return LiveStatistics(len(self._messages), self._bytes, self._dropped)

    def _drop(self) -> None:
        place = next((index for index, message in enumerate(self._messages) if message.is_log), 0)
        self._bytes -= len(self._messages[place].body)
        del self._messages[place]
        self._dropped += 1
