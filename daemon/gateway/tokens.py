"""The tokens: who may do what. A file holds their SHA-256 hashes, never the tokens.

A token has 256 random bits, so there is nothing to guess, and no slow password hash is needed: whoever has the file
can't go back from a hash to a token. The hash finds the token in a table, so no comparison tells by its time how much
of a guess was right.
"""

import hashlib
import json
import os
import secrets
import tempfile
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

PREFIX = "swt_"
RANDOM_BYTES = 32
MODE = 0o600


class TokenError(Exception):
    """The file, or what is asked of it, is wrong; the message says what to do."""


class Role(IntEnum):
    """What a token allows; each role has what the ones before it have."""

    READ = 1
    """Look at everything."""
    SUBMIT = 2
    """Create jobs, and act on those of its own owner."""
    OPERATE = 3
    """Act on all jobs, and on nodes."""


class Token(BaseModel):
    """One token, as the file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """For a person."""
    role: Annotated[str, Field(pattern=r"^(read|submit|operate)$")]
    """What it allows."""
    owner: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """The owner of the jobs that it creates."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Hash of the token."""

    @model_validator(mode="after")
    def _submits_for_somebody(self) -> Self:
        if self.role == "submit" and self.owner is None:
            raise ValueError(f"the token {self.name} submits jobs, so it needs an owner")
        return self

    @property
    def rank(self) -> Role:
        """The role, to compare."""
        return Role[self.role.upper()]


_TOKENS = TypeAdapter(tuple[Token, ...])


class TokenFile:
    """The tokens of a file, read again whenever it has changed. One that is not there has none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._tokens: tuple[Token, ...] = ()
        self._by_hash: dict[str, Token] = {}

    def tokens(self) -> tuple[Token, ...]:
        """All of them. Raises `TokenError` where the file can't be read or understood."""
        try:
            found = self._path.stat()
            now = (found.st_mtime_ns, found.st_size, found.st_ino)
            if now != self._seen:
                self._take(_TOKENS.validate_json(self._path.read_bytes()))
                self._seen = now
        except FileNotFoundError:
            self._take(())
            self._seen = None
        except OSError as error:
            raise TokenError(f"{self._path}: {error.strerror or error}") from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise TokenError(f"{self._path}: {where or 'the file'}: {first['msg']}") from None
        return self._tokens

    def find(self, token: str) -> Token | None:
        """Whose it is; None: nobody's."""
        self.tokens()
        return self._by_hash.get(_hash(token))

    def add(self, name: str, role: str, owner: str | None) -> str:
        """Make a token and keep its hash; the token, which nobody can show again."""
        if any(each.name == name for each in self.tokens()):
            raise TokenError(f"there is a token named {name} already; remove it first, or choose another name")
        token = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
        try:
            made = Token(name=name, role=role, owner=owner, sha256=_hash(token))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise TokenError(": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])) from None
        self._write((*self._tokens, made))
        return token

    def remove(self, name: str) -> None:
        """From now on it opens nothing."""
        kept = tuple(each for each in self.tokens() if each.name != name)
        if len(kept) == len(self._tokens):
            raise TokenError(f"there is no token named {name}")
        self._write(kept)

    def _take(self, tokens: tuple[Token, ...]) -> None:
        self._tokens = tokens
        self._by_hash = {each.sha256: each for each in tokens}

    def _write(self, tokens: tuple[Token, ...]) -> None:
        """The file, whole or as it was, for nobody else to read."""
        text = json.dumps([each.model_dump() for each in tokens], indent=2) + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(  # made with mode 0600
                "w", dir=self._path.parent, prefix=f".{self._path.name}.", delete=False
            ) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(self._path)
        except OSError as error:
            raise TokenError(f"{self._path}: {error.strerror or error}") from None
        self._take(tokens)
        self._seen = None


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
