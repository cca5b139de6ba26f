"""Which rules an event is for. Pure."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from daemon.notifier.events import Facts
from daemon.notifier.rules import Rule, Rules, When


def matches(when: When, facts: Facts) -> bool:
    """Whether each condition that is given holds; what the event does not have, no condition on it holds for."""
    return (
        _one_of(when.status, facts.status)
        and _one_of(when.export_status, facts.export_status)
        and _one_of(when.node_state, facts.node_state)
        and _one_of(when.training_type, facts.training_type)
        and _one_of(when.error_code, facts.error_code)
        and _like(when.owner, facts.owner)
        and _labelled(when.labels, facts.labels)
    )


def matching(rules: Rules, facts: Facts) -> list[Rule]:
    """The rules that an event is for, in the order of the file."""
    return [rule for rule in rules.rules if matches(rule.when, facts)]


def _one_of(wanted: Iterable[object] | None, value: object) -> bool:
    return wanted is None or value in wanted


def _like(globs: Iterable[str] | None, value: str | None) -> bool:
    return globs is None or (value is not None and any(fnmatchcase(value, glob) for glob in globs))


def _labelled(wanted: Mapping[str, Iterable[str]] | None, labels: Mapping[str, str]) -> bool:
    return wanted is None or all(_like(globs, labels.get(name)) for name, globs in wanted.items())
