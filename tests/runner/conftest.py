"""A place for each test, which leaves no process behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runner.harness import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Where a test's runs live."""
    found = Place(tmp_path)
    yield found
    left = found.end_all()
    assert not left, f"processes were left behind: {left}"
