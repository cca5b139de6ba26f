"""A create request from a file: YAML (JSON is YAML) and `--set name=value`; and where in the file a fault is.

YAML as its core schema reads it, not as PyYAML does by itself: `1e-4` is a number, `no` and a date are texts.
"""

import difflib
import json
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import yaml
from pydantic import ValidationError

from daemon.client import RefusedError
from schemas.enums import ReplyErrorCode
from schemas.kinds import CREATE_REQUEST, LLMTrainingJobCreateRequest, VLMTrainingJobCreateRequest
from schemas.replies import Fault, Loc, faults_of, first_of

SHORT_NAMES = {"lr": "learning_rate"}
UNKNOWN_FIELD = "is not a field here"
"""As the daemon words it."""
FIELDS: dict[object, list[str]] = {
    "llm": list(LLMTrainingJobCreateRequest.model_fields),
    "vlm": list(VLMTrainingJobCreateRequest.model_fields),
}
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
                raise yaml.constructor.ConstructorError(
                    None, None, f"{name} stands here twice", node.value[position][0].start_mark
                )
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


@dataclass(frozen=True)
class JobFile:
    """A request, and the lines (1 is the first) that its parts stand in; what `--set` gave stands in none."""

    request: Body
    lines: Mapping[Loc, int]

    def line_of(self, loc: Loc) -> int | None:
        """The line of a part, or of the nearest part around it."""
        while loc:
            if loc in self.lines:
                return self.lines[loc]
            loc = loc[:-1]
        return None

    def said_of(self, fault: Fault) -> str:
        """What is wrong with a part, with the name that was probably meant."""
        said = f"{'.'.join(map(str, fault.loc))}: {fault.message}"
        if fault.message != UNKNOWN_FIELD or len(fault.loc) != 1:
            return said
        known = FIELDS.get(self.request.get("training_type"), [])
        meant = difflib.get_close_matches(str(fault.loc[0]), known, 1)
        return f"{said}; did you mean {meant[0]}?" if meant else said


def check(request: Mapping[str, object]) -> None:
    """Raises `RefusedError` as the daemon would, where the models refuse a request: so it is not sent in vain.

    What only the daemon knows (paths, ms-swift's options, quotas) it says itself.
    """
    try:
        CREATE_REQUEST.validate_json(json.dumps(request))
    except ValidationError as error:
        faults = faults_of(error, skip=1 if request.get("training_type") in FIELDS else 0)
        raise RefusedError(ReplyErrorCode.INVALID_REQUEST, first_of(faults), faults) from None


def read_job(text: str, settings: Iterable[str] = ()) -> JobFile:
    """The request that a file's text describes, with the settings applied. Raises `JobFileError`."""
    found = _loaded(text, "the file")
    if not isinstance(found, dict):
        raise JobFileError("the file must hold one object: names with values")
    body = cast("dict[object, object]", found)
    request: Body = {str(name): value for name, value in body.items()}
    tree = cast("yaml.Node", yaml.compose(text, Loader=_Loader))  # pyright: ignore[reportUnknownMemberType]
    lines = dict(_lines(tree))
    for setting in settings:
        place = _set(request, setting)
        lines = {loc: line for loc, line in lines.items() if loc[: len(place)] != place}
    try:
        json.dumps(request)
    except (ValueError, RecursionError):
        raise JobFileError("the file holds something that contains itself") from None
    return JobFile(request, lines)


def _lines(node: yaml.Node, above: Loc = (), around: tuple[yaml.Node, ...] = ()) -> Iterator[tuple[Loc, int]]:
    """Each part below a node with its line; what contains itself is told once."""
    if node in around:
        return
    if isinstance(node, yaml.MappingNode):
        parts = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        parts = [(number, value, value) for number, value in enumerate(node.value)]
    else:
        return
    for name, start, value in parts:
        yield (*above, name), start.start_mark.line + 1
        yield from _lines(value, (*above, name), (*around, node))


def _set(request: Body, setting: str) -> Loc:
    """Apply `name=value`; the part that it set."""
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
    return (*above, last)


def _loaded(text: str, where: str) -> object:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with fewer types
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise JobFileError(f"{where} is neither YAML nor JSON: {_why(error)}") from None


def _why(error: Exception) -> str:
    """What a parser says, in one line: where, then what."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark, problem = error.problem_mark, " ".join(filter(None, (error.problem, error.context)))
        return f"line {mark.line + 1}, column {mark.column + 1}: {' '.join(problem.split())}"
    return "it is nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
