"""How far two clocks are apart."""

from datetime import timedelta

import pytest

from daemon.core.clocks import LONGEST_WAY_S, apart_s, behind_s
from tests.core.factory import NOW


def later(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


@pytest.mark.parametrize("way_s", [0.0, 0.2, LONGEST_WAY_S])
def test_half_of_the_way_there_and_back_is_taken_off(way_s: float) -> None:
    """A clock 7 s behind that is read in the middle of the way."""
    there = NOW + later(way_s / 2 - 7)
    assert behind_s(NOW, there, NOW + later(way_s)) == pytest.approx(7)


def test_at_most_half_of_the_way_is_wrong() -> None:
    for read_at_s in (0.0, LONGEST_WAY_S):
        found = behind_s(NOW, NOW + later(read_at_s), NOW + later(LONGEST_WAY_S))
        assert found is not None
        assert abs(found) == pytest.approx(LONGEST_WAY_S / 2)


@pytest.mark.parametrize("way_s", [LONGEST_WAY_S + 0.1, 60.0, -0.1])
def test_an_answer_that_took_too_long_or_a_clock_that_was_set_meanwhile_tells_nothing(way_s: float) -> None:
    assert behind_s(NOW, NOW, NOW + later(way_s)) is None


def test_two_clocks_are_apart_by_the_difference_of_what_is_known_of_both() -> None:
    assert apart_s(3.0, 3.0) == 0
    assert apart_s(1.0, -2.0) == 3, "ours is 1 s ahead of the store's, theirs 2 s behind it"
    assert apart_s(None, 3.0) is apart_s(3.0, None) is None
