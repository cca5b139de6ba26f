"""Telling a service that Apprise knows: chats, mail, phones and a hundred more.

Apprise blocks, so each attempt runs in a thread of its own with a time limit. A thread can't be ended: one that hangs
is left behind, and its target gets no other until it is done, so there is at most one a target. It does not keep the
process from ending.

What Apprise logs may hold parts of addresses. Nothing of it is shown; the HTTP status in it is all that is looked at.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Protocol

import apprise
from apprise.result import AppriseResult

from daemon.logs import get_log
from daemon.notifier.retries import Failed, Outcome, Told, of_status
from daemon.notifier.spool import Delivery
from daemon.notifier.targets import AppriseDestination
from daemon.ports import Clock

log = get_log("notifier")

LIMIT_S = 30.0
_STATUS = re.compile(r"\berror=(\d{3})\b")
_ASSET: Final = apprise.AppriseAsset(
    app_id="Swift Trainer",
    app_desc="Swift Trainer",
    app_url="",
    async_mode=False,  # in the thread that asks, without pools of its own
    http_redirects=False,
    service_timeout=0,  # the limit is kept here
    storage_mode=apprise.PersistentStoreMode.MEMORY,
)


def silence() -> None:
    """Keep what Apprise and its HTTP library say out of every log."""
    for name in ("apprise", "urllib3", "requests"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.handlers[:] = [logging.NullHandler()]


def knows(url: str) -> bool:
    """Whether Apprise understands a URL."""
    silence()
    return _service().add(url)


class _Service(Protocol):
    """What is used of Apprise, whose own types are not whole."""

    def add(self, services: str) -> bool: ...

    def notify(self, body: str, title: str, notify_type: str, body_format: str) -> AppriseResult: ...


def _service() -> _Service:
    return apprise.Apprise(asset=_ASSET)


class AppriseSender:
    """Sends to services, each attempt in a thread."""

    def __init__(self, clock: Clock, limit_s: float = LIMIT_S) -> None:
        silence()
        self._clock = clock
        self._limit_s = limit_s
        self._under_way: dict[str, Future[Outcome]] = {}

    async def send(self, to: AppriseDestination, delivery: Delivery) -> Outcome:
        """One attempt. Raises nothing that a service could cause."""
        before = self._under_way.get(to.key)
        if before is not None and not before.done():
            return Failed("an earlier attempt still hangs")
        attempt = _in_thread(lambda: self._notify(to.url, delivery))
        self._under_way[to.key] = attempt
        try:
            async with asyncio.timeout(self._limit_s):
                return await asyncio.wrap_future(attempt)
        except TimeoutError:
            return Failed(f"no end within {self._limit_s:g} s")

    def _notify(self, url: str, delivery: Delivery) -> Outcome:
        service = _service()
        service.add(url)
        result = service.notify(
            body=delivery.body,
            title=delivery.title,
            notify_type=delivery.tone.value,
            body_format=apprise.NotifyFormat.TEXT.value,
        )
        if result:
            return Told()
        for entry in result.logs():
            if found := _STATUS.search(entry.message):
                return of_status(int(found[1]), None, self._clock.now())
        return Failed("the service did not take it, or can't be reached")


def _in_thread(call: Callable[[], Outcome]) -> Future[Outcome]:
    """Start a call in a thread that does not outlive the process."""
    future: Future[Outcome] = Future()

    def run() -> None:
        future.set_running_or_notify_cancel()  # from here on nobody cancels it
        try:
            future.set_result(call())
        except Exception as error:  # a plug-in may raise anything, with the address in it
            future.set_result(Failed(f"Apprise failed with {type(error).__name__}"))

    threading.Thread(target=run, name="apprise", daemon=True).start()
    return future
