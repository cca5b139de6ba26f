"""Each test has a world of its own."""

import pytest

from tests.loops.rig import World


@pytest.fixture
def world() -> World:
    return World()
