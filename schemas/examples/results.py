"""An example of every result, filled up with its model's defaults as on the wire, and the replies around them."""

from collections.abc import Mapping

from schemas.commands import RESULTS
from schemas.examples.events import GPU, RUNNING_EVENT
from schemas.examples.requests import CREATE_LLM, CREATE_VLM, LLM_JOB, NODE, RUN_DIR, VLM_JOB, Data
from schemas.kinds import VLMTrainingJobCreateRequest
from schemas.replies import JobStatus, Reply, ReplyError

_DOCUMENT: Data = {
    **{name: value for name, value in CREATE_LLM.items() if name != "start"},
    "id": LLM_JOB,
    "status": "running",
    "owner": "alice",
    "node_id": NODE,
    "devices": [0, 1],
    "attempt": 1,
    "created_at": "2026-11-24T12:05:00Z",
    "queued_at": "2026-11-24T12:05:00Z",
    "started_at": "2026-11-24T12:05:01.400000Z",
    "process_id": 21540,
    "log_file_path": f"/var/lib/swift-trainer/logs/llm_training_{LLM_JOB}.log",
    "progress": 30.0,
    "phase": "training",
    "current_step": 45,
    "total_steps": 150,
    "current_epoch": 0.9,
    "loss": 1.0834,
    "grad_norm": 0.7261,
    "current_learning_rate": 8.9e-05,
    "token_acc": 0.7312,
    "memory_gib": 34.91,
    "seconds_per_step": 17.6,
    "estimated_time_remaining": 1848.0,
    "eval_metrics": {"eval_loss": 1.1207, "eval_token_acc": 0.7244},
    "run_dir": RUN_DIR,
    "swift_argv": ["swift", "sft", "--model", "Qwen/Qwen2.5-7B-Instruct", "--output_dir", RUN_DIR],
}
_NODE: Data = {
    "node_id": NODE,
    "state": "online",
    "last_heartbeat": "2026-11-24T12:19:01Z",
    "started_at": "2026-11-20T08:00:00Z",
    "versions": {"swift-trainer": "0.1.0", "ms-swift": "4.0.0"},
    "devices": [GPU],
    "store_skew_seconds": 0.002,
    "disks": [{"path": "/var/lib/swift-trainer", "free_mib": 184320.0}],
}
_DEFAULTS: Data = {
    name: field.get_default(call_default_factory=True)
    for name, field in VLMTrainingJobCreateRequest.model_fields.items()
    if not field.is_required()
}


def _result(command: str, data: Mapping[str, object]) -> Data:
    adapter = RESULTS[command]
    filled: Data = adapter.dump_python(adapter.validate_python(data), mode="json", exclude={"internal"})
    return filled


RESULT_EXAMPLES: dict[str, Data] = {
    command: _result(command, data)
    for command, data in {
        "job.create": {"job_id": LLM_JOB, "status": "queued", "message": "created and queued"},
        "job.start": {"job_id": VLM_JOB, "status": "queued", "message": "queued", "queue_position": 1},
        "job.stop": {
            "job_id": LLM_JOB,
            "status": "stopping",
            "message": "stopping; the status event cancelled tells when nothing of it is left",
        },
        "job.resume": {"job_id": LLM_JOB, "status": "queued", "message": "queued", "queue_position": 2},
        "job.export": {
            "job_id": LLM_JOB,
            "status": "exporting",
            "message": f"export of {RUN_DIR}/checkpoint-150 queued",
        },
        "job.delete": {"job_id": LLM_JOB, "message": f"deleted with its run folder {RUN_DIR}"},
        "job.get": _DOCUMENT,
        "job.status": {
            "job_id": LLM_JOB,
            **{name: value for name, value in _DOCUMENT.items() if name in JobStatus.model_fields},
            "learning_rate": _DOCUMENT["current_learning_rate"],
            "gpu_memory_usage": {"0": {"memory_used": 36218.5, "memory_total": 81559.0, "utilization": 97.0}},
            "export_status": "none",
        },
        "job.list": {
            "jobs": [_result("job.get", _DOCUMENT)],
            "total": 1,
            "page": 1,
            "size": 10,
            "total_llm": 1,
            "total_vlm": 0,
        },
        "job.logs": {
            "job_id": LLM_JOB,
            "lines": ["Train:  30%|###       | 45/150 [13:12<30:48, 17.60s/it]"],
            "offset": 48312,
            "next_offset": 48371,
            "eof": True,
        },
        "job.events": {"job_id": LLM_JOB, "events": [RUNNING_EVENT]},
        "job.metrics": {
            "job_id": LLM_JOB,
            "points": [
                {
                    "step": 45,
                    "epoch": 0.9,
                    "loss": 1.0834,
                    "grad_norm": 0.7261,
                    "learning_rate": 8.9e-05,
                    "token_acc": 0.7312,
                    "memory_gib": 34.91,
                    "seconds_per_step": 17.6,
                    "eval": {"eval_loss": 1.1207},
                    "time": "2026-11-24T12:19:02.337000Z",
                }
            ],
        },
        "params.default": {"training_type": "vlm", **_DEFAULTS},
        "gpu.list": {"gpus": [GPU], "total": 1},
        "queue.list": {
            "jobs": [
                {
                    "job_id": VLM_JOB,
                    "training_type": "vlm",
                    "owner": "bob",
                    "work": "train",
                    "priority": 0,
                    "position": 1,
                    "devices_needed": 2,
                    "gpu_id": "0,1",
                    "queued_at": "2026-11-24T12:10:00Z",
                    "wait_reason": f"device 0 is leased to job {LLM_JOB}",
                }
            ],
            "total": 1,
        },
        "node.list": {"nodes": [_NODE], "total": 1},
        "node.drain": {
            "node_id": NODE,
            "state": "drained",
            "message": "drained: starts nothing new, its jobs finish",
        },
        "node.resume": {"node_id": NODE, "state": "online", "message": "resumed: starts jobs again"},
        "node.forget": {"node_id": NODE, "state": "offline", "message": "forgotten, until it sends a heartbeat"},
        "system.status": {
            "status": "ok",
            "broker": "ok",
            "store": "ok",
            "devices": "ok",
            "swift": "ok",
            "node_id": NODE,
            "versions": {"swift-trainer": "0.1.0", "ms-swift": "4.0.0"},
            "counts": {"queued": 1, "running": 1, "completed": 12},
            "time": "2026-11-24T12:19:03Z",
            "store_skew_seconds": 0.002,
        },
    }.items()
}


def accepted_reply(command: str) -> Data:
    """The reply to a command that was carried out."""
    reply = Reply(ok=True, command=command, result=RESULT_EXAMPLES[command])
    return reply.model_dump(mode="json", exclude={"error"})


def refused_reply(command: str) -> Data:
    """The reply to a command that was refused."""
    error: Data = {"code": "not_found", "message": f"there is no job {LLM_JOB}"}
    if command == "job.create":
        fault: Data = {"loc": ["lora_rank"], "message": "Input should be a valid integer", "input": "8"}
        message = "lora_rank: Input should be a valid integer"
        error = {"code": "invalid_request", "message": message, "details": [fault]}
    elif not command.startswith("job."):
        error = {"code": "unavailable", "message": "the store is away"}
    reply = Reply(ok=False, command=command, error=ReplyError.model_validate(error))
    return reply.model_dump(mode="json", exclude={"result"})


VLM_DOCUMENT: Data = _result(
    "job.get", {**CREATE_VLM, "id": VLM_JOB, "owner": "bob", "created_at": "2026-11-24T12:10:00Z"}
)
"""A job that was only created."""
