"""What a stand-in was told to do: its command line, read as ms-swift reads it, and the model's `standin.json`."""

import json
import os
from typing import Any

STEERING = "standin.json"


class Options:
    """`--name value...` and `--name=value`."""

    def __init__(self, argv: list[str]) -> None:
        self.values: dict[str, list[str]] = {}
        name = ""
        for word in argv:
            if word.startswith("--") and not _is_value(word):
                name, joined, value = word[2:].partition("=")
                self.values[name] = [value] if joined else []
            else:
                self.values.setdefault(name, []).append(word)

    def text(self, name: str, default: str = "") -> str:
        """An option's first value."""
        return (self.values.get(name) or [default])[0]

    def many(self, name: str) -> list[str]:
        """All values of an option."""
        return self.values.get(name, [])

    def number(self, name: str, default: float) -> float:
        """A number."""
        return float(self.text(name) or default)

    def steps(self, name: str, default: float, total: int) -> int:
        """A count of steps; below 1 it is a ratio of all steps."""
        value = self.number(name, default)
        return max(1, int(value if value >= 1 else value * total + 0.999))

    def yes(self, name: str, *, default: bool) -> bool:
        """A truth value."""
        return (self.text(name) or str(default)).lower() in {"true", "1", "yes"}


def _is_value(word: str) -> bool:
    return not word[2:3].isalpha()


def steering_of(folder: str) -> dict[str, Any]:
    """The steering of this attempt; empty where the folder has none."""
    try:
        with open(os.path.join(folder, STEERING), encoding="utf-8") as source:
            told: dict[str, Any] = json.load(source)
    except OSError:
        return {}
    return {**told, **told.get("attempts", {}).get(os.environ.get("SWIFT_TRAINER_ATTEMPT", ""), {})}
