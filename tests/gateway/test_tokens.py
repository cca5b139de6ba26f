"""The tokens' file: what is in it, what is not, and what happens to it."""

import json
from pathlib import Path

import pytest

from daemon.gateway.tokens import Role, TokenError, TokenFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "tokens.json"


def test_a_token_is_shown_once_and_kept_as_a_hash(path: Path) -> None:
    file = TokenFile(path)
    assert file.tokens() == ()
    token = file.add("ci", "submit", "alice")
    assert token not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    found = TokenFile(path).find(token)
    assert found is not None
    assert (found.name, found.rank, found.owner) == ("ci", Role.SUBMIT, "alice")
    assert file.find(token[:-1]) is None
    assert file.find("") is None


def test_what_another_process_adds_or_removes_counts_at_once(path: Path) -> None:
    reader, writer = TokenFile(path), TokenFile(path)
    assert reader.tokens() == ()
    first, second = writer.add("a", "read", None), writer.add("b", "operate", None)
    assert reader.find(first) is not None
    writer.remove("a")
    assert reader.find(first) is None
    assert reader.find(second) is not None
    path.unlink()
    assert reader.find(second) is None


@pytest.mark.parametrize(
    ("name", "role", "owner", "said"),
    [
        ("ci", "read", None, "named ci already"),
        ("x", "admin", None, "role"),
        ("x", "submit", None, "needs an owner"),
        ("no spaces", "read", None, "name"),
    ],
)
def test_what_can_not_be_a_token_is_refused_and_changes_nothing(
    path: Path, name: str, role: str, owner: str | None, said: str
) -> None:
    file = TokenFile(path)
    file.add("ci", "read", None)
    before = path.read_bytes()
    with pytest.raises(TokenError, match=said):
        file.add(name, role, owner)
    assert path.read_bytes() == before


def test_removing_what_is_not_there_says_so(path: Path) -> None:
    with pytest.raises(TokenError, match="no token named x"):
        TokenFile(path).remove("x")


@pytest.mark.parametrize("text", ["{", "{}", json.dumps([{"name": "a", "role": "read", "sha256": "short"}])])
def test_a_file_that_can_not_be_understood_is_named(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(TokenError, match=r"tokens\.json"):
        TokenFile(path).tokens()
