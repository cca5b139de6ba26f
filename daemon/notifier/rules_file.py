"""Reading the rules file: YAML with one meaning, and errors that say file, line and path.

YAML as its core schema reads it: `no` is a text, and only `true` and `false` are truth values.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from daemon.notifier.rules import Rules
from daemon.notifier.targets import Destination, Knows, Place, TargetError, destinations

MOST_BYTES = 1024 * 1024
MOST_NODES = 20_000
"""With aliases a few lines of YAML can stand for billions."""

_BOOLEAN = {"true": True, "false": False}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{1,18}")


class RulesError(Exception):
    """What is wrong with a rules file, one line a fault."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A rules file that can be used."""

    rules: Rules
    destinations: Mapping[str, Destination]
    """By key."""


class _Tree:
    """The plain values of a YAML document, and the line of each place in it."""

    def __init__(self) -> None:
        self.lines: dict[Place, int] = {}

    def value(self, node: yaml.Node, place: Place = ()) -> object:
        self.lines[place] = node.start_mark.line + 1
        if len(self.lines) > MOST_NODES:
            raise RulesError(f"more than {MOST_NODES} values")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, number)) for number, item in enumerate(node.value)]
        text = str(node.value)
        return text if isinstance(node, yaml.ScalarNode) and node.style is not None else _plain(text)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, item in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if not isinstance(name, str):
                raise RulesError(f"line {key.start_mark.line + 1}: a name must be a text")
            if name in found:
                raise RulesError(f"line {key.start_mark.line + 1}: {name} stands here twice")
            found[name] = self.value(item, (*place, name))
        return found

    def line(self, place: Place) -> int:
        """The line of a place, or of what it is missing in."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def _plain(text: str) -> object:
    """A scalar without quotes."""
    if text in {"", "~", "null"}:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def load(path: Path, environ: Mapping[str, str], knows: Knows) -> Loaded:
    """The rules of a file, with their targets. Raises `RulesError`."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise RulesError(f"{path}: can't be read: {error.strerror}") from None
    if len(raw) > MOST_BYTES:
        raise RulesError(f"{path}: larger than {MOST_BYTES} bytes")
    try:
        return parse(raw.decode(), environ, knows)
    except UnicodeDecodeError:
        raise RulesError(f"{path}: not UTF-8 text") from None
    except RulesError as error:
        raise RulesError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None


def parse(text: str, environ: Mapping[str, str], knows: Knows) -> Loaded:
    """The rules in a text, with their targets. Raises `RulesError`; no line of it repeats a value of the file."""
    tree = _Tree()
    try:
        node = yaml.SafeLoader(text).get_single_node()
        value = tree.value(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise RulesError(f"line {line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise RulesError(f"not YAML: {type(error).__name__}") from None
    try:
        rules = Rules.model_validate(value)
        return Loaded(rules, destinations(rules, environ, knows))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        raise RulesError("\n".join(_fault(tree, fault["loc"], fault["msg"]) for fault in faults[:20])) from None
    except TargetError as error:
        raise RulesError(_fault(tree, error.place, str(error))) from None


def _fault(tree: _Tree, place: Place, message: str) -> str:
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    return f"line {tree.line(place)}: {shown or 'the file'}: {message.removeprefix('Value error, ')}"
