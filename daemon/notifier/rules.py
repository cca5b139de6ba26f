"""The rules file as models: who is told of what, where, and in which words. `rules_file` reads it.

Texts that may hold secrets (addresses, signing secrets, headers) are kept as they are written, with `${NAME}` for what
comes from the environment; `targets` resolves them.
"""

import re
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, StringConstraints, model_validator
from pydantic.functional_validators import AfterValidator

from daemon.notifier.wording import Language, template_faults
from schemas.enums import ErrorCode, ExportStatus, NodeState, TrainingStatus, TrainingType

DURATION = re.compile(r"(\d{1,5})(s|m|h)")
UNIT_S = {"s": 1, "m": 60, "h": 3600}
LONGEST_BREAK_S = 24 * 3600
OWN_HEADERS = re.compile(r"(?i)(webhook-.*|content-.*|host|transfer-encoding|connection|user-agent)")
"""Headers that the notifier sets itself."""
HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"

T = TypeVar("T")


def _listed(value: object) -> object:
    return value if isinstance(value, (list, tuple)) else (value,)  # pyright: ignore[reportUnknownVariableType]


def _seconds(value: object) -> float:
    found = DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("give a number with s, m or h behind it, as 10m")
    seconds = int(found[1]) * UNIT_S[found[2]]
    if not 0 < seconds <= LONGEST_BREAK_S:
        raise ValueError("must be above 0 and at most 24h")
    return float(seconds)


def _template(text: str) -> str:
    if faults := template_faults(text):
        raise ValueError("; ".join(faults))
    return text


Several = Annotated[tuple[T, ...], BeforeValidator(_listed), Field(min_length=1, max_length=100)]
"""One value or a list of them: any of them will do."""
Glob = Annotated[str, StringConstraints(min_length=1, max_length=256)]
"""`*` is any characters, `?` is one, `[ab]` one of these; capitals matter."""
Template = Annotated[str, StringConstraints(min_length=1, max_length=4000), AfterValidator(_template)]
Written = Annotated[SecretStr, Field(min_length=1, max_length=4000)]


class Part(BaseModel):
    """Base of all parts of the file: a name that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class When(Part):
    """Which events a rule is for: each condition that is given has to hold."""

    status: Several[TrainingStatus] | None = None
    """A job came to one of these."""
    export_status: Several[ExportStatus] | None = None
    """A job's export came to one of these."""
    node_state: Several[NodeState] | None = None
    """A node came to one of these."""
    owner: Several[Glob] | None = None
    labels: Annotated[dict[str, Several[Glob]], Field(max_length=50)] | None = None
    """Each label that is named is there, with a value like one of these."""
    training_type: Several[TrainingType] | None = None
    error_code: Several[ErrorCode] | None = None
    """A job failed with one of these."""

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        kinds = [name for name in ("status", "export_status", "node_state") if getattr(self, name) is not None]
        if len(kinds) > 1:
            raise ValueError(f"{' and '.join(kinds)} are told by different events; write a rule for each")
        of_jobs = [name for name in ("owner", "labels", "training_type") if getattr(self, name) is not None]
        if self.node_state is not None and (of_jobs or self.error_code is not None):
            raise ValueError(f"a node has no {', '.join(of_jobs) or 'error_code'}; this can never hold")
        if self.error_code is not None and (kinds not in ([], ["status"])):
            raise ValueError(f"error_code goes with status: failed, not with {kinds[0]}; this can never hold")
        if self.error_code is not None and self.status is not None and TrainingStatus.FAILED not in self.status:
            raise ValueError("only a failed job has an error_code; add failed to status, or leave status out")
        return self


class Webhook(Part):
    """A signed POST of the event."""

    url: Written
    secret: Annotated[tuple[Written, ...], BeforeValidator(_listed), Field(min_length=1, max_length=4)]
    """`whsec_` and base64 of 24 to 64 bytes; a list while it is changed: each signs."""
    timeout_s: Annotated[float, Field(gt=0, le=60, strict=True)] = 10.0
    """For connecting and for the answer each."""
    headers: Annotated[dict[Annotated[str, StringConstraints(pattern=HEADER_NAME)], Written], Field(max_length=20)] = {}

    @model_validator(mode="after")
    def _leaves_our_headers(self) -> Self:
        if ours := [name for name in self.headers if OWN_HEADERS.fullmatch(name)]:
            raise ValueError(f"the header {ours[0]} is the notifier's own")
        return self


class Target(Part):
    """Where a rule tells: exactly one of the two."""

    apprise: Written | None = None
    """A URL as Apprise has it, `slack://...`."""
    webhook: Webhook | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.apprise is None) == (self.webhook is None):
            raise ValueError("give either apprise or webhook")
        return self


class Rule(Part):
    """Who is told of what."""

    name: Annotated[str, StringConstraints(pattern=r"^[\w .:/-]{1,64}$")]
    when: When
    to: Annotated[tuple[Target, ...], BeforeValidator(_listed), Field(min_length=1, max_length=20)]
    title: Template | None = None
    """First line of a message; {names} in it are replaced."""
    body: Template | None = None
    language: Language | None = None
    """Of the words where title and body are not given."""
    not_more_often_than: Annotated[float, BeforeValidator(_seconds)] | None = None
    """Least time between two messages about the same job (or node), in seconds; `10m` in the file."""


class Rules(Part):
    """The whole file."""

    language: Language = "en"
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=200)]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [rule.name for rule in self.rules]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two rules are called {min(twice)!r}")
        return self


Kind = Literal["apprise", "webhook"]
