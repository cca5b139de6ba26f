"""The two model bases: what strangers send is strict, what this project writes is lenient to read.

`Request` refuses unknown fields and does not coerce (a number in quotes is not a number). `Wire` ignores fields it does
not know, so that an older reader survives a newer writer.

A training can log NaN, and the store keeps it; JSON has no NaN, so there it is null (`Measure`) or left out
(`Measures`).
"""

import math
import re
from collections.abc import Iterable
from typing import Annotated, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
JOB_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
MAX_WORD = 4096
WORD_PATTERN = r"^[^\s\x00-\x1f\x7f-]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"
"""What `Word` takes, for the JSON Schemas; here `_plain_word` says which rule was broken."""


class Request(BaseModel):
    """Base of everything that a stranger sends."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        str_max_length=65_536,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )


class Wire(BaseModel):
    """Base of everything that this project writes: replies, events, documents."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
        ser_json_inf_nan="null",  # pydantic's default, said aloud: no JSON of this project has a bare NaN
    )


def refuse_below(title: str, faults: Iterable[tuple[str, str, object]]) -> NoReturn:
    """For a validator: one fault for each (name below it, what is wrong, what was sent there).

    A `ValueError` makes one fault at the validator's own place, with all that was sent there as its input.
    """
    raise ValidationError.from_exception_data(
        title,
        [
            InitErrorDetails(
                type=PydanticCustomError("value_error", "{said}", {"said": said}), loc=(name,), input=given
            )
            for name, said, given in faults
        ],
    )


def _without_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain a NUL character")
    return value


def _plain_word(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("must not contain control characters or line breaks")
    if value.startswith("-"):
        raise ValueError("must not begin with '-', because ms-swift would read it as an option")
    if value != value.strip():
        raise ValueError("must not begin or end with white space")
    return value


Text = Annotated[str, AfterValidator(_without_nul)]
"""Free text for an argument vector: anything but NUL, at most 65,536 characters."""

Word = Annotated[
    str,
    Field(min_length=1, max_length=MAX_WORD),
    AfterValidator(_plain_word),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_WORD, "pattern": WORD_PATTERN}),
]
"""A path, a hub id or a name: one line, never to be mistaken for an option, at most 4,096 characters."""

JobId = Annotated[str, Field(pattern=JOB_ID_PATTERN)]
"""A job's id: letters, digits, `-` and `_`, at most 64; safe as a routing key word and as a file name."""


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _finite_ones(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


Measure = Annotated[float, PlainSerializer(_finite, return_type=float | None, when_used="json-unless-none")]
"""A measured number; one that is no number (NaN, infinite) is null in JSON, and stays as it is elsewhere."""

Measures = Annotated[dict[str, float], PlainSerializer(_finite_ones, when_used="json")]
"""Measured numbers by name; those that are no numbers are left out of JSON, so that what is there can be read again."""
