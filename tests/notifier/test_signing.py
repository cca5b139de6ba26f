"""Signatures as the Standard Webhooks specification has them."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.notifier.signing import secret_bytes, signature_headers, webhook_id
from tests.notifier.samples import SECRET


def test_the_specifications_own_example() -> None:
    """The test vector of the reference libraries."""
    key = secret_bytes(SECRET)
    assert signature_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [key]) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@settings(deadline=None)
@given(st.binary(max_size=100), st.integers(0, 2**40), st.lists(st.binary(min_size=24, max_size=64), max_size=4))
def test_each_secret_signs(body: bytes, stamp: int, keys: list[bytes]) -> None:
    signatures = signature_headers("id", stamp, body, keys)["webhook-signature"].split()
    signed = b"id.%d.%s" % (stamp, body)
    assert signatures == [
        "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys
    ]


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("plain-words-that-are-secret", "begins with whsec_"),
        ("whsec_not/base64!", "not base64"),
        ("whsec_" + base64.b64encode(b"short").decode(), "24 to 64 bytes"),
        ("whsec_" + base64.b64encode(b"x" * 65).decode(), "24 to 64 bytes"),
    ],
)
def test_a_secret_that_is_none_is_refused_without_being_repeated(secret: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        secret_bytes(secret)
    assert secret.removeprefix("whsec_") not in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=300))
def test_an_id_has_nothing_that_could_move_the_signed_parts(event_id: str) -> None:
    found = webhook_id(event_id)
    assert found
    assert all(char.isascii() and (char.isalnum() or char in "-_") for char in found)
    assert len(found) <= 128


def test_an_events_id_stays_as_it_is() -> None:
    assert webhook_id("a1b2-7") == "a1b2-7"
    assert webhook_id("a.b") != webhook_id("a_b")
