"""Masking of secrets in everything that is shown: logs, events, replies, documents.

Known shapes of tokens, values of names that say they are secret, and credentials in URLs. Better a word too many masked
than a token shown.
"""

import re
from collections.abc import Sequence

MASK = "***"

_TOKENS = re.compile(
    r"\b(hf_[A-Za-z0-9]{8,}|ms-[0-9a-f]{8}-[0-9a-f-]{20,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|AKIA[0-9A-Z]{16}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+)"
)
_NAMED = re.compile(
    r"((?:[A-Za-z0-9]+[_-])*(?:token|secret|password|passwd|api[_-]?key|access[_-]?key))"
    r"([\"']?\s*[=:]\s*[\"']?)([^\s\"',;)&]+)",
    re.IGNORECASE,
)
_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*):([^\s/@]+)@", re.IGNORECASE)
_HARMLESS = frozenset({"none", "null", "true", "false", "''", '""', MASK})


def mask(text: str) -> str:
    """The text with secrets replaced by `***`."""
    text = _URL.sub(rf"\1:{MASK}@", text)
    text = _TOKENS.sub(MASK, text)
    return _NAMED.sub(_named, text)


def _named(found: re.Match[str]) -> str:
    value = found[3]
    if value.lower() in _HARMLESS or value.replace(".", "").isdigit():
        return found[0]
    return f"{found[1]}{found[2]}{MASK}"


def mask_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """An argument vector with secrets masked, one argument each."""
    return tuple(mask(argument) for argument in argv)
