"""Connecting to RabbitMQ, ready for whatever strangers put into a message's properties.

AMQP lets a short string (`message_id`, `correlation_id`, a routing key, the name of a header) be any bytes, and a
timestamp any number. pamqp, which decodes frames for aio-pika, raises over one that is not UTF-8 or lies beyond the
year 9999 (microseconds, say). That ends the whole connection; the broker sends the message again, and with it all that
were under way, until the delivery limit has made dead letters of them. So pamqp's decoders are replaced here: bytes
come through as they were (as surrogates, which go back as the same bytes), and a time that is none is left out.
"""

import ssl
import struct
from datetime import datetime

import aio_pika
from aio_pika.abc import AbstractConnection
from pamqp import decode, encode
from pamqp.common import FieldTable
from yarl import URL

BYTES = "surrogateescape"
MOST_SHORT = 255


async def connect(place: URL, *, name: str, ca_file: str | None, heartbeat_s: int) -> AbstractConnection:
    """A connection to the broker. Raises aio-pika's errors, and `OSError`."""
    if "heartbeat" not in place.query:
        place = place.update_query(heartbeat=heartbeat_s)
    context = ssl.create_default_context(cafile=ca_file) if place.scheme == "amqps" else None
    return await aio_pika.connect(place, client_properties={"connection_name": name}, ssl_context=context)


def readable(text: str) -> str:
    """A property as text that can be stored and printed: bytes that are not UTF-8 are read as Latin-1."""
    if text.isprintable() and text.isascii():
        return text
    raw = text.encode("utf-8", BYTES)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _short_string(value: bytes) -> tuple[int, str]:
    """Bytes consumed, and the string."""
    end = value[0] + 1
    return end, value[1:end].decode("utf-8", BYTES)


def _encoded_short_string(value: str) -> bytes:
    raw = value.encode("utf-8", BYTES)
    if len(raw) > MOST_SHORT:
        raise ValueError(f"a short string has {len(raw)} bytes; at most {MOST_SHORT} are allowed")
    return bytes([len(raw)]) + raw


def _timestamp(value: bytes) -> tuple[int, datetime | None]:
    try:
        return _decode_timestamp(value)
    except (ValueError, OverflowError, OSError):
        return 8, None


def _field_table(value: bytes) -> tuple[int, FieldTable]:
    (length,) = struct.unpack_from(">I", value)
    offset, end = 4, 4 + length
    found: FieldTable = {}
    while offset < end:
        key_end = offset + 1 + value[offset]
        key = readable(value[offset + 1 : key_end].decode("utf-8", BYTES))
        consumed, found[key] = decode.embedded_value(value[key_end:])
        offset = key_end + consumed
    return end, found


_decode_timestamp = decode.timestamp
decode.METHODS["shortstr"] = _short_string
decode.METHODS["timestamp"] = decode.TABLE_MAPPING[b"T"] = _timestamp
decode.METHODS["table"] = decode.TABLE_MAPPING[b"F"] = _field_table
encode.METHODS["shortstr"] = _encoded_short_string
