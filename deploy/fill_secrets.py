#!/usr/bin/env python3
"""Puts a random password in place of every `CHANGE_ME` in an env file; the standard library alone.

    fill_secrets.py FILE

Each gets one of its own, of letters and digits, so that it can stand in a URL as it is. The file becomes readable by
its owner alone. Values that are set already stay, so running it again does no harm.
"""

import re
import secrets
import sys
from pathlib import Path

PLACEHOLDER = "CHANGE_ME"


def fill(text: str) -> str:
    """The text with passwords."""
    return re.sub(rf"(?m)(?<==){PLACEHOLDER}\s*$", lambda _: secrets.token_hex(24), text)


def main() -> None:
    """Entry point."""
    if len(sys.argv) != 2:
        sys.exit("usage: fill_secrets.py FILE")
    path = Path(sys.argv[1])
    filled = fill(path.read_text(encoding="utf-8"))
    path.chmod(0o600)  # before the passwords are in it
    path.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
