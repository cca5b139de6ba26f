"""What AMQP allows in a message's properties comes through the decoder, and goes back as the same bytes."""

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.decode import by_type

from daemon.amqp import readable

SHORT = ("content_type", "correlation_id", "reply_to", "message_id", "message_type", "user_id", "app_id")


def unmarshalled(data: bytes) -> Basic.Properties:
    """Properties as they came in a frame."""
    (flags,) = struct.unpack_from(">H", data)
    found = Basic.Properties()
    found.unmarshal(flags, data[2:])
    return found


@given(st.dictionaries(st.sampled_from(SHORT), st.binary(min_size=1, max_size=255)))
def test_any_bytes_of_a_short_string_come_through_and_go_back(given_bytes: dict[str, bytes]) -> None:
    flags, parts = 0, b""
    for name in Basic.Properties.__slots__:
        if name in given_bytes:
            flags |= Basic.Properties.flags[name]
            parts += bytes([len(given_bytes[name])]) + given_bytes[name]
    frame = struct.pack(">H", flags) + parts
    found = unmarshalled(frame)
    assert found.marshal() == frame
    for name, raw in given_bytes.items():
        text = readable(getattr(found, name))
        text.encode()  # it can be stored and printed
        assert text in {raw.decode("utf-8", "ignore"), raw.decode("latin-1")}


@given(st.integers(0, 2**64 - 1))
def test_any_timestamp_is_a_time_or_none(seconds: int) -> None:
    consumed, found = by_type(struct.pack(">Q", seconds), "timestamp")
    assert consumed == 8
    assert found is None or isinstance(found, datetime)


def test_a_time_is_read_as_it_was() -> None:
    assert by_type(struct.pack(">Q", 1_800_000_000), "timestamp")[1] == datetime.fromtimestamp(1_800_000_000, UTC)


@given(st.dictionaries(st.binary(min_size=1, max_size=128), st.integers(0, 2**31 - 1), max_size=5))
def test_headers_of_any_name(headers: dict[bytes, int]) -> None:
    table = b"".join(bytes([len(key)]) + key + b"I" + struct.pack(">i", value) for key, value in headers.items())
    consumed, found = by_type(struct.pack(">I", len(table)) + table + b"more", "table")
    assert consumed == 4 + len(table)
    assert isinstance(found, dict)
    assert set(found.values()) <= set(headers.values())


@pytest.mark.parametrize(
    ("raw", "text"), [(b"plain", "plain"), ("grün".encode(), "grün"), (b"gr\xfcn", "grün"), (b"", "")]
)
def test_text_that_is_not_utf_8_is_read_as_latin_1(raw: bytes, text: str) -> None:
    assert readable(raw.decode("utf-8", "surrogateescape")) == text
