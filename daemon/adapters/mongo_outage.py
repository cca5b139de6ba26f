"""Where MongoDB is and what it means when it can't be reached, in words for a person and without credentials.

Knows the driver's errors and options, and not its client.
"""

from collections.abc import Mapping
from typing import Final, cast
from urllib.parse import parse_qs

from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

from daemon.adapters.documents import Document

_DUPLICATE_KEY = 11000
_REFUSED_CODES = frozenset({13, 18, 8000})
"""Unauthorized, AuthenticationFailed, and Atlas' own."""

_DEFAULTS: Mapping[str, object] = {
    "serverSelectionTimeoutMS": 3000,
    "connectTimeoutMS": 3000,
    "socketTimeoutMS": 10_000,
    "wTimeoutMS": 8000,
    "retryWrites": True,
    "appName": "swift-trainer",
}

_AWAY_CODES = frozenset({50, 64, 91, 100, 189, 262, 11600, 11601, 11602, 14031}) | _REFUSED_CODES
"""Server errors that say nothing about the request: refused credentials, shutdown, election, time limits, full disk."""

_MISGUIDED_RETRY: Final = (20, "Transaction numbers")
"""Code and text of the answer when PyMongo (4.16 and later) sends a write once more to a standalone server that was too
slow to take a new connection: with a transaction number, which only replica sets take. Nothing was written."""


def address(url: str) -> str:
    """The hosts of a connection URL, with neither credentials nor options."""
    return url.partition("://")[2].rpartition("@")[2].partition("?")[0].partition("/")[0] or "an empty address"


def client_options(url: str) -> dict[str, object]:
    """The client's options that the URL leaves open. Raises `ValueError` for `w=0`."""
    given = {name.lower(): values[-1] for name, values in parse_qs(url.partition("?")[2]).items()}
    if given.get("w") == "0":
        raise ValueError(
            "SWIFT_TRAINER_MONGODB_URL asks for unacknowledged writes (w=0), with which nothing is known to be "
            "stored; leave w out, or set it to 1 or majority"
        )
    options = {name: value for name, value in _DEFAULTS.items() if name.lower() not in given}
    if "replicaset" in given and "w" not in given:
        options["w"] = "majority"
    return options


def is_away(error: PyMongoError) -> bool:
    """Whether the error says nothing about what was asked: the server, the way to it or our right to it is away."""
    if isinstance(error, ConnectionFailure | ExecutionTimeout | WriteConcernError):
        return True
    if isinstance(error, BulkWriteError):
        return only_duplicates(error)  # no write failed on its own: the write concern did
    return isinstance(error, OperationFailure) and (error.code in _AWAY_CODES or _is_misguided_retry(error))


def _is_misguided_retry(error: OperationFailure) -> bool:
    code, text = _MISGUIDED_RETRY
    return error.code == code and text in str((error.details or {}).get("errmsg"))


def only_duplicates(error: BulkWriteError) -> bool:
    """Whether every single write of the batch was made, or had been made before."""
    failed = cast("dict[str, list[Document]]", error.details or {}).get("writeErrors") or []
    return all(item.get("code") == _DUPLICATE_KEY for item in failed)


def why_away(error: PyMongoError, where: str) -> str:
    """What is wrong with the store at the address `where`, and what to do."""
    refused = isinstance(error, OperationFailure) and error.code in _REFUSED_CODES
    if refused or "Authentication failed" in str(error):  # later calls report it as a server that can't be selected
        return (
            f"the store at {where} refuses the credentials; check user, password and rights "
            "in SWIFT_TRAINER_MONGODB_URL"
        )
    if isinstance(error, OperationFailure) and _is_misguided_retry(error):
        return f"the store at {where} is away (it was too slow to take a connection); check how loaded it is"
    said = str(error).split(", Timeout:")[0].split(", full error:")[0].split(" (configured timeouts:")[0][:300]
    return f"the store at {where} is away ({said}); check that it runs, and SWIFT_TRAINER_MONGODB_URL"
