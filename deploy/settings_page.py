"""Prints `docs/reference/settings.md`, the settings of daemon and gateway as tables; `make generate` writes it."""

import sys

from pydantic_settings import BaseSettings

from daemon.gateway.settings import GATEWAY_PREFIX, GatewaySettings
from daemon.settings import PREFIX, Settings
from deploy.env_example import default_text
from schemas.reference import table

HEAD = """<!-- Made by deploy/settings_page.py from the settings themselves; to write it anew: make generate -->

# Settings

Environment variables of `swift-trainerd`, also read from a `.env` file in its folder; `swift-trainerd --help` lists
them. [`swift-trainer.env.example`](../../deploy/swift-trainer.env.example) is a file to fill in. A setting with no
default has no value of its own, or takes it from the host, as its text says. The command line and the clients use the
broker's alone.

"""


GATEWAY = """
## The gateway

Environment variables of `swift-trainer gateway`, also read from a `.env` file. It reads the broker's settings above as
well.

"""


def render() -> str:
    """The whole page."""
    return HEAD + _rows(Settings, PREFIX) + GATEWAY + _rows(GatewaySettings, GATEWAY_PREFIX)


def _rows(settings: type[BaseSettings], prefix: str) -> str:
    rows = [
        (
            f"`{prefix}{name.upper()}`",
            f"`{default}`" if (default := default_text(field)) else "",
            field.description or "",
        )
        for name, field in settings.model_fields.items()
    ]
    return table(("name", "default", "meaning"), rows)


if __name__ == "__main__":
    sys.stdout.write(render())
