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
from schemas.commands import COMMANDS
from schemas.enums import TrainingType
from schemas.kinds import LLMTrainingJobCreateRequest, VLMTrainingJobCreateRequest
from schemas.replies import NodeAccepted, NodeList, ParamDefaults, QueueList, SystemStatus

router = APIRouter(tags=["fleet"])

NodeId = Annotated[str, Path(max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="The node's id.")]
CREATE_SCHEMAS = {
    TrainingType.LLM: TypeAdapter(LLMTrainingJobCreateRequest).json_schema(),
    TrainingType.VLM: TypeAdapter(VLMTrainingJobCreateRequest).json_schema(),
}
_DRAIN, _RESUME = (
    described(COMMANDS["node.drain"], without="node_id", examples=({}, {"deadline_seconds": 600}, {"devices": [0]})),
    described(COMMANDS["node.resume"], without="node_id", examples=({}, {"devices": [0]})),
)


@router.get("/gpus", response_model=Gpus, summary="Every node's devices")
async def gpus(_who: Reader, link: Bus) -> JSONResponse:
    """Use, state, and the job or the reason."""
    found = await link.send("gpu.list", {})
    return JSONResponse({**found, "gpus": [words.device(each) for each in found["gpus"]]})


@router.get("/queue", response_model=QueueList, summary="What waits, and why")
async def queue(_who: Reader, link: Bus) -> JSONResponse:
    """In the order of the turns."""
    return JSONResponse(await link.send("queue.list", {}))


@router.get("/nodes", response_model=NodeList, summary="The daemons' nodes")
async def nodes(_who: Reader, link: Bus) -> JSONResponse:
    """State, last heartbeat, versions and devices."""
    return JSONResponse(await link.send("node.list", {}))


@router.post("/nodes/{node_id}/drain", response_model=NodeAccepted, openapi_extra=_DRAIN, summary="Drain a node")
async def drain(node_id: NodeId, who: Operator, body: Body, link: Bus) -> JSONResponse:
    """It, or some of its devices, start nothing new; after a deadline what runs there goes on elsewhere."""
    return JSONResponse(await link.send("node.drain", {**body, "node_id": node_id}, owner=who.owner))


@router.post("/nodes/{node_id}/resume", response_model=NodeAccepted, openapi_extra=_RESUME, summary="Resume a node")
async def resume(node_id: NodeId, who: Operator, body: Body, link: Bus) -> JSONResponse:
    """It, or some of its devices, start work again."""
    return JSONResponse(await link.send("node.resume", {**body, "node_id": node_id}, owner=who.owner))


@router.get("/system/status", response_model=SystemStatus, summary="What is well and what is not")
async def system_status(_who: Reader, link: Bus) -> JSONResponse:
    """Broker, store, devices, ms-swift, versions, and counts by status."""
    return JSONResponse(await link.send("system.status", {}))


@router.get("/params/{training_type}", response_model=ParamDefaults, summary="Defaults of a create request")
async def params(training_type: TrainingType, _who: Reader, link: Bus) -> JSONResponse:
    """As the daemon has them."""
    return JSONResponse(await link.send("params.default", {"training_type": training_type}))


@router.get("/schemas/{training_type}", summary="JSON Schema of a create request")
async def schema(training_type: TrainingType, _who: Reader) -> Json:
    """Forms can be made from it."""
    return CREATE_SCHEMAS[training_type]


@router.get("/me", summary="Who asks")
async def me(who: Reader) -> Me:
    """What the token allows."""
    return Me(name=who.name, role=who.role.name.lower(), owner=who.owner)


@router.get("/health", summary="Whether the gateway is there")
async def health(link: Bus) -> Health:
    """Needs no token, and answers while the broker is away."""
    return health_of(link)


def health_of(link: Link) -> Health:
    """How the gateway is."""
    return Health(status="degraded" if link.trouble else "ok", broker=link.trouble or "ok", version=__version__)
