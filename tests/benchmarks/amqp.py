"""As little of an AMQP client as can be, over a blocking socket: what it costs is hardly in the numbers.

One connection, one channel. It is also the only client at hand that can leave a command's `message_id` out: aio-pika
makes one up. Frames are made and read by pamqp.
"""

import json
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from pamqp import base, commands, frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader, ProtocolHeader

COMMANDS_EXCHANGE = "swift.commands"
EVENTS_EXCHANGE = "swift.events"
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
ANSWER_LIMIT_S = 120.0
FRAME_MAX = 131_072
_HEAD = struct.Struct(">BHI")
_METHOD, _HEADER, _BODY = 1, 2, 3

Json = dict[str, Any]
T = TypeVar("T", bound=base.Frame)


@dataclass(frozen=True, slots=True)
class Message:
    """What came."""

    routing_key: str
    correlation_id: str | None
    body: bytes
    at: float
    """When its last byte was here: seconds since the epoch."""

    def json(self) -> Json:
        """Its body."""
        return json.loads(self.body)


class Bus:
    """A connection to the broker."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._buffer = bytearray()
        self._number = 1_000_000_000
        self._socket = socket.create_connection((place.hostname or "localhost", place.port or 5672), ANSWER_LIMIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(ProtocolHeader().marshal())
        user, password = unquote(place.username or "guest"), unquote(place.password or "guest")
        self._expect(commands.Connection.Start)
        self._send(commands.Connection.StartOk(response=f"\0{user}\0{password}"), channel=0)
        self._expect(commands.Connection.Tune)
        self._send(commands.Connection.TuneOk(channel_max=1, frame_max=FRAME_MAX, heartbeat=0), channel=0)
        self._send(commands.Connection.Open(virtual_host=unquote(place.path[1:]) or "/"), channel=0)
        self._expect(commands.Connection.OpenOk)
        self._call(commands.Channel.Open(), commands.Channel.OpenOk)

    def close(self) -> None:
        """End the connection; the broker drops its exclusive queues."""
        self._socket.close()

    # ------------------------------------------------------------ commands

    def take_replies(self) -> None:
        """Begin to take replies by direct reply-to. The daemon may not have made its exchanges yet."""
        for name in (COMMANDS_EXCHANGE, EVENTS_EXCHANGE):
            self._call(
                commands.Exchange.Declare(exchange=name, exchange_type="topic", durable=True),
                commands.Exchange.DeclareOk,
            )
        self._call(commands.Basic.Consume(queue=DIRECT_REPLY_TO, no_ack=True), commands.Basic.ConsumeOk)

    def send(self, command: str, body: Mapping[str, object], *, number: int = 0, message_id: str | None = None) -> None:
        """Publish a command; its reply will have `number` as its correlation id."""
        self.publish(COMMANDS_EXCHANGE, command, json.dumps(body).encode(), number=number, message_id=message_id)

    def publish(
        self, exchange: str, routing_key: str, body: bytes, *, number: int = 0, message_id: str | None = None
    ) -> None:
        """Publish anything that wants a reply."""
        properties = commands.Basic.Properties(
            content_type="application/json",
            delivery_mode=2,
            correlation_id=str(number),
            reply_to=DIRECT_REPLY_TO,
            message_id=message_id,
        )
        self._socket.sendall(
            frame.marshal(commands.Basic.Publish(exchange=exchange, routing_key=routing_key), 1)
            + frame.marshal(ContentHeader(body_size=len(body), properties=properties), 1)
            + frame.marshal(ContentBody(body), 1)
        )

    def call(
        self,
        command: str,
        body: Mapping[str, object],
        *,
        message_id: str | None = None,
        limit_s: float = ANSWER_LIMIT_S,
    ) -> Json:
        """Send a command and wait for its result. Raises `RuntimeError` where it is refused, and `TimeoutError`."""
        self._number += 1
        self.send(command, body, number=self._number, message_id=message_id)
        while (message := self.receive(limit_s)).correlation_id != str(self._number):
            pass  # the reply to a call that was given up
        answer = message.json()
        if not answer["ok"]:
            raise RuntimeError(f"{command}: {answer['error']}")
        return answer["result"]

    # ------------------------------------------------------------ queues

    def subscribe(self, *patterns: str) -> None:
        """Begin to take events."""
        self._call(commands.Basic.Consume(queue=self.keep(*patterns), no_ack=True), commands.Basic.ConsumeOk)

    def keep(self, *patterns: str) -> str:
        """A queue of events that nobody reads, for counting; its name."""
        self._send(commands.Queue.Declare(exclusive=True))
        name = self._expect(commands.Queue.DeclareOk).queue or ""
        for pattern in patterns:
            self._call(
                commands.Queue.Bind(queue=name, exchange=EVENTS_EXCHANGE, routing_key=pattern), commands.Queue.BindOk
            )
        return name

    def take_own(self) -> str:
        """A queue whose messages come straight back here; its name."""
        name = self.keep()
        self._call(commands.Basic.Consume(queue=name, no_ack=True, consumer_tag="own"), commands.Basic.ConsumeOk)
        return name

    def count(self, queue: str) -> int:
        """How many messages wait in a queue."""
        self._send(commands.Queue.Declare(queue=queue, passive=True))
        return self._expect(commands.Queue.DeclareOk).message_count or 0

    def receive(self, timeout_s: float = ANSWER_LIMIT_S) -> Message:
        """The next message. Raises `TimeoutError`."""
        self._socket.settimeout(timeout_s)
        deliver = self._expect(commands.Basic.Deliver)
        kind, payload = self._frame()
        header = frame.unmarshal(payload)[2]
        assert kind == _HEADER
        assert isinstance(header, ContentHeader)
        body = bytearray()
        while len(body) < header.body_size:
            kind, payload = self._frame()
            assert kind == _BODY
            body += payload[_HEAD.size : -1]
        return Message(deliver.routing_key or "", header.properties.correlation_id, bytes(body), time.time())

    # ------------------------------------------------------------ frames

    def _call(self, method: base.Frame, answer: type[T]) -> T:
        self._send(method)
        return self._expect(answer)

    def _send(self, method: base.Frame, channel: int = 1) -> None:
        self._socket.sendall(frame.marshal(method, channel))

    def _expect(self, wanted: type[T]) -> T:
        """The next method, which has to be this one."""
        kind, payload = self._frame()
        found = frame.unmarshal(payload)[2]
        if kind != _METHOD or not isinstance(found, wanted):
            raise ConnectionError(f"the broker sent {found!r} and not {wanted.__name__}")
        return found

    def _frame(self) -> tuple[int, bytes]:
        """The next whole frame."""
        while True:
            if len(self._buffer) >= _HEAD.size:
                kind, _, size = _HEAD.unpack_from(self._buffer)
                end = _HEAD.size + size + 1
                if len(self._buffer) >= end:
                    payload = bytes(self._buffer[:end])
                    del self._buffer[:end]
                    return kind, payload
            part = self._socket.recv(FRAME_MAX)
            if not part:
                raise ConnectionError("the broker closed the connection")
            self._buffer += part
