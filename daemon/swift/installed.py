"""What is known of the ms-swift that is installed: its version and its own argument list."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """One `swift sft` option."""

    name: str
    takes_many: bool
    """A list of values (`nargs='+'`)."""
    type_name: str
    """As the class declares it, for messages: `int`, `Literal['a', 'b']`, ..."""


@dataclass(frozen=True, slots=True)
class Installed:
    """The installed ms-swift."""

    version: str
    """As its distribution says, `4.6.0`."""
    sft_options: Mapping[str, Option]
    export_options: frozenset[str]
    python: str | None = None
    """Interpreter of its environment."""

    @property
    def major(self) -> int:
        """3, 4, ..."""
        return int(self.version.split(".", 1)[0])
