"""Where deliveries go: the targets of a rules file with their secrets filled in from the environment, and masked names.

A target is known by what the file calls it (its unresolved address), so that a delivery that waits in the spool finds
it again after a restart, and the spool holds no secret.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic import SecretStr

from daemon.core.masking import MASK
from daemon.notifier.rules import Rules, Target, Webhook
from daemon.notifier.signing import secret_bytes

MOST_TARGETS = 200
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SCHEME = re.compile(r"[a-z][a-z0-9.+-]{0,30}(?=://)", re.IGNORECASE)
_KEY_LENGTH = 24

Place = tuple[str | int, ...]
Knows = Callable[[str], bool]


class TargetError(Exception):
    """A target that can't be used; `place` is where in the file it stands."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place


@dataclass(frozen=True, slots=True)
class AppriseDestination:
    """A service that Apprise knows."""

    key: str
    shown: str
    """For logs and people: `slack://***`."""
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WebhookDestination:
    """An address that takes signed events."""

    key: str
    shown: str
    """For logs and people: `https://hooks.example.org/***`."""
    url: str = field(repr=False)
    secrets: tuple[bytes, ...] = field(repr=False)
    timeout_s: float
    headers: Mapping[str, str] = field(repr=False)


Destination = AppriseDestination | WebhookDestination


def destinations(rules: Rules, environ: Mapping[str, str], knows: Knows) -> dict[str, Destination]:
    """All targets of the rules by their keys; `knows` says whether Apprise takes a URL. Raises `TargetError`."""
    found: dict[str, Destination] = {}
    for number, rule in enumerate(rules.rules):
        for position, target in enumerate(rule.to):
            place: Place = ("rules", number, "to", position)
            made = _destination(target, place, environ, knows)
            if found.setdefault(made.key, made) != made:
                raise TargetError(place, "this address stands above with another secret, timeout_s or headers")
    if len(found) > MOST_TARGETS:
        raise TargetError(("rules",), f"there are {len(found)} targets; {MOST_TARGETS} is the most")
    return found


def key_of(target: Target) -> str:
    """By which the spool knows a target."""
    written = f"apprise {_written(target.apprise)}" if target.webhook is None else _written(target.webhook.url)
    return hashlib.sha256(written.encode()).hexdigest()[:_KEY_LENGTH]


def _written(text: SecretStr | None) -> str:
    return text.get_secret_value() if text is not None else ""


def _destination(target: Target, place: Place, environ: Mapping[str, str], knows: Knows) -> Destination:
    if target.webhook is not None:
        return _webhook(target.webhook, key_of(target), (*place, "webhook"), environ)
    url = _resolved(_written(target.apprise), (*place, "apprise"), environ)
    scheme = _SCHEME.match(url)
    if scheme is None or not knows(url):
        said = f"this URL of {scheme[0]}://" if scheme else "this; it begins with a scheme, as slack://"
        raise TargetError((*place, "apprise"), f"Apprise does not understand {said}")
    return AppriseDestination(key_of(target), f"{scheme[0].lower()}://{MASK}", url)


def _webhook(webhook: Webhook, key: str, place: Place, environ: Mapping[str, str]) -> WebhookDestination:
    url = _resolved(webhook.url.get_secret_value(), (*place, "url"), environ)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise TargetError((*place, "url"), "not a URL") from None
    if not url.isascii() or not url.isprintable() or " " in url:
        raise TargetError((*place, "url"), "not a URL: it has characters that have to be escaped")
    if parts.scheme not in {"http", "https"} or not host:
        raise TargetError((*place, "url"), "give a URL that begins with https:// (or http://) and names a host")
    shown = f"{parts.scheme}://{host}{f':{port}' if port else ''}/{MASK}"
    secrets: list[bytes] = []
    for secret in webhook.secret:
        text = _resolved(secret.get_secret_value(), (*place, "secret"), environ)
        try:
            secrets.append(secret_bytes(text))
        except ValueError as error:
            raise TargetError((*place, "secret"), str(error)) from None
    headers = {
        name: _header(value.get_secret_value(), (*place, "headers", name), environ)
        for name, value in webhook.headers.items()
    }
    return WebhookDestination(key, shown, url, tuple(secrets), webhook.timeout_s, headers)


def _header(text: str, place: Place, environ: Mapping[str, str]) -> str:
    value = _resolved(text, place, environ)
    if not value.isascii() or not value.isprintable():
        raise TargetError(place, "a header's value is one line of ASCII")
    return value


def _resolved(text: str, place: Place, environ: Mapping[str, str]) -> str:
    """A text with `${NAME}` replaced from the environment."""

    def value(found: re.Match[str]) -> str:
        if not environ.get(found[1]):
            raise TargetError(place, f"the environment variable {found[1]} is not set")
        return environ[found[1]].strip()

    return _VARIABLE.sub(value, text)
