"""The paths of devices, the queue, nodes, the system, and what a request may hold."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter

from daemon import __version__
from daemon.client import Json
from daemon.gateway import words
from daemon.gateway.access import Bus, Operator, Reader
from daemon.gateway.answers import Gpus, Health, Me
from daemon.gateway.bodies import Body, described
from daemon.gateway.link import Link
from daemon.gateway.openapi import BODY, BUS, GATE, NAMED, ORDER, PARAMETERS, answers
from schemas.commands import COMMANDS
from schemas.enums import TrainingType
from schemas.examples import RESULT_EXAMPLES
from schemas.examples.requests import NODE
from schemas.kinds import LLMTrainingJobCreateRequest, VLMTrainingJobCreateRequest
from schemas.replies import NodeAccepted, NodeList, ParamDefaults, QueueList, SystemStatus

router = APIRouter(tags=["fleet"])

NodeId = Annotated[
    str,
    Path(max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="The node's id.", examples=[NODE]),
]
CREATE_SCHEMAS = {
    TrainingType.LLM: TypeAdapter(LLMTrainingJobCreateRequest).json_schema(),
    TrainingType.VLM: TypeAdapter(VLMTrainingJobCreateRequest).json_schema(),
}
_SHOWN = ("model_path", "learning_rate")
_SCHEMA = {
    "type": "object",
    "properties": {name: CREATE_SCHEMAS[TrainingType.LLM]["properties"][name] for name in _SHOWN},
    "required": ["model_path"],
    "additionalProperties": False,
}
"""A schema as an example: two of its many fields."""
_ME = Me(name="alice", role="submit", owner="alice").model_dump()
HEALTHY = Health(status="ok", broker="ok", version=__version__).model_dump()
_DRAIN, _RESUME = (
    described(COMMANDS["node.drain"], without="node_id", examples=({}, {"deadline_seconds": 600}, {"devices": [0]})),
    described(COMMANDS["node.resume"], without="node_id", examples=({}, {"devices": [0]})),
)


@router.get(
    "/gpus",
    response_model=Gpus,
    responses=answers(words.gpus(RESULT_EXAMPLES["gpu.list"]), BUS),
    summary="Every node's devices",
)
async def gpus(_who: Reader, link: Bus) -> JSONResponse:
    """Use, state, and the job or the reason."""
    return JSONResponse(words.gpus(await link.send("gpu.list", {})))


@router.get(
    "/queue",
    response_model=QueueList,
    responses=answers(RESULT_EXAMPLES["queue.list"], BUS),
    summary="What waits, and why",
)
async def queue(_who: Reader, link: Bus) -> JSONResponse:
    """In the order of the turns."""
    return JSONResponse(await link.send("queue.list", {}))


@router.get(
    "/nodes",
    response_model=NodeList,
    responses=answers(RESULT_EXAMPLES["node.list"], BUS),
    summary="The daemons' nodes",
)
async def nodes(_who: Reader, link: Bus) -> JSONResponse:
    """State, last heartbeat, versions and devices."""
    return JSONResponse(await link.send("node.list", {}))


@router.post(
    "/nodes/{node_id}/drain",
    response_model=NodeAccepted,
    openapi_extra=_DRAIN,
    responses=answers(RESULT_EXAMPLES["node.drain"], BUS, NAMED, BODY, ORDER),
    summary="Drain a node",
)
async def drain(node_id: NodeId, who: Operator, body: Body, link: Bus) -> JSONResponse:
    """It, or some of its devices, start nothing new; after a deadline what runs there goes on elsewhere."""
    return JSONResponse(await link.send("node.drain", {**body, "node_id": node_id}, owner=who.owner))


@router.post(
    "/nodes/{node_id}/resume",
    response_model=NodeAccepted,
    openapi_extra=_RESUME,
    responses=answers(RESULT_EXAMPLES["node.resume"], BUS, NAMED, BODY, ORDER),
    summary="Resume a node",
)
async def resume(node_id: NodeId, who: Operator, body: Body, link: Bus) -> JSONResponse:
    """It, or some of its devices, start work again."""
    return JSONResponse(await link.send("node.resume", {**body, "node_id": node_id}, owner=who.owner))


@router.get(
    "/system/status",
    response_model=SystemStatus,
    responses=answers(RESULT_EXAMPLES["system.status"], BUS),
    summary="What is well and what is not",
)
async def system_status(_who: Reader, link: Bus) -> JSONResponse:
    """Broker, store, devices, ms-swift, versions, and counts by status."""
    return JSONResponse(await link.send("system.status", {}))


@router.get(
    "/params/{training_type}",
    response_model=ParamDefaults,
    responses=answers(RESULT_EXAMPLES["params.default"], BUS, PARAMETERS),
    summary="Defaults of a create request",
)
async def params(training_type: TrainingType, _who: Reader, link: Bus) -> JSONResponse:
    """As the daemon has them."""
    return JSONResponse(await link.send("params.default", {"training_type": training_type}))


@router.get(
    "/schemas/{training_type}",
    responses=answers(_SCHEMA, GATE, PARAMETERS),
    summary="JSON Schema of a create request",
)
async def schema(training_type: TrainingType, _who: Reader) -> Json:
    """Forms can be made from it."""
    return CREATE_SCHEMAS[training_type]


@router.get("/me", responses=answers(_ME, GATE), summary="Who asks")
async def me(who: Reader) -> Me:
    """What the token allows."""
    return Me(name=who.name, role=who.role.name.lower(), owner=who.owner)


@router.head("/health", include_in_schema=False)
@router.get("/health", responses=answers(HEALTHY), summary="Whether the gateway is there")
async def health(link: Bus) -> Health:
    """Needs no token, and answers while the broker is away."""
    return health_of(link)


def health_of(link: Link) -> Health:
    """How the gateway is."""
    return Health(status="degraded" if link.trouble else "ok", broker=link.trouble or "ok", version=__version__)
