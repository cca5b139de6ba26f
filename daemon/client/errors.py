"""What can go wrong with a command: no answer could be had, or the daemon refused."""

from schemas.enums import ReplyErrorCode
from schemas.replies import Fault


class ClientError(Exception):
    """No answer could be had; the message says why and what to do."""


class BrokerAwayError(ClientError):
    """The connection is gone, or none could be had: the same command with the same `message_id` may be sent again."""


class NoAnswerError(ClientError):
    """A command was sent, and nobody answered in time. Whether it will be carried out is not known."""


class RefusedError(Exception):
    """The daemon refused a command."""

    def __init__(self, code: ReplyErrorCode, message: str, details: tuple[Fault, ...]) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = details
