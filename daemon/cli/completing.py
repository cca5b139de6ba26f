"""Completion in the shell: names, and ids that are asked for over the bus in a bounded time. What goes wrong is silent.

Files are completed by the shell itself, where nothing is offered here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import typer
from pydantic import ValidationError

from daemon.cli.dead_letters import dead_letters
from daemon.cli.output import safe
from daemon.client import Client, ClientError, RefusedError
from daemon.settings import Settings

Offer: TypeAlias = list[tuple[str, str]]
"""Words, each with a help text."""
Ask: TypeAlias = Callable[[Client], Awaitable[Offer]]

LIMIT_S = 2.0
JOBS_OFFERED = 100
"""The newest; whoever means an older one types its id."""


def job_ids(ctx: typer.Context, incomplete: str) -> Offer:
    """The newest jobs whose ids begin so, each with where it stands and what it trains."""

    async def ask(client: Client) -> Offer:
        jobs = (await client.jobs(size=JOBS_OFFERED)).jobs
        return [(job.id, f"{job.status} {job.model_path}") for job in jobs]

    return _offered(ctx, incomplete, ask)


def node_ids(ctx: typer.Context, incomplete: str) -> Offer:
    """The nodes whose ids begin so, each with its state."""

    async def ask(client: Client) -> Offer:
        return [(node.node_id, node.state) for node in (await client.nodes()).nodes]

    return _offered(ctx, incomplete, ask)


def letter_ids(ctx: typer.Context, incomplete: str) -> Offer:
    """The dead letters whose ids begin so, each with its command and the reason."""

    async def ask(client: Client) -> Offer:
        async with dead_letters(client) as desk:
            return [(letter.letter_id, f"{letter.command} {letter.reason}") for letter in desk.letters]

    return _offered(ctx, incomplete, ask)


def beginnings(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Completion among words that are known here."""

    def offered(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return offered


def _offered(ctx: typer.Context, incomplete: str, ask: Ask) -> Offer:
    logging.disable(logging.CRITICAL)  # this process completes and ends; nothing may come between the shell's lines
    try:
        found = asyncio.run(_asked(ctx.params.get("url"), ask))
    except (ClientError, RefusedError, ValidationError, TimeoutError, OSError, ValueError):
        return []
    return [(word, safe(help_text)) for word, help_text in found if word.startswith(incomplete)]


async def _asked(url: str | None, ask: Ask) -> Offer:
    settings = Settings()
    async with (
        asyncio.timeout(LIMIT_S),
        Client(url or settings.amqp_url.get_secret_value(), ca_file=settings.amqp_ca_path, patience_s=0) as client,
    ):
        return await ask(client)
