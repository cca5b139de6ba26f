"""The older API's words for the contract's."""

import pytest

from daemon.gateway import words
from daemon.gateway.settings import is_loopback
from schemas.enums import TrainingStatus
from schemas.events import Device


def test_every_status_has_an_old_word_and_every_old_word_finds_its_statuses() -> None:
    assert set(words.OLD) == set(TrainingStatus)
    assert set(words.OLD.values()) == {"pending", "running", "completed", "failed", "cancelled"}
    for old in set(words.OLD.values()):
        assert words.statuses([old]) == [status.value for status, word in words.OLD.items() if word == old]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ([], []),
        (["queued"], ["queued"]),
        (["pending", "queued"], ["pending", "queued", "starting"]),
        (["stopping", "failed"], ["stopping", "failed"]),
        (["nonsense"], ["nonsense"]),  # the daemon says what is wrong with it
    ],
)
def test_statuses_that_are_asked_for(asked: list[str], found: list[str]) -> None:
    assert words.statuses(asked) == found


def test_a_document_says_both_words() -> None:
    assert words.document({"status": "stopping", "id": "x"}) == {"status": "running", "state": "stopping", "id": "x"}


def test_a_device_has_the_old_names_too() -> None:
    found = words.device(Device(node_id="n", index=3, name="GPU", memory_total_mib=80.0).model_dump(mode="json"))
    assert (found["id"], found["memory_total"], found["status"], found["available"]) == (3, 80.0, "free", True)


@pytest.mark.parametrize(
    ("host", "is_it"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("::", False),  # noqa: S104
     ("10.0.0.1", False), ("evil.example", False), ("localhost.evil.example", False), ("", False)],
)  # fmt: skip
def test_what_only_this_machine_reaches(host: str, is_it: bool) -> None:
    assert is_loopback(host) is is_it
