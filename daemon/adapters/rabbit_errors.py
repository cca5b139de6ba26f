"""What aio-pika raises, as the port's one error: `UnavailableError`, with advice where a person can do something.

aio-pika has a way of its own to end calls whose connection was closed on this side: it cancels them, though nobody
cancelled their task. A loop that met such a `CancelledError` would end in silence, so it becomes an outage here too.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from aio_pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelInvalidStateError,
    ChannelPreconditionFailed,
    ProbableAuthenticationError,
)
from aiormq.exceptions import ChannelAccessRefused, ConnectionNotAllowed, InvalidFrameError

from daemon.core.masking import mask
from daemon.logs import get_log
from daemon.ports import UnavailableError

log = get_log("rabbit")

BROKER_ERRORS = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, asyncio.InvalidStateError, RuntimeError)
"""aio-pika's own errors, the socket's, and those of closed channels (the last two among them)."""

_URL = "check SWIFT_TRAINER_AMQP_URL"
_VHOST = "is the virtual host there, and may this user use it? It is the last part of the URL"
_PERMISSIONS = r"the user needs to configure, write and read ^swift\. and to write amq.default, for replies"
_ADVICE: tuple[tuple[type[BaseException], str], ...] = (
    (AuthenticationError, f"wrong user or password; {_URL}"),
    (ProbableAuthenticationError, f"wrong user or password; {_URL}"),
    (ConnectionNotAllowed, f"{_VHOST}; {_URL}"),
    (InvalidFrameError, f"{_VHOST}; {_URL}"),  # all that aio-pika says when the broker refuses a virtual host
    (ChannelAccessRefused, f"{_PERMISSIONS} (rabbitmqctl set_permissions)"),
    (
        ChannelPreconditionFailed,
        "it was made with other arguments: let the old queue run empty and delete it (rabbitmqctl delete_queue NAME), "
        "or use another virtual host in SWIFT_TRAINER_AMQP_URL",
    ),
)


def said(error: BaseException, hint: str = "") -> str:
    """What happened, and what to do about it (or the hint, where nothing better is known); without secrets."""
    text = mask(str(error)) or type(error).__name__
    advice = next((advice for kind, advice in _ADVICE if isinstance(error, kind)), hint)
    return f"{text}; {advice}" if advice else text


@contextmanager
def talking(doing: str, hint: str = "") -> Generator[None]:
    """Around calls of aio-pika: whatever goes wrong in them is `UnavailableError`.

    A connection that breaks over a frame that can't be read hands the reader's own error to all who wait on it, so any
    exception may come; one that is not of a broken connection is told with its trace, because it may be a bug.
    """
    try:
        yield
    except UnavailableError:
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise UnavailableError(f"the broker is away ({doing}: the connection was closed)") from None
    except Exception as error:
        if type(error) is not Exception and not isinstance(error, BROKER_ERRORS):  # the bare one is aio-pika's
            log.crash("broker_error", f"unexpected while {doing}", error)
        raise UnavailableError(f"the broker is away ({doing}: {said(error, hint)})") from None
