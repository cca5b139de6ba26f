"""The commands about the whole: devices, the queue, nodes, the system's state."""

from daemon import __version__
from daemon.core.clocks import apart_s
from daemon.core.devices import health
from daemon.loops.clocks import store_skew_s
from daemon.loops.context import Context
from daemon.loops.fleet import MOST_WAITING, devices_of, plan_now, state_of
from daemon.loops.handling.common import Sender
from daemon.ports import ToolchainError
from schemas.commands import Empty, QueueRequest
from schemas.replies import GpuList, Node, NodeList, QueuedJob, QueueList, SystemStatus


async def gpu_list(ctx: Context, _request: Empty, _sender: Sender) -> GpuList:
    """Every node's devices with who holds them."""
    nodes, held = await ctx.store.nodes(), await ctx.store.held()
    devices = tuple(device for node in nodes for device in devices_of(ctx, node, held))
    return GpuList(gpus=devices, total=len(devices))


async def queue_list(ctx: Context, request: QueueRequest, _sender: Sender) -> QueueList:
    """The front of the queue, or a page of it, in the order in which it would start, each with the reason it waits; and
    how many wait."""
    begin, end = request.stretch or (0, MOST_WAITING)
    decided = await plan_now(ctx, end if request.stretch else 0)
    reasons = {(work.job_id, work.kind): reason for work, reason in decided.waits}
    starts = {(start.work.job_id, start.work.kind): start for start in decided.starts}
    kept = {(each.work.job_id, each.work.kind): each for each in decided.reservations}
    jobs = tuple(
        QueuedJob(
            job_id=work.job_id,
            training_type=work.training_type,  # pyright: ignore[reportArgumentType]  # validated by the model
            owner=work.owner,
            work=work.kind,
            priority=work.priority,
            position=place,
            devices_needed=work.count,
            gpu_id=",".join(map(str, work.pinned)) or None,
            gpu_memory_mib=work.memory_mib,
            gpu_name=work.device_name,
            queued_at=work.queued_at,
            not_before=work.not_before,
            after=work.after,
            wait_reason=reasons.get(key, "starts now"),
            node_id=starts[key].node_id if key in starts else kept[key].node_id if key in kept else None,
            expected_start=kept[key].starts_at if key in kept else None,
        )
        for place, work in enumerate(decided.turns[begin:end], begin + 1)
        if (key := (work.job_id, work.kind))
    )
    return QueueList(jobs=jobs, total=await ctx.store.count_waiting())


async def node_list(ctx: Context, _request: Empty, _sender: Sender) -> NodeList:
    """All nodes that were ever seen."""
    records, held = await ctx.store.nodes(), await ctx.store.held()
    own = next((node.store_skew_seconds for node in records if node.node_id == ctx.node_id), None)
    nodes = tuple(
        Node(
            node_id=node.node_id,
            state=state_of(ctx, node),
            reason=node.reason,
            last_heartbeat=node.last_heartbeat,
            started_at=node.started_at,
            lost_after_seconds=node.lost_after_seconds,
            clock_skew_seconds=apart_s(own, node.store_skew_seconds) if node.node_id != ctx.node_id else None,
            store_skew_seconds=node.store_skew_seconds,
            versions=node.versions,
            devices=devices_of(ctx, node, held),
            disks=node.disks,
        )
        for node in records
    )
    return NodeList(nodes=nodes, total=len(nodes))


async def system_status(ctx: Context, _request: Empty, _sender: Sender) -> SystemStatus:
    """Each part, `ok` or what is wrong with it; the devices as they were last read, however often one asks."""
    broker, store, devices = await ctx.bus.check(), await ctx.store.check(), health(ctx.board.current())
    version, swift = await _swift(ctx)
    parts = (broker, store, devices, swift)
    return SystemStatus(
        status="ok" if all(part == "ok" for part in parts) else "degraded",
        broker=broker,
        store=store,
        devices=devices,
        swift=swift,
        node_id=ctx.node_id,
        versions={"swift-trainer": __version__, "ms-swift": version},
        counts=await ctx.store.counts(),
        time=ctx.clock.now(),
        store_skew_seconds=await store_skew_s(ctx),
    )


async def _swift(ctx: Context) -> tuple[str, str]:
    """Version and state of ms-swift."""
    try:
        installed = await ctx.toolchain.installed()
    except ToolchainError as error:
        return "unknown", str(error)
    return installed.version, installed.state
