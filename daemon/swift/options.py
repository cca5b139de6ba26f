"""The check of `extra_args` against the installed ms-swift's own options, before anything is spawned.

ms-swift takes 8 s to refuse an argument, and accepts abbreviations in silence; here the names are exact and the answer
comes with the request.
"""

import difflib
import json
import math
import re

from daemon.swift.argv import looks_like_option, render, tuner_option
from daemon.swift.installed import Installed, Option
from daemon.swift.option_rules import (
    FIELD_OF,
    HUB_KERNELS,
    NAMES_PATHS,
    REFUSED,
    REFUSED_CALLBACKS,
    RUNS_CODE,
    SETS_ENVIRONMENT,
    VISION_FIELDS,
)
from schemas.kinds import ExtraValue, Scalar, TrainingFields
from schemas.kinds.common import ENV_ALLOWED

_LITERAL = re.compile(r"(?:typing\.)?(?:Optional\[)?(?:typing\.)?Literal\[([^\[\]]*)\]\]?")
_CHOICE = re.compile(r"'([^']*)'|(-?\d+(?:\.\d+)?)")
_KIND = re.compile(r"\b(bool|int|float|str|dict|Path)\b")
_INT = re.compile(r"-?[0-9]{1,18}")
_BOOL = frozenset({"true", "false", "yes", "no", "y", "n", "t", "f", "1", "0"})
_ALLOW = "the operator has to allow it (SWIFT_TRAINER_ALLOW_EXTERNAL_PLUGINS)"
Fault = tuple[str, str]


def check_extra_args(
    request: TrainingFields, installed: Installed, *, allow_external_plugins: bool = False, confined: bool = False
) -> list[Fault]:
    """(option, what is wrong) for every entry that this version of ms-swift or this daemon does not take.

    `confined`: the operator has set allowed roots, so an option that names further paths can't be let through.
    """
    vision = {name: name for name in VISION_FIELDS if name in type(request).model_fields}
    taken = {**vision, **FIELD_OF}
    faults: list[Fault] = []
    for name, value in request.extra_args.items():
        message = (
            (None if allow_external_plugins else needs_leave(name, value))
            or _not_to_be_set(name, taken, confined=confined)
            or _unknown(name, installed)
            or _forbidden_value(name, value)
            or _wrong_value(installed.sft_options[name], value)
        )
        if message is not None:
            faults.append((name, message))
    return faults


def needs_leave(name: str, value: ExtraValue) -> str | None:
    """Why an operator has to allow an option, because it has code run that comes with the request; None: no need."""
    if name in RUNS_CODE:
        return f"{RUNS_CODE[name]}; {_ALLOW}"
    items = value if isinstance(value, list) else [value]
    if name in HUB_KERNELS and any("/" in str(item) for item in items):
        return f"a repository's kernel is code that is fetched and run; {_ALLOW}"
    return None


def _not_to_be_set(name: str, taken: dict[str, str], *, confined: bool) -> str | None:
    if name in taken:
        return f"is set by the field {taken[name]!r}; use that"
    if name in REFUSED:
        return f"can't be set by a request: {REFUSED[name]}"
    if name in NAMES_PATHS and confined:
        return f"{NAMES_PATHS[name]}"
    return None


def _unknown(name: str, installed: Installed) -> str | None:
    if name in installed.sft_options:
        return None
    close = difflib.get_close_matches(name, [*installed.sft_options, tuner_option(installed)], n=3)
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    assumed = " (assumed, because it can't be asked)" if installed.assumed else ""
    return f"ms-swift {installed.version}{assumed} has no such option{hint}"


def _forbidden_value(name: str, value: ExtraValue) -> str | None:
    """Values that this daemon does not let through, though the option and its type are right."""
    items = value if isinstance(value, list) else [value]
    if isinstance(value, list) and any(looks_like_option(render(item)) for item in value):
        return "a list's values must not begin with '-', because ms-swift would read them as options"
    if name == "callbacks":
        names = [word for item in items for word in str(item).split()]
        refused = next((word for word in names if word in REFUSED_CALLBACKS), None)
        return None if refused is None else f"{refused!r} can't be set by a request: {REFUSED_CALLBACKS[refused]}"
    return _wrong_environment(value) if name == SETS_ENVIRONMENT else None


def _wrong_environment(value: ExtraValue) -> str | None:
    """`model_kwargs` are environment variables, so what holds for the request's `env` holds for them."""
    found = _json_object(value) if isinstance(value, str) else None
    if found is None:
        return 'must be a JSON object as text, such as {"max_pixels": 1003520}'
    for name in found:
        if not ENV_ALLOWED.fullmatch(name.upper()):
            return f"{name[:80]!r} would set an environment variable that a request may not set"
    return None


def _json_object(text: str) -> dict[str, object] | None:
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _wrong_value(option: Option, value: ExtraValue) -> str | None:
    """What is wrong with a value for what the option declares; None where it may pass."""
    if isinstance(value, list):
        if not option.takes_many:
            return f"takes one value ({option.type_name}), not a list"
        if not value:
            return "must not be an empty list"
    items = value if isinstance(value, list) else [value]
    return next((fault for item in items if (fault := _wrong_item(option.type_name, item)) is not None), None)


def _wrong_item(declared: str, value: Scalar) -> str | None:
    text = render(value)
    literal = _LITERAL.fullmatch(declared)
    if literal is not None:
        choices = [quoted or number for quoted, number in _CHOICE.findall(literal[1])]
        return None if text in choices else f"must be one of {', '.join(choices)}"
    kinds = set(_KIND.findall(declared))
    if text.startswith("{") and "dict" in kinds:
        return None if _json_object(text) is not None else "is no JSON object"
    fits = {
        "str": True,
        "Path": isinstance(value, str),
        "dict": isinstance(value, str),  # the path of a JSON file
        "bool": text.lower() in _BOOL,
        "float": _is_number(text),
        "int": _INT.fullmatch(text) is not None,
    }
    return None if not kinds or any(fits[kind] for kind in kinds) else f"must be {' or '.join(sorted(kinds))}"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
