"""Signatures in the manner of the Standard Webhooks specification, 1.0: HMAC-SHA256 over `id.timestamp.body`. Pure."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable

PREFIX = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 64
HOW = 'make one with: echo "whsec_$(openssl rand -base64 32)"'
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def secret_bytes(text: str) -> bytes:
    """The key in a secret's text. Raises `ValueError`, which never repeats the secret."""
    if not text.startswith(PREFIX):
        raise ValueError(f"a signing secret begins with {PREFIX}; {HOW}")
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"what is behind {PREFIX} is not base64; {HOW}") from None
    if not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise ValueError(f"a signing secret has {LEAST_BYTES} to {MOST_BYTES} bytes, this one has {len(key)}; {HOW}")
    return key


def webhook_id(event_id: str) -> str:
    """An event's id as `webhook-id`, the receiver's key to tell twins: no point in it, because points part what is
    signed."""
    return event_id if _SAFE_ID.fullmatch(event_id) else hashlib.sha256(event_id.encode()).hexdigest()


def signature_headers(message_id: str, timestamp: int, body: bytes, keys: Iterable[bytes]) -> dict[str, str]:
    """The three headers of the specification; one signature a key, the newest first.

    `timestamp` is the time of the attempt in Unix seconds, so that a receiver can refuse what was recorded and sent
    again.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
