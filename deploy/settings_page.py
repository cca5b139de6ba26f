"""Prints `docs/reference/settings.md`, the settings of `daemon/settings.py` as a table; `make generate` writes it."""

import sys

from daemon.settings import PREFIX, Settings
from deploy.env_example import default_text
from schemas.reference import table

HEAD = """<!-- Made by deploy/settings_page.py from daemon/settings.py; to write it anew: make generate -->

# Settings

Environment variables of `swift-trainerd`, also read from a `.env` file in its folder; `swift-trainerd --help` lists
them. [`swift-trainer.env.example`](../../deploy/swift-trainer.env.example) is a file to fill in. A setting with no
default has no value of its own, or takes it from the host, as its text says. The command line and the clients use the
broker's alone.

"""


def render() -> str:
    """The whole page."""
    rows = [
        (
            f"`{PREFIX}{name.upper()}`",
            f"`{default}`" if (default := default_text(field)) else "",
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]
    return HEAD + table(("name", "default", "meaning"), rows)


if __name__ == "__main__":
    sys.stdout.write(render())
