"""Plain data as YAML text, for the generated AsyncAPI document alone; a dependency on a YAML library is not worth it.

What it writes is small: block mappings and lists, and scalars as JSON writes them, unquoted where no YAML version could
take the text for anything but text. Keys keep their order, so equal data gives equal text.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias, cast

Value: TypeAlias = "Mapping[str, Value] | list[Value] | tuple[Value, ...] | str | float | bool | None"

_PLAIN = re.compile(r"[A-Za-z_/$][A-Za-z0-9_./$-]*( [A-Za-z0-9_./$(-][A-Za-z0-9_./$()-]*)*")
_UNSEEN = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff]")
_NOT_TEXT = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def to_yaml(document: Mapping[str, object]) -> str:
    """The document as YAML, ending with a line break."""
    return "\n".join(_mapping(cast("Mapping[str, Value]", document), 0)) + "\n"


def _mapping(values: Mapping[str, Value], depth: int) -> Iterator[str]:
    for key, value in values.items():
        yield from _entry(f"{'  ' * depth}{_text(key)}:", value, depth)


def _sequence(values: "list[Value] | tuple[Value, ...]", depth: int) -> Iterator[str]:
    for value in values:
        lead = f"{'  ' * depth}-"
        if isinstance(value, Mapping) and value:
            first, *rest = _mapping(value, depth + 1)
            yield f"{lead} {first.lstrip()}"
            yield from rest
        else:
            yield from _entry(lead, value, depth)


def _entry(lead: str, value: Value, depth: int) -> Iterator[str]:
    """A key or a dash, and what belongs to it: below, or on the same line."""
    if isinstance(value, Mapping):
        yield lead if value else f"{lead} {{}}"
        yield from _mapping(value, depth + 1)
    elif isinstance(value, list | tuple):
        yield lead if value else f"{lead} []"
        yield from _sequence(value, depth + 1)
    else:
        yield f"{lead} {_scalar(value)}"


def _scalar(value: str | float | bool | None) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and "e" in repr(value) and "." not in repr(value):
        return repr(value).replace("e", ".0e")  # YAML 1.1 takes 1e-05 for text
    return json.dumps(value, allow_nan=False)


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)  # YAML takes some of these for line breaks
