"""Single attempts: webhooks and Apprise against a real receiver, well and badly behaved."""

import asyncio
import logging
import socket
import threading
from base64 import b64decode
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager

import apprise
import pytest

from daemon.adapters.clock import SystemClock
from daemon.adapters.manual_clock import START, ManualClock
from daemon.notifier.apprise_target import AppriseSender, knows, silence
from daemon.notifier.retries import Failed, Told
from daemon.notifier.spool import Delivery
from daemon.notifier.targets import AppriseDestination, WebhookDestination
from daemon.notifier.webhook import WebhookSender, webhook_sender
from daemon.notifier.wording import Tone
from tests.notifier.receiver import HANG, RESET, Answer, receiver
from tests.notifier.samples import SECRET, body_of, event
from tests.waiting import until

KEY = b64decode(SECRET.removeprefix("whsec_"))
EVENT = event(event_id="e1")
DELIVERY = Delivery(1, "e1", "r", "k", "A title", "A text <b> & more", Tone.FAILURE, body_of(EVENT), 0, 0.0)


def hook(url: str, timeout_s: float = 30.0) -> WebhookDestination:
    return WebhookDestination("k", "http://***", url, (KEY,), timeout_s, {"X-Team": "vision"})


@pytest.fixture
async def webhooks() -> AsyncGenerator[WebhookSender]:
    async with webhook_sender(ManualClock()) as found:
        yield found


async def test_a_webhook_gets_the_event_as_it_is(webhooks: WebhookSender) -> None:
    async with receiver() as found:
        assert await webhooks.send(hook(found.url), DELIVERY) == Told()
    [call] = found.calls
    assert (call.method, call.path, call.body) == ("POST", "/hook", body_of(EVENT))
    assert call.headers["content-type"] == "application/cloudevents+json"
    assert call.headers["webhook-id"] == "e1"
    assert call.headers["webhook-timestamp"] == str(int(START.timestamp())), "the time of the attempt"
    assert call.headers["x-team"] == "vision"
    assert call.headers["user-agent"].startswith("swift-trainer/")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(429, {"retry-after": "7"}), Failed("HTTP 429", retry_after_s=7)),
        (Answer(503), Failed("HTTP 503")),
        (Answer(410), Failed("HTTP 410", final=True)),
        (Answer(302, {"location": "/hook"}), Failed("HTTP 302: a redirect, and none is followed", final=True)),
        (RESET, Failed("ReadError")),
        (Answer(200, {}, b"x" * 10_000_000), Told()),
    ],
)
async def test_what_a_receiver_may_do(webhooks: WebhookSender, answer: Answer, outcome: object) -> None:
    async with receiver(answer) as found:
        assert await webhooks.send(hook(found.url), DELIVERY) == outcome
        assert len(found.calls) == 1
        assert await webhooks.send(hook(found.url), DELIVERY) == Told(), "the next attempt is not spoilt"


async def test_a_receiver_that_is_slow_or_away(webhooks: WebhookSender) -> None:
    async with receiver(HANG) as found:
        assert await webhooks.send(hook(found.url, 0.2), DELIVERY) == Failed("no answer within 0.2 s")
        url = found.url
    assert await webhooks.send(hook(url), DELIVERY) == Failed("ConnectError")
    with socket.create_server(("127.0.0.1", 0)) as plain:  # no TLS there
        port = plain.getsockname()[1]
        refused = await webhooks.send(hook(f"https://127.0.0.1:{port}/", 0.2), DELIVERY)
    assert isinstance(refused, Failed)
    assert await webhooks.send(hook("gopher://host/"), DELIVERY) == Failed("the address is no URL", final=True)


async def test_a_receiver_leaves_no_cookie(webhooks: WebhookSender) -> None:
    async with receiver(Answer(200, {"set-cookie": "a=b"})) as found:
        for _ in range(2):
            await webhooks.send(hook(found.url), DELIVERY)
    assert "cookie" not in found.calls[1].headers


# ---------------------------------------------------------------- Apprise


def service(url: str) -> AppriseDestination:
    return AppriseDestination("k", "json://***", url)


@contextmanager
def all_that_is_logged() -> Generator[list[str]]:
    """Everything that reaches the root of the log."""
    lines: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    keeper = Keeper(0)
    root = logging.getLogger()
    level = root.level
    root.addHandler(keeper)
    root.setLevel(0)
    try:
        yield lines
    finally:
        root.removeHandler(keeper)
        root.setLevel(level)


async def test_a_service_gets_title_and_text() -> None:
    async with receiver() as found:
        assert await AppriseSender(SystemClock()).send(service(found.apprise), DELIVERY) == Told()
    [call] = found.calls
    assert (call.json["title"], call.json["message"], call.json["type"]) == ("A title", "A text <b> & more", "failure")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(500), Failed("HTTP 500")),
        (Answer(404), Failed("HTTP 404", final=True)),
        (Answer(302, {"location": "/hook"}), Failed("HTTP 302: a redirect, and none is followed", final=True)),
        (RESET, Failed("the service did not take it, or can't be reached")),
    ],
)
async def test_what_a_service_may_do_and_nothing_of_it_is_logged(answer: Answer, outcome: Failed) -> None:
    async with receiver(answer) as found:
        with all_that_is_logged() as lines:
            url = f"json://user:s3cr3t@127.0.0.1:{found.port}/t0ken?+X-Key=k3y"
            assert await AppriseSender(SystemClock()).send(service(url), DELIVERY) == outcome
    assert len(found.calls) == 1, "Apprise itself neither retries nor follows"
    said = "\n".join(line for line in lines if "asyncio" not in line)
    assert not [word for word in ("s3cr3t", "t0ken", "k3y", "127.0.0.1") if word in said]


async def test_a_service_that_hangs_gets_no_second_thread() -> None:
    sender = AppriseSender(SystemClock(), limit_s=0.2)
    async with receiver(HANG) as found:
        assert await sender.send(service(found.apprise + "?rto=60"), DELIVERY) == Failed("no end within 0.2 s")
        assert await sender.send(service(found.apprise), DELIVERY) == Failed("an earlier attempt still hangs")
        assert [thread.name for thread in threading.enumerate()].count("apprise") == 1
        assert all(thread.daemon for thread in threading.enumerate() if thread.name == "apprise")
        found.close()
        await until(lambda: "apprise" not in [thread.name for thread in threading.enumerate()])
        assert await sender.send(service(found.apprise), DELIVERY) == Told()


async def test_a_plug_in_that_raises_is_a_failure_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object, **__: object) -> None:
        raise ValueError("https://user:s3cr3t@host")

    monkeypatch.setattr(apprise.Apprise, "notify", explode)
    found = await AppriseSender(SystemClock()).send(service("json://127.0.0.1:1"), DELIVERY)
    assert found == Failed("Apprise failed with ValueError")


def test_apprise_says_which_urls_it_understands_and_logs_none() -> None:
    with all_that_is_logged() as lines:
        assert knows("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general")
        assert knows("mailto://user:pw@example.com")
        for url in ("slack://s3cr3t", "nosuch://s3cr3t", "s3cr3t", "", "json://"):
            assert not knows(url)
    assert "s3cr3t" not in "\n".join(lines)


async def test_attempts_side_by_side_do_not_wait_for_each_other() -> None:
    sender = AppriseSender(SystemClock())
    silence()
    async with receiver(HANG) as slow, receiver() as quick:
        hanging = asyncio.create_task(sender.send(service(slow.apprise), DELIVERY))
        await slow.came(1)
        assert await sender.send(AppriseDestination("other", "json://***", quick.apprise), DELIVERY) == Told()
        assert not hanging.done()
        slow.close()
        assert isinstance(await hanging, Failed)
