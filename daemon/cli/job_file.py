"""A create request from a file: YAML (JSON is YAML) and `--set name=value`.

YAML as its core schema reads it, not as PyYAML does by itself: `1e-4` is a number, `no` and a date are texts.
"""

import re
from collections.abc import Hashable, Iterable
from typing import cast

import yaml

SHORT_NAMES = {"lr": "learning_rate"}
Body = dict[str, object]


class JobFileError(Exception):
    """What is wrong with a job's file or a setting, for a person."""


class _Loader(yaml.SafeLoader):
    """Safe, with the scalars of YAML's core schema, and no name twice."""

    yaml_implicit_resolvers = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        names: list[object] = [key.value for key, _ in node.value]
        for position, name in enumerate(names):
            if name != "<<" and name in names[:position]:
                raise yaml.constructor.ConstructorError(None, None, f"{name} stands here twice", node.start_mark)
        return cast("dict[Hashable, object]", super().construct_mapping(node, deep=deep))


for _tag, _form in (
    ("null", r"~|null|Null|NULL|"),
    ("bool", r"true|True|TRUE|false|False|FALSE"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"),
    ("merge", r"<<"),
):
    _Loader.add_implicit_resolver(  # pyright: ignore[reportUnknownMemberType]
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_form})$"), None
    )


def read_request(text: str, settings: Iterable[str] = ()) -> Body:
    """The request that a file's text describes, with the settings applied. Raises `JobFileError`."""
    found = _loaded(text, "the file")
    if not isinstance(found, dict):
        raise JobFileError("the file must hold one object: names with values")
    body = cast("dict[object, object]", found)
    request: Body = {str(name): value for name, value in body.items()}
    for setting in settings:
        _set(request, setting)
    return request


def _set(request: Body, setting: str) -> None:
    name, equals, text = setting.partition("=")
    if not equals or not all(name.split(".")):
        raise JobFileError(f"--set {setting}: give name=value, as --set lr=2e-4 or --set labels.team=vision")
    *above, last = SHORT_NAMES.get(name, name).split(".")
    place = request
    for part in above:
        below = place.setdefault(part, {})
        if not isinstance(below, dict):
            raise JobFileError(f"--set {setting}: {part} has a value of its own, nothing goes below it")
        place = cast("Body", below)
    place[last] = _loaded(text, f"--set {name}")


def _loaded(text: str, where: str) -> object:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with fewer types
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise JobFileError(f"{where} is neither YAML nor JSON: {' '.join(str(error).split())}") from None
