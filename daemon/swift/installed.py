"""What is known of the ms-swift that is installed: its version and its own argument list."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources

_MANY = re.compile(r"^(typing\.)?(Optional\[)?(typing\.)?[Ll]ist\[|^list\[")
KNOWN_VERSIONS = ("3.12.6", "4.6.0")


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
    assumed: bool = False
    """The command can't be asked, and nobody said its version: this is the newest known one's table."""
    problem: str | None = None
    """Why its own list could not be read, where its version could: it does not start, or is like none that is known."""

    @property
    def state(self) -> str:
        """`ok`, or what is wrong."""
        if self.problem is not None:
            return f"ms-swift {self.version} does not answer, its trainings may not start: {self.problem}"
        if self.assumed:
            return f"its version can't be asked, {self.version} is assumed; set SWIFT_TRAINER_SWIFT_VERSION"
        return "ok"

    @property
    def major(self) -> int:
        """3, 4, ..."""
        return int(self.version.split(".", 1)[0])


def options_of(types: Mapping[str, str]) -> dict[str, Option]:
    """Options by name, from the fields of ms-swift's argument class and their declared types."""
    return {
        name: Option(name, takes_many=_MANY.match(kind) is not None, type_name=kind) for name, kind in types.items()
    }


def table_for(version: str) -> Installed:
    """What is shipped of a version that can't be asked: the nearest known one of the same major.

    Raises `ValueError` for a major version of which nothing is known.
    """
    known = [name for name in KNOWN_VERSIONS if name.split(".")[0] == version.split(".")[0]]
    if not known:
        raise ValueError(
            f"nothing is known of ms-swift {version}; known are {', '.join(KNOWN_VERSIONS)} and their like"
        )
    return Installed(
        version=version,
        sft_options=options_of(_table(f"sft_{known[-1]}.tsv")),
        export_options=frozenset(_table(f"export_{known[-1]}.tsv")),
    )


def assumed() -> Installed:
    """What is taken for true of a command that can't be asked: the newest version that is known."""
    return replace(table_for(KNOWN_VERSIONS[-1]), assumed=True)


def _table(name: str) -> dict[str, str]:
    text = resources.files("daemon.swift").joinpath("tables", name).read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines() if line)
    return {row[0]: row[1] for row in rows}
