"""Every command of the contract as a method: models of `schemas` in, models of `schemas` out.

A job is named by its id, by the answer to a command about it, or by its document. What changes something takes a
`message_id`: the same one again has no second effect. Each method raises `RefusedError` where the daemon refuses, and
`ClientError` where there is no answer.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import TypeAdapter, ValidationError

from daemon.client.errors import ClientError
from schemas.base import Wire
from schemas.commands import RESULTS
from schemas.enums import TrainingStatus, TrainingType
from schemas.jobs import LLMTrainingJob, TrainingJob, VLMTrainingJob
from schemas.kinds import LLMTrainingJobCreateRequest, VLMTrainingJobCreateRequest
from schemas.replies import (
    GpuList,
    JobAccepted,
    JobDeleted,
    JobEvents,
    JobLogs,
    JobMetrics,
    JobQueued,
    JobStatus,
    NodeAccepted,
    NodeList,
    ParamDefaults,
    QueueList,
    SystemStatus,
)

JobRef: TypeAlias = str | JobAccepted | JobQueued | JobStatus | LLMTrainingJob | VLMTrainingJob
"""What names a job."""
CreateBody: TypeAlias = LLMTrainingJobCreateRequest | VLMTrainingJobCreateRequest | Mapping[str, object]


class JobPage(Wire):
    """`job.list`'s result, its documents read."""

    jobs: tuple[TrainingJob, ...]
    """Newest first."""
    total: int
    """Jobs that the filter lets through, on all pages."""
    page: int
    """1 is the first."""
    size: int
    """Jobs on a page at most, as asked."""
    total_llm: int
    """Text jobs that the other filters let through."""
    total_vlm: int
    """Vision-language jobs that the other filters let through."""


_READS: dict[str, TypeAdapter[Any]] = {**RESULTS, "job.list": TypeAdapter(JobPage)}


def id_of(job: JobRef) -> str:
    """The id of the job that is meant."""
    if isinstance(job, str):
        return job
    return job.id if isinstance(job, LLMTrainingJob | VLMTrainingJob) else job.job_id


class Commands(ABC):
    """The methods, over one that sends."""

    @abstractmethod
    async def send(
        self, command: str, body: Mapping[str, object], *, message_id: str | None = None, owner: str | None = None
    ) -> Mapping[str, object]:
        """Send a command and wait for its result, over a lost connection as well."""

    async def create(
        self,
        request: CreateBody,
        *,
        start: bool | None = None,
        message_id: str | None = None,
        owner: str | None = None,
    ) -> JobAccepted:
        """`job.create`. `start`, where given, goes before the request's own. `owner` is as for `Client.call`."""
        body = dict(request) if isinstance(request, Mapping) else request.model_dump(mode="json", exclude_unset=True)
        if start is not None:
            body["start"] = start
        return await self._result("job.create", body, message_id=message_id, owner=owner)

    async def start(self, job: JobRef, *, message_id: str | None = None) -> JobQueued:
        """`job.start`: queue a pending job."""
        return await self._result("job.start", {"job_id": id_of(job)}, message_id=message_id)

    async def stop(
        self, job: JobRef, *, save: bool = False, grace_seconds: float | None = None, message_id: str | None = None
    ) -> JobAccepted:
        """`job.stop`: cancel what waits, end what runs, with `save` after a checkpoint."""
        body = _given(job_id=id_of(job), save=save, grace_seconds=grace_seconds)
        return await self._result("job.stop", body, message_id=message_id)

    async def resume(self, job: JobRef, *, message_id: str | None = None) -> JobQueued:
        """`job.resume`: queue a failed or cancelled job again, from its last checkpoint."""
        return await self._result("job.resume", {"job_id": id_of(job)}, message_id=message_id)

    async def export(
        self,
        job: JobRef,
        *,
        checkpoint: str = "last",
        merge_lora: bool = True,
        quant_method: str | None = None,
        quant_bits: int | None = None,
        message_id: str | None = None,
    ) -> JobAccepted:
        """`job.export`: merge or quantize a checkpoint of an ended job."""
        body = _given(
            job_id=id_of(job),
            checkpoint=checkpoint,
            merge_lora=merge_lora,
            quant_method=quant_method,
            quant_bits=quant_bits,
        )
        return await self._result("job.export", body, message_id=message_id)

    async def delete(self, job: JobRef, *, purge_output: bool = False, message_id: str | None = None) -> JobDeleted:
        """`job.delete`: remove an ended job, with `purge_output` its run folder too."""
        body = {"job_id": id_of(job), "purge_output": purge_output}
        return await self._result("job.delete", body, message_id=message_id)

    async def get(self, job: JobRef) -> TrainingJob:
        """`job.get`: the document."""
        return await self._result("job.get", {"job_id": id_of(job)})

    async def status(self, job: JobRef) -> JobStatus:
        """`job.status`: where it stands."""
        return await self._result("job.status", {"job_id": id_of(job)})

    async def jobs(
        self,
        *,
        training_type: TrainingType | None = None,
        status: TrainingStatus | Sequence[TrainingStatus] | None = None,
        owner: str | None = None,
        label: str | None = None,
        page: int = 1,
        size: int = 10,
    ) -> JobPage:
        """`job.list`: a page of jobs, newest first."""
        body = _given(training_type=training_type, status=status, owner=owner, label=label, page=page, size=size)
        return await self._result("job.list", body)

    async def logs(
        self,
        job: JobRef,
        *,
        tail: int = 100,
        offset: int | None = None,
        limit: int | None = None,
        max_lines: int | None = None,
    ) -> JobLogs:
        """`job.logs`: the last lines, or, with `offset`, whole lines from there, of at most `limit` bytes."""
        body = _given(job_id=id_of(job), tail=tail, offset=offset, limit=limit, max_lines=max_lines)
        return await self._result("job.logs", body)

    async def history(self, job: JobRef, *, after: int = 0, limit: int = 100) -> JobEvents:
        """`job.events`: a page of the durable events, those with a sequence above `after`."""
        return await self._result("job.events", {"job_id": id_of(job), "after": after, "limit": limit})

    async def metrics(self, job: JobRef, *, after_step: int | None = None, max_points: int = 1000) -> JobMetrics:
        """`job.metrics`: the training curve."""
        body = _given(job_id=id_of(job), after_step=after_step, max_points=max_points)
        return await self._result("job.metrics", body)

    async def params(self, training_type: TrainingType) -> ParamDefaults:
        """`params.default`: the defaults of a create request."""
        return await self._result("params.default", {"training_type": training_type})

    async def gpus(self) -> GpuList:
        """`gpu.list`: every node's devices."""
        return await self._result("gpu.list", {})

    async def queue(self, *, page: int | None = None, size: int | None = None) -> QueueList:
        """`queue.list`: what waits, in the order of the turns, and why; its front, or a page of it."""
        return await self._result("queue.list", _given(page=page, size=size))

    async def nodes(self) -> NodeList:
        """`node.list`: all nodes."""
        return await self._result("node.list", {})

    async def drain(
        self,
        node_id: str,
        *,
        devices: Sequence[int] | None = None,
        deadline_seconds: float | None = None,
        message_id: str | None = None,
    ) -> NodeAccepted:
        """`node.drain`: a node, or some of its devices, starts nothing new."""
        body = _given(node_id=node_id, devices=devices, deadline_seconds=deadline_seconds)
        return await self._result("node.drain", body, message_id=message_id)

    async def undrain(
        self, node_id: str, *, devices: Sequence[int] | None = None, message_id: str | None = None
    ) -> NodeAccepted:
        """`node.resume`: a drained node, or some of its devices, comes back to work."""
        return await self._result("node.resume", _given(node_id=node_id, devices=devices), message_id=message_id)

    async def forget(self, node_id: str, *, message_id: str | None = None) -> NodeAccepted:
        """`node.forget`: a node that is gone for good is left out of all lists."""
        return await self._result("node.forget", {"node_id": node_id}, message_id=message_id)

    async def system_status(self) -> SystemStatus:
        """`system.status`: broker, store, devices and ms-swift, and jobs by status."""
        return await self._result("system.status", {})

    async def _result(
        self, command: str, body: Mapping[str, object], *, message_id: str | None = None, owner: str | None = None
    ) -> Any:
        result = await self.send(command, body, message_id=message_id, owner=owner)
        try:
            return _READS[command].validate_python(result)
        except ValidationError as error:
            raise ClientError(
                f"the answer to {command} can't be read ({error.errors()[0]['msg']}); is this client much older than "
                "the daemon?"
            ) from None


def _given(**fields: object) -> dict[str, object]:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value is not None}
