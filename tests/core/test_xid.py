"""Xid errors: the hardware's take a device out, the application's do not."""

import pytest

from daemon.core.xid import HARDWARE, evidence_of


@pytest.mark.parametrize("number", [13, 31, 32, 43, 45, 63, 68, 69, 92, 94, 137, 144, 154, 9999])
def test_an_error_of_the_application_or_for_the_record_says_nothing_against_a_device(number: int) -> None:
    assert evidence_of(number) is None


@pytest.mark.parametrize("number", [48, 62, 64, 74, 79, 95, 119, 120, 140])
def test_an_error_of_the_hardware_is_evidence_in_words(number: int) -> None:
    assert evidence_of(number) == f"Xid {number}, {HARDWARE[number]}"
