"""The reference pages are those of the models and settings."""

import re

import pytest

from daemon.settings import PREFIX, Settings
from deploy.settings_page import render
from schemas.commands import COMMANDS
from schemas.events import EVENTS
from schemas.kinds import LLMTrainingJobCreateRequest, VLMTrainingJobCreateRequest
from schemas.reference import FOLDER, reference, table

PAGES = reference()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name], "run: make generate"


def test_the_settings_page_is_up_to_date() -> None:
    page = (FOLDER / "settings.md").read_text()
    assert page == render(), "run: make generate"
    for name in Settings.model_fields:
        assert f"`{PREFIX}{name.upper()}`" in page


def test_each_command_event_and_field_is_there() -> None:
    for name in COMMANDS:
        assert f"\n## {name}\n" in PAGES["commands.md"]
    for name in EVENTS:
        assert f"\n## {name}\n" in PAGES["events.md"]
    for model in (LLMTrainingJobCreateRequest, VLMTrainingJobCreateRequest):
        for name in model.model_fields:
            assert f"| `{name}` |" in PAGES["create.md"]


@pytest.mark.parametrize("name", PAGES)
def test_every_row_has_as_many_cells_as_its_head(name: str) -> None:
    cells = 0
    for line in PAGES[name].splitlines():
        found = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert found == 0 or cells in (0, found), line
        cells = found


def test_what_would_end_a_cell_is_escaped() -> None:
    assert table(("a",), [("x | y\nz",)]) == "| a |\n| --- |\n| x \\| y z |\n"
