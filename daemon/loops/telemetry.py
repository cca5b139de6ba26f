"""Telemetry: reads the devices at an interval and when a lease changed, and publishes what differs."""

from math import inf

from daemon.core.moves import source_of
from daemon.core.work import Held
from daemon.logs import get_log
from daemon.loops.context import Context
from daemon.loops.draining import give_way, store_drains
from daemon.loops.fleet import devices_of, read_devices
from daemon.ports import UnavailableError
from schemas.events import GPU_TYPE, CloudEvent, Device
from schemas.nodes import NodeRecord

log = get_log("telemetry")


async def telemetry(ctx: Context) -> None:
    """Read and tell for as long as the daemon runs."""
    told: dict[int, Device] = {}
    number = 0
    while True:
        await store_drains(ctx)  # first: what makes a device sick may make the driver slow
        await read_devices(ctx)
        vacates_in_s = inf
        try:
            node = await ctx.store.get_node(ctx.node_id)
            held = await ctx.store.held()
            if node is not None:
                vacates_in_s = await give_way(ctx, node)
        except UnavailableError as error:
            log.debug("telemetry_waits", str(error))
            node = None
            held = []
        if node is not None:
            number += 1
            tell(ctx, node, held, told, number)
        await ctx.signals.devices.wait(ctx.clock, min(ctx.settings.gpu_interval_seconds, vacates_in_s))


def tell(ctx: Context, node: NodeRecord, held: list[Held], told: dict[int, Device], number: int) -> None:
    """Publish the devices that differ from what was last told."""
    for device in devices_of(ctx, node, held):
        if told.get(device.index) == device:
            continue
        told[device.index] = device
        event = CloudEvent(
            id=f"gpu-{ctx.node_id}-{device.index}-{node.started_at:%Y%m%d%H%M%S}-{number}",
            source=source_of(ctx.node_id),
            type=GPU_TYPE,
            subject=f"{ctx.node_id}/{device.index}",
            time=ctx.clock.now(),
            data=device.model_dump(mode="json"),
        )
        ctx.bus.publish_live(f"gpu.{ctx.node_id}.{device.index}", event)
