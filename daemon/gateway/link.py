"""The gateway's way to the bus: one connection, made anew whenever it goes.

Whose job a job is, is what AMQP calls `user_id`, and RabbitMQ lets a connection name another user there only if its own
has the tag `impersonator`. A forged name would close the channel that everybody's commands go through, so it is tried
once for each connection, on a channel of its own.
"""

import asyncio
import random
import uuid
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

import aio_pika
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, ChannelPreconditionFailed, DeliveryError
from yarl import URL

from daemon.client import Client, ClientError, Commands, Json
from daemon.core.masking import mask
from daemon.gateway.hub import Hub, Listener
from daemon.gateway.problems import ProblemError, away
from daemon.logs import get_log
from schemas.commands import COMMANDS_EXCHANGE

log = get_log("gateway")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
TRY_S = 5.0
NAME = "swift-trainer gateway"
SOMEBODY = "swift-trainer-gateway.somebody"
"""Nobody's name: whoever may use it may use any."""


class Link(Commands):
    """Calls and listeners, while the broker is there; a clear problem while it is not."""

    def __init__(self, url: str, ca_file: str | None, *, timeout_s: float) -> None:
        self._url = url
        self._ca_file = ca_file
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self._user = URL(url).user or "guest"
        self._impersonates = False
        self._hub = Hub()
        self.trouble = "not connected to the broker yet"
        """What is wrong with the connection; empty: nothing."""

    async def run(self) -> None:
        """Stay connected until cancelled."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                async with (
                    Client(self._url, ca_file=self._ca_file, name=NAME, signed=False) as client,
                    self._hub.attached(client),
                ):
                    self._impersonates = await _may_impersonate(client)
                    self._client, self.trouble, pause_s = client, "", FIRST_PAUSE_S
                    log.info("gateway_connected", "connected to the broker", impersonates=self._impersonates)
                    await self._wait_lost(client)
                    self.trouble = "the connection to the broker is gone"
            except ClientError as error:
                self.trouble = str(error)
            finally:
                self._client = None
                self._hub.release()
            log.warning("gateway_waits", self.trouble)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311  # many gateways, one broker
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)

    async def _wait_lost(self, client: Client) -> None:
        """Until commands or events can't go over this connection any more."""
        waiting = {asyncio.create_task(client.wait_lost()), asyncio.create_task(self._hub.wait_lost())}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    def connected(self) -> Client:
        """The client; a problem where the broker is away."""
        if self._client is None:
            raise away(f"the bus is away: {self.trouble}")
        return self._client

    async def send(
        self, command: str, body: Mapping[str, object], *, message_id: str | None = None, owner: str | None = None
    ) -> Json:
        """Send a command and wait for its result.

        Raises what `Client.call` does, and a problem where the broker is away or the owner may not be named.
        """
        client = self.connected()
        if owner is not None and owner != self._user and not self._impersonates:
            raise ProblemError(  # no outage: it is the same until somebody changes it
                500,
                "misconfigured",
                f"the broker does not let {self._user} act for {owner}; give it the tag that allows it: "
                f"rabbitmqctl set_user_tags {self._user} impersonator, and start the gateway again",
            )
        return await client.call(command, body, owner=owner, message_id=message_id, timeout_s=self._timeout_s)

    def listening(self, job_id: str | None) -> AbstractAsyncContextManager[Listener]:
        """Events of one job, or of all and of devices and nodes (without the lines of logs), from the entry on."""
        return self._hub.listening(job_id)

    def end_streams(self) -> None:
        """Let all listeners go: the gateway stops."""
        self._hub.release()


async def _may_impersonate(client: Client) -> bool:
    """Try it with a question that nobody waits for. Raises `ClientError` where that can't be told (yet)."""
    message = aio_pika.Message(b'{"training_type": "llm"}', message_id=uuid.uuid4().hex, user_id=SOMEBODY)
    try:
        async with asyncio.timeout(TRY_S), client.channel() as channel:
            exchange = await channel.get_exchange(COMMANDS_EXCHANGE, ensure=False)
            await exchange.publish(message, routing_key="params.default")
    except ChannelPreconditionFailed:
        return False
    except DeliveryError:  # it was let through, and no queue took it
        return True
    except (AMQPError, ChannelInvalidStateError, TimeoutError) as error:
        said = mask(str(error)) or type(error).__name__
        raise ClientError(f"commands can't be sent ({said}); did swift-trainerd ever run on this broker?") from None
    return True
