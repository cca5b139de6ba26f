"""The wake-ups from other daemons: an event of theirs means that a document changed, so look. What it says is not
believed, the document is the truth; and one that is lost costs no more than the slow poll.
"""

from daemon.loops.context import Context


async def wakeups(ctx: Context) -> None:
    """Turn other nodes' events into hints for as long as the daemon runs."""
    async for routing_key in ctx.bus.wakeups():
        subject, _, rest = routing_key.partition(".")
        if subject == "job":
            hint = ctx.signals.jobs.get(rest.partition(".")[0])
            if hint is not None:
                hint.give()
        else:
            ctx.signals.devices.give()
        ctx.signals.scheduling.give()
