"""The whole wiring of the commands: each name and the function that carries it out."""

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel

from daemon.loops.context import Context
from daemon.loops.handling import asking, changing, creating, nodes, overview
from daemon.loops.handling.common import Sender

Handler = Callable[[Context, Any, Sender], Awaitable[BaseModel | dict[str, object]]]
"""Takes the validated request of its command (the types differ by command, hence `Any`); returns the result."""

HANDLERS: dict[str, Handler] = {
    "job.create": creating.create,
    "job.start": changing.start,
    "job.stop": changing.stop,
    "job.resume": changing.resume,
    "job.export": changing.export,
    "job.delete": changing.delete,
    "job.get": asking.get,
    "job.status": asking.status,
    "job.list": asking.list_jobs,
    "job.logs": asking.logs,
    "job.events": asking.events,
    "job.metrics": asking.metrics,
    "params.default": asking.defaults,
    "gpu.list": overview.gpu_list,
    "queue.list": overview.queue_list,
    "node.list": overview.node_list,
    "node.drain": nodes.drain,
    "node.resume": nodes.resume,
    "node.forget": nodes.forget,
    "system.status": overview.system_status,
}
