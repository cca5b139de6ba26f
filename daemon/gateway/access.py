"""Who may do what: a token's role against what a path needs, and how often.

Without tokens the gateway listens on loopback alone, and whoever is on this machine may do everything. Then a page of a
stranger's, open in a browser here, must not: a request that came from another site, or to another name than this
machine's own (DNS rebinding), is refused.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import ceil
from time import time
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from daemon.gateway.link import Link
from daemon.gateway.problems import ProblemError, away
from daemon.gateway.settings import is_loopback
from daemon.gateway.tokens import Role, Token, TokenError, TokenFile
from schemas.base import JOB_ID_PATTERN
from schemas.examples.requests import LLM_JOB

BEARER = HTTPBearer(
    auto_error=False, description="A token that `swift-trainer token add` printed. None is needed where there are none."
)


_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
"""What a proxy says of whom it asks for."""


@dataclass(frozen=True, slots=True)
class Who:
    """Who asks."""

    name: str
    role: Role
    owner: str | None
    """The owner of what they create."""
    token: Token | None = None
    """None: nobody needs one."""


@dataclass(slots=True)
class Gate:
    """What lets requests in."""

    tokens: TokenFile
    loopback: bool
    """It listens on loopback alone, so that it may be open while there are no tokens."""
    requests_per_minute: int
    max_streams: int
    _limiter: FixedWindowRateLimiter = field(default_factory=lambda: FixedWindowRateLimiter(MemoryStorage()))
    _streams: dict[str, int] = field(default_factory=dict[str, int])

    def admit(self, request: Request, token: str | None) -> Who:
        """Who asks. Raises a problem where nobody is known, or they ask too often."""
        try:
            known = self.tokens.tokens()
            found = None if token is None else self.tokens.find(token)
        except TokenError as error:
            raise away(f"the tokens can't be read: {error}") from None
        if found is not None:
            self._count(f"token {found.name}")
            return Who(found.name, found.rank, found.owner, found)
        self._count(f"address {_address(request)}")
        if known or token is not None or not self.loopback:  # the last token may be gone since the start
            raise ProblemError(
                401,
                "unauthorized",
                "this token is not known" if token is not None else "a token is needed: Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": 'Bearer realm="swift-trainer"'},
            )
        _refuse_strangers(request)
        return Who("local", Role.OPERATE, None)

    def still_admits(self, who: Who) -> bool:
        """Whether what let them in stands as it did: their token, or that there are none."""
        try:
            known = self.tokens.tokens()
        except TokenError:
            return False
        return not known if who.token is None else who.token in known

    def open_stream(self, who: Who, request: Request) -> Callable[[], None]:
        """Count an event stream; the answer counts it off again, once."""
        key = f"{who.name} {_address(request)}" if who.name == "local" else who.name
        if self._streams.get(key, 0) >= self.max_streams:
            raise ProblemError(
                429,
                "too_many_streams",
                f"{self.max_streams} event streams are open already; close some",
                headers={"Retry-After": "5"},
            )
        self._streams[key] = self._streams.get(key, 0) + 1
        closed: list[bool] = []

        def close() -> None:
            if not closed:
                closed.append(True)
                self._streams[key] -= 1
                if not self._streams[key]:
                    del self._streams[key]

        return close

    def _count(self, key: str) -> None:
        limit = RateLimitItemPerMinute(self.requests_per_minute)
        if not self._limiter.hit(limit, key):
            resets_at = self._limiter.get_window_stats(limit, key).reset_time
            raise ProblemError(
                429,
                "too_many_requests",
                f"more than {self.requests_per_minute} requests in a minute",
                headers={"Retry-After": str(max(1, ceil(resets_at - time())))},
            )


def _address(request: Request) -> str:
    """Whose connection it is; uvicorn knows of each one that comes over TCP."""
    return request.client.host if request.client is not None else "127.0.0.1"


def _refuse_strangers(request: Request) -> None:
    """What a page of another site's could have sent, or somebody behind a proxy."""
    if not is_loopback(_address(request)) or any(name in request.headers for name in _FORWARDED):
        raise ProblemError(
            403, "forbidden", "somebody asks through a proxy; that needs tokens (swift-trainer token add)"
        )
    host = request.url.hostname or ""
    if not is_loopback(host):
        raise ProblemError(403, "forbidden", f"without tokens the gateway is called as localhost, not as {host[:100]}")
    origin = request.headers.get("origin")
    fetched_from = request.headers.get("sec-fetch-site", "same-origin")
    own = f"{request.url.scheme}://{request.url.netloc}"
    if fetched_from not in {"same-origin", "none"} or (origin is not None and origin != own):
        raise ProblemError(403, "forbidden", "a page of another site asks; without tokens only this one's own may")


def gate_of(request: Request) -> Gate:
    """The app's gate."""
    gate: Gate = request.app.state.gate
    return gate


def link_of(request: Request) -> Link:
    """The app's link to the bus."""
    link: Link = request.app.state.link
    return link


def needs(role: Role) -> Callable[..., Awaitable[Who]]:
    """A dependency that lets in whoever has the role, and says who it is."""

    async def admitted(
        request: Request,
        gate: Annotated[Gate, Depends(gate_of)],
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
    ) -> Who:
        who = gate.admit(request, None if bearer is None else bearer.credentials)
        if who.role < role:
            raise ProblemError(
                403, "forbidden", f"the token {who.name} may {who.role.name.lower()}; this needs {role.name.lower()}"
            )
        return who

    return admitted


Reader = Annotated[Who, Depends(needs(Role.READ))]
Submitter = Annotated[Who, Depends(needs(Role.SUBMIT))]
Operator = Annotated[Who, Depends(needs(Role.OPERATE))]
Bus = Annotated[Link, Depends(link_of)]
JobId = Annotated[str, Path(pattern=JOB_ID_PATTERN, description="The job's id.", examples=[LLM_JOB])]


async def own_job(job_id: JobId, who: Submitter, link: Bus) -> Who:
    """Lets in operators, and submitters to jobs of their own owner."""
    if who.role < Role.OPERATE:
        job = await link.send("job.get", {"job_id": job_id})
        if job["owner"] != who.owner:
            raise ProblemError(403, "forbidden", f"job {job_id} is not of {who.owner}, for whom this token acts")
    return who


JobOwner = Annotated[Who, Depends(own_job)]
