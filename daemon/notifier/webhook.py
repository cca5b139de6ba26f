"""Telling a webhook: a signed POST of the event, CloudEvents 1.0 in structured JSON.

The address is the operator's. No redirect is followed, the time is bounded as a whole, and of the answer nothing but
status and headers is read. What is said of a failure is the kind of error, never a text with the address in it.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http.cookiejar import DefaultCookiePolicy

import httpx

from daemon import __version__
from daemon.notifier.retries import Failed, Outcome, of_status
from daemon.notifier.signing import signature_headers, webhook_id
from daemon.notifier.spool import Delivery
from daemon.notifier.targets import WebhookDestination
from daemon.ports import Clock
from schemas.events import CONTENT_TYPE

MOST_CONNECTIONS, MOST_IDLE = 200, 20
WHOLE = 2.0
"""An attempt takes at most so many times its limit: connecting, sending and each piece of the answer have it alone."""


class WebhookSender:
    """Sends to all webhooks over shared connections."""

    def __init__(self, client: httpx.AsyncClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def send(self, to: WebhookDestination, delivery: Delivery) -> Outcome:
        """One attempt. Raises nothing that a receiver could cause."""
        stamp = int(self._clock.now().timestamp())
        signed = signature_headers(webhook_id(delivery.event_id), stamp, delivery.event, to.secrets)
        headers = {**to.headers, **signed, "content-type": CONTENT_TYPE}
        try:
            async with (
                asyncio.timeout(WHOLE * to.timeout_s),
                self._client.stream(
                    "POST", to.url, content=delivery.event, headers=headers, timeout=to.timeout_s
                ) as answer,
            ):
                return of_status(answer.status_code, answer.headers.get("retry-after"), self._clock.now())
        except (TimeoutError, httpx.TimeoutException):
            return Failed(f"no answer within {to.timeout_s:g} s")
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            return Failed("the address is no URL", final=True)
        except httpx.HTTPError as error:
            return Failed(type(error).__name__)


@asynccontextmanager
async def webhook_sender(clock: Clock) -> AsyncGenerator[WebhookSender]:
    """A sender with its connections; TLS is verified against the system's CAs (or `SSL_CERT_FILE`)."""
    limits = httpx.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_IDLE)
    agent = {"user-agent": f"swift-trainer/{__version__}"}
    async with httpx.AsyncClient(headers=agent, limits=limits, follow_redirects=False) as client:
        client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # a receiver leaves nothing behind here
        yield WebhookSender(client, clock)
