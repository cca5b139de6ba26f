"""What follows an attempt."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.notifier.retries import (
    LONGEST_PAUSE_S,
    LONGEST_RETRY_AFTER_S,
    MOST_ATTEMPTS,
    Failed,
    Told,
    of_status,
    pause_s,
    seconds_of,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ANY_FAILURE = Failed("HTTP 500")


def test_eight_attempts_take_about_an_hour() -> None:
    pauses = [pause_s(attempts, ANY_FAILURE, 0.5) for attempts in range(1, MOST_ATTEMPTS)]
    assert pauses == [5, 15, 45, 135, 405, 1215, 1800]
    assert pause_s(MOST_ATTEMPTS, ANY_FAILURE, 0.5) is None


@settings(deadline=None)
@given(st.integers(1, MOST_ATTEMPTS - 1), st.floats(0, 1), st.floats(0, LONGEST_RETRY_AFTER_S) | st.none())
def test_a_pause_is_bounded_jittered_and_not_shorter_than_asked_for(
    attempts: int, chance: float, retry_after: float | None
) -> None:
    pause = pause_s(attempts, Failed("HTTP 429", retry_after_s=retry_after), chance)
    assert pause is not None
    assert (retry_after or 4.0) <= pause <= max(LONGEST_PAUSE_S * 1.2, retry_after or 0)
    assert pause_s(attempts, Failed("no", final=True), chance) is None


@pytest.mark.parametrize("status", [200, 202, 204])
def test_told(status: int) -> None:
    assert of_status(status, None, NOW) == Told()


@pytest.mark.parametrize(
    ("status", "final"),
    [(408, False), (425, False), (429, False), (500, False), (503, False), (599, False),
     (301, True), (307, True), (400, True), (401, True), (404, True), (410, True), (422, True)],
)  # fmt: skip
def test_what_another_attempt_could_mend_is_tried_again(status: int, final: bool) -> None:
    found = of_status(status, None, NOW)
    assert isinstance(found, Failed)
    assert found.final is final
    assert str(status) in found.reason


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("999999999999999", LONGEST_RETRY_AFTER_S),
        (format_datetime(datetime(2030, 1, 1, 0, 2, tzinfo=UTC), usegmt=True), 120.0),
        (format_datetime(datetime(2031, 1, 1, tzinfo=UTC), usegmt=True), LONGEST_RETRY_AFTER_S),
        (format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True), 0.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert seconds_of(header, NOW) == seconds


@settings(deadline=None)
@given(st.text(max_size=40))
def test_a_strange_retry_after_harms_nobody(header: str) -> None:
    found = seconds_of(header, NOW)
    assert found is None or 0 <= found <= LONGEST_RETRY_AFTER_S
