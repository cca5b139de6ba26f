"""A real broker with the shipped configuration and definitions, and clients of it with each user's rights."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import aio_pika
from aio_pika.abc import AbstractChannel

from daemon.adapters.rabbit import RabbitBus
from deploy import services
from deploy.rabbitmq import make_definitions

SHIPPED = Path(make_definitions.__file__).parent
PASSWORDS = {role: f"{role}-password-of-the-tests" for role in make_definitions.USERS}
LIMIT_S = 15.0


@dataclass(frozen=True)
class Broker:
    """The broker that lives in a folder."""

    folder: Path

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{services.load(self.folder, 'rabbitmq')['port']}"

    def url(self, role: str) -> str:
        """URL with the credentials of the user in a role."""
        return f"amqp://{make_definitions.USERS[role]}:{PASSWORDS[role]}@{self.address}/"

    def up(self) -> None:
        """Make definitions with passwords, and start with them as rabbitmq.conf says."""
        given, made = self.folder / "env", self.folder / "secrets" / "definitions.json"
        given.write_text("".join(f"RABBITMQ_{role.upper()}_PASSWORD={word}\n" for role, word in PASSWORDS.items()))
        script = [sys.executable, make_definitions.__file__, "--passwords", str(given), "--out", str(made)]
        subprocess.run(script, check=True)
        conf = (SHIPPED / "rabbitmq.conf").read_text()
        assert "/etc/rabbitmq/swift-definitions.json" in conf
        (self.folder / "rabbitmq").mkdir()
        extra = conf.replace("/etc/rabbitmq/swift-definitions.json", str(made))
        (self.folder / "rabbitmq" / "extra.conf").write_text(extra)
        self._services("up")

    def down(self) -> None:
        """End it."""
        self._services("down")

    def _services(self, verb: str) -> None:
        """Of our own, whatever broker the environment names."""
        env = {name: value for name, value in os.environ.items() if name != services.URLS["rabbitmq"]}
        script = [sys.executable, services.__file__, "rabbitmq", verb, "--dir", str(self.folder)]
        done = subprocess.run(script, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def control(self, *words: str) -> str:
        """Run rabbitmqctl on this broker."""
        env = services.rabbitmq_env(self.folder, services.load(self.folder, "rabbitmq"))
        program = str(services.RABBITMQ_SCRIPT.with_name("rabbitmqctl"))
        return subprocess.run([program, *words], env=env, check=True, capture_output=True, text=True).stdout

    @contextlib.asynccontextmanager
    async def channel(self, role: str) -> AsyncGenerator[AbstractChannel]:
        """A client's channel, with confirms."""
        async with asyncio.timeout(LIMIT_S):
            connection = await aio_pika.connect(self.url(role))
            async with connection:
                yield await connection.channel(publisher_confirms=True, on_return_raises=True)

    @contextlib.asynccontextmanager
    async def bus(self) -> AsyncGenerator[RabbitBus]:
        """The daemon's own bus with the daemon's own rights; it declares the topology."""
        bus = RabbitBus(self.url("daemon"), node_id="n1")
        async with asyncio.timeout(LIMIT_S):
            await bus.start()
        try:
            yield bus
        finally:
            await bus.close()

    @contextlib.asynccontextmanager
    async def answering(self) -> AsyncGenerator[RabbitBus]:
        """The same, and every command is answered with the user who sent it; nonsense is dead-lettered."""
        async with self.bus() as bus:
            task = asyncio.create_task(_answer(bus))
            try:
                yield bus
            finally:
                await bus.stop_consuming()
                await task


async def _answer(bus: RabbitBus) -> None:
    async for delivery in bus.commands():
        if delivery.body == b"nonsense":
            await bus.dead_letter(delivery, "no JSON")
            continue
        reply = {"ok": True, "command": delivery.routing_key, "result": {"owner": delivery.user_id}}
        await bus.reply(delivery, json.dumps(reply).encode())
        await bus.ack(delivery)
