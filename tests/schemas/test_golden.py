"""Golden files: the bytes of events as they were once published. They must decode for as long as there is a version 1.

A file here is never changed; a new form of an event gets a new file beside the old ones.
"""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from schemas.events import EVENTS, CloudEvent

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.json"))


def test_every_version_of_every_event_has_golden_files() -> None:
    kinds = {json.loads(path.read_bytes())["type"] for path in GOLDEN}
    assert kinds == EVENTS.keys()
    assert {path.name for path in GOLDEN} >= {f"{kind}{tag}.json" for kind in EVENTS for tag in ("", ".minimal")}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_old_bytes_decode_and_keep_their_values(path: Path) -> None:
    raw = path.read_bytes()
    written: dict[str, Any] = json.loads(raw)
    event = CloudEvent.model_validate_json(raw)
    data = EVENTS[event.type].data.model_validate(event.data)
    assert event.model_dump(mode="json") | written == event.model_dump(mode="json")
    assert_within(written["data"], data.model_dump(mode="json"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_fields_of_a_later_writer_are_ignored(path: Path) -> None:
    written: dict[str, Any] = json.loads(path.read_bytes())
    later = with_more(written)
    event = CloudEvent.model_validate_json(json.dumps(later))
    data = EVENTS[event.type].data.model_validate(event.data)
    assert data == EVENTS[event.type].data.model_validate(written["data"])
    assert "of_a_later_version" not in data.model_dump()


def with_more(value: Any) -> Any:
    """The same with an unknown field in every object that has fields of ours (labels and evaluations have none)."""
    if isinstance(value, list):
        return [with_more(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    fields = cast("dict[str, Any]", value)
    more = {key: item if key in ("labels", "eval") else with_more(item) for key, item in fields.items()}
    return {**more, "of_a_later_version": {"x": [1]}}


def assert_within(old: Any, new: Any) -> None:
    """All that is in `old` is in `new`, at any depth."""
    if isinstance(old, dict):
        for key, value in cast("dict[str, Any]", old).items():
            assert_within(value, new[key])
    elif isinstance(old, list):
        for before, after in zip(cast("list[Any]", old), new, strict=True):
            assert_within(before, after)
    else:
        assert old == new
