"""The outbox: publishes durable events, in order, with the broker's confirmation, and only then takes them out.

A crash between the confirmation and the removal sends an event again under the same id; nothing is skipped. Events of
one document go one after the other; documents go side by side.
"""

import asyncio

from daemon.logs import get_log
from daemon.loops.context import Context
from daemon.metrics import EVENT_LAG, EVENTS
from daemon.ports import Subject, UnavailableError
from daemon.tracing import record_span
from schemas.events import OutboxEvent

log = get_log("outbox")

SIDE_BY_SIDE = 32
ONE_SWEEP = 500
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 2.0
"""Short, because nothing tells when the broker is there again, and a look costs little."""


async def outbox(ctx: Context) -> None:
    """Publish for as long as the daemon runs: hinted documents at once, the others found by a slow sweep, however many
    hints come."""
    pending: dict[tuple[Subject, str], None] = {}
    wait_s = FIRST_WAIT_S
    sweep_at = ctx.clock.monotonic()
    while True:
        sweep_in_s = max(0.0, sweep_at - ctx.clock.monotonic())
        hinted = await ctx.signals.outbox.take(ctx.clock, 0.0 if pending else sweep_in_s)
        pending.update(dict.fromkeys(hinted))
        try:
            if ctx.clock.monotonic() >= sweep_at:
                found = await ctx.store.outbox_subjects(ONE_SWEEP)
                pending.update(dict.fromkeys(found))
                more = len(found) == ONE_SWEEP  # then the next sweep follows as soon as these are out
                sweep_at = ctx.clock.monotonic() + (0.0 if more else ctx.settings.poll_seconds)
            await publish_all(ctx, pending)
            wait_s = FIRST_WAIT_S
        except UnavailableError as error:
            log.warning("outbox_waits", str(error), documents=len(pending), retry_in_s=wait_s)
            await ctx.clock.sleep(wait_s)
            wait_s = min(LONGEST_WAIT_S, wait_s * 2)


async def flush(ctx: Context) -> int:
    """Publish everything that waits, once; how many documents had something. For the end of the daemon."""
    pending = dict.fromkeys(await ctx.store.outbox_subjects(ONE_SWEEP))
    count = len(pending)
    await publish_all(ctx, pending)
    return count


async def publish_all(ctx: Context, pending: dict[tuple[Subject, str], None]) -> None:
    """Publish the events of these documents; done ones leave `pending`. Raises `UnavailableError`."""
    while pending:
        batch = list(pending)[:SIDE_BY_SIDE]
        results = await asyncio.gather(*(_publish_one(ctx, *key) for key in batch), return_exceptions=True)
        problem: BaseException | None = None
        for key, result in zip(batch, results, strict=True):
            if result is None:
                pending.pop(key, None)
            else:
                problem = result
        if problem is not None:
            raise problem


async def _publish_one(ctx: Context, subject: Subject, subject_id: str) -> None:
    events = await ctx.store.outbox(subject, subject_id)
    if not events:
        return
    for event in events:
        await ctx.bus.publish(event)
        _confirmed(ctx, event)
    await ctx.store.outbox_done(subject, subject_id, events)


def _confirmed(ctx: Context, sent: OutboxEvent) -> None:
    """Tell how long it took from the write to here."""
    now = ctx.clock.now()
    ctx.meters.add(EVENTS, type=sent.event.type)
    ctx.meters.observe(EVENT_LAG, max(0.0, (now - sent.event.time).total_seconds()))
    attributes = {"messaging.system": "rabbitmq", "messaging.message.id": sent.event.id, "event.type": sent.event.type}
    record_span("publish event", sent.trace, begin=sent.event.time, end=now, attributes=attributes)
