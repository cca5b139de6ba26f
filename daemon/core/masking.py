"""Masking of secrets in what programs say: log lines, errors, the daemon's own log. A request's fields stay as sent.

Known shapes of tokens, values of names that say they are secret, and credentials in URLs. Better a word too many masked
than a token shown. Called for each line of every log, hostile ones of 64 KB included: so a line without any sign of a
secret costs a look for a few substrings, and no pattern here looks at a character more than a few times.
"""

import re
from collections.abc import Iterable

MASK = "***"

_TOKEN_SIGNS = ("hf_", "ms-", "sk-", "gh", "github_pat_", "glpat-", "xox", "AKIA", "AIza", "nvapi-", "eyJ")
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9_-])"  # where a word begins: so each run of characters is looked at once
    r"(?:hf_(?:(?=[a-z]*[0-9A-Z])[A-Za-z0-9]{8,}|[a-z]{20,})"  # not `hf_argparser`
    r"|ms-[0-9a-f]{8}-[0-9a-f-]{20,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abeoprs]-[A-Za-z0-9-]{10,}|AKIA[0-9A-Z]{16}"
    r"|AIza[A-Za-z0-9_-]{30,}|nvapi-[A-Za-z0-9_-]{20,}"
    r"|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+)"
)

_NAME_SIGNS = ("token", "secret", "passw", "_key", "-key", "apikey", "accesskey", "bearer")
_NAME_END = re.compile(r"token(?![a-z_])|secret|passw|key|bearer")
"""A closer look at them in lower case: `token_acc` and `tokenizer` are in every other line."""
_ORDINARY_TOKENS = ("eos", "bos", "pad", "unk", "sep", "cls", "mask", "stop", "image", "video", "audio", "special")
"""What stands before `_token` in the names of a tokenizer's tokens, which are no secrets."""
_NAMES = (
    "(?:" + "".join(f"(?<!{word}_)" for word in _ORDINARY_TOKENS) + "token"
    "|secret|password|passwd|(?:api|access|secret|private)[_-]?key)"
)  # fmt: skip
_NAMED = re.compile(
    rf"({_NAMES}[\"']?\s{{0,20}}[=:]\s{{0,20}}[\"']?)([^\s\"',;)&]+)",
    re.IGNORECASE,
)
_OPTION = re.compile(rf"((?<![\w-])--[\w-]{{0,64}}{_NAMES}\s{{1,20}}[\"']?)(?!--)([^\s\"']+)", re.IGNORECASE)
_BEARER = re.compile(r"(\bbearer\s{1,20})([A-Za-z0-9._~+/=-]{8,})", re.IGNORECASE)
_URL = re.compile(r"(://[^\s/:@\"']{0,256}):([^\s/\"']+)@")
_URL_TOKEN = re.compile(r"://([^\s/:@\"']{20,256})@")
_HARMLESS = frozenset({"none", "null", "true", "false", "", MASK})


def mask(text: str) -> str:
    """The text with secrets replaced by `***`."""
    if "://" in text and "@" in text:
        text = _URL_TOKEN.sub(f"://{MASK}@", _URL.sub(rf"\1:{MASK}@", text))
    if _has_any(text, _TOKEN_SIGNS):
        text = _TOKENS.sub(MASK, text)
    lower = text.lower()
    if _has_any(lower, _NAME_SIGNS) and _NAME_END.search(lower):
        text = _NAMED.sub(_named, _BEARER.sub(rf"\1{MASK}", text))
        if "--" in text:
            text = _OPTION.sub(_named, text)
    return text


def _has_any(text: str, signs: Iterable[str]) -> bool:
    return any(sign in text for sign in signs)


def _named(found: re.Match[str]) -> str:
    value = found[2]
    if value.lower() in _HARMLESS or value.replace(".", "").isdigit():
        return found[0]
    return f"{found[1]}{MASK}"
