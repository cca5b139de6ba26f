"""The gateway's settings: environment variables `SWIFT_TRAINER_GATEWAY_*`, also read from a `.env` file.

The broker is the daemon's own setting (`SWIFT_TRAINER_AMQP_URL`).
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

GATEWAY_PREFIX = "SWIFT_TRAINER_GATEWAY_"


def _words(value: object) -> object:
    return tuple(value.split()) if isinstance(value, str) else value


class GatewaySettings(BaseSettings):
    """Settings of `swift-trainer gateway`; the name on the environment is the field's in capitals behind the prefix."""

    model_config = SettingsConfigDict(
        env_prefix=GATEWAY_PREFIX, env_file=".env", extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback needs a token."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """Port to listen on; 0: any free one."""
    tokens: Path = Path("~/.config/swift-trainer/tokens.json")
    """File of the tokens' hashes, which `swift-trainer token` writes."""
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = ()
    """Origins of other sites whose pages may call this one, separated by spaces; none where not given.
    Without tokens only the gateway's own page may."""
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    """Requests of one token, or of one address without tokens, in a minute."""
    max_body_kib: Annotated[int, Field(ge=1, le=1024)] = 1024
    """Largest request body, KiB."""
    max_streams: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Event streams that one token, or one address without tokens, may have open."""
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    """How long a request waits for a daemon's answer."""
    trusted_proxies: str = "127.0.0.1"
    """Addresses of proxies whose `X-Forwarded-*` headers are believed, separated by commas."""
    root_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$")] = ""
    """Path below which a proxy serves the gateway, as `/swift`."""

    @property
    def tokens_path(self) -> Path:
        """The tokens' file, absolute."""
        return self.tokens.expanduser().absolute()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on the address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
