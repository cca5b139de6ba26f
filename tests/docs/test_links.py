"""Every relative link and anchor in the documents leads somewhere."""

import re
from pathlib import Path

import pytest

from schemas.reference import anchor
from tests.e2e.harness import REPO

PLACES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/**/*.md", "deploy/**/*.md")
DOCUMENTS = sorted(
    path for place in PLACES for path in REPO.glob(place) if not {"node_modules", "secrets"} & set(path.parts)
)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:href|src)=\"([^\"]+)\"")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
ELSEWHERE = ("http://", "https://", "mailto:")


def links(text: str) -> list[str]:
    """The relative links of a document, without those in examples."""
    found = [first or second for first, second in LINK.findall(FENCE.sub("", text))]
    return [link for link in found if not link.startswith(ELSEWHERE)]


def anchors(path: Path) -> set[str]:
    """What can be linked to in a document."""
    heads: list[str] = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {anchor(head.replace("`", "")) for head in heads}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPO)))
def test_links_lead_somewhere(document: Path) -> None:
    for link in links(document.read_text()):
        name, _, place = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.is_relative_to(REPO), f"{link} leads out of the repository"
        assert target.exists(), f"{link} leads nowhere"
        assert not place or place in anchors(target), f"{link}: no such heading"


def test_a_broken_link_is_seen() -> None:
    assert links("[a](b.md#c) [d](https://e)\n```\n[f](g)\n```\n") == ["b.md#c"]
