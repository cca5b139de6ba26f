"""An example of every event, whole, as it is on the wire."""

from schemas.events import (
    CHECKPOINT_TYPE,
    EVENTS,
    EXPORT_TYPE,
    GPU_TYPE,
    LOG_TYPE,
    NODE_TYPE,
    PROGRESS_TYPE,
    STATUS_TYPE,
    CloudEvent,
)
from schemas.examples.requests import LLM_JOB, NODE, RUN_DIR, Data

_ABOUT: Data = {
    "job_id": LLM_JOB,
    "training_type": "llm",
    "owner": "alice",
    "labels": {"team": "support", "experiment": "lora-r8"},
    "attempt": 1,
}
GPU: Data = {
    "node_id": NODE,
    "index": 0,
    "uuid": "GPU-8f6c3a52-6d1e-4c7c-9a05-2d1b7d0c4e9f",
    "name": "NVIDIA H100 80GB HBM3",
    "memory_total_mib": 81559.0,
    "memory_used_mib": 36218.5,
    "memory_free_mib": 45340.5,
    "utilization": 97.0,
    "temperature": 61.0,
    "power": 512.4,
    "state": "leased",
    "job_id": LLM_JOB,
    "processes": [{"pid": 21544, "memory_mib": 35702.0, "user": "swift", "command": "python3.11"}],
}
_FAILED: Data = {
    **_ABOUT,
    "status": "failed",
    "previous": "running",
    "reason": "the training ran out of device memory",
    "error_code": "out_of_memory",
    "error_message": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB.",
    "exit_code": 1,
}


def _event(kind: str, subject: str, time: str, data: Data, sequence: int | None = None) -> Data:
    filled = EVENTS[kind].data.model_validate(data).model_dump(mode="json")
    event = CloudEvent.model_validate(
        {
            "id": f"{subject.replace('/', '-')}-{sequence or 'live-17'}",
            "source": f"/swift-trainer/nodes/{NODE}",
            "type": kind,
            "subject": subject,
            "time": time,
            "sequence": sequence,
            "data": filled,
        }
    )
    return event.model_dump(mode="json", exclude=set() if EVENTS[kind].durable else {"sequence"})


RUNNING_EVENT = _event(
    STATUS_TYPE,
    LLM_JOB,
    "2026-11-24T12:05:48.120000Z",
    {**_ABOUT, "status": "running", "previous": "starting", "reason": "training has begun"},
    sequence=4,
)

EVENT_EXAMPLES: dict[str, tuple[Data, ...]] = {
    STATUS_TYPE: (
        RUNNING_EVENT,
        _event(STATUS_TYPE, LLM_JOB, "2026-11-24T12:31:07.551000Z", _FAILED, sequence=6),
    ),
    CHECKPOINT_TYPE: (
        _event(
            CHECKPOINT_TYPE,
            LLM_JOB,
            "2026-11-24T12:20:31.004000Z",
            {**_ABOUT, "path": f"{RUN_DIR}/checkpoint-50", "step": 50},
            sequence=5,
        ),
    ),
    EXPORT_TYPE: (
        _event(
            EXPORT_TYPE,
            LLM_JOB,
            "2026-11-24T13:12:40.870000Z",
            {
                **_ABOUT,
                "export_status": "completed",
                "export_completed": True,
                "export_path": f"{RUN_DIR}/exports/checkpoint-150-merged",
                "export_time": "2026-11-24T13:12:40.870000Z",
                "checkpoint": f"{RUN_DIR}/checkpoint-150",
            },
            sequence=12,
        ),
    ),
    PROGRESS_TYPE: (
        _event(
            PROGRESS_TYPE,
            LLM_JOB,
            "2026-11-24T12:19:02.337000Z",
            {
                **_ABOUT,
                "phase": "training",
                "step": 45,
                "total_steps": 150,
                "percent": 30.0,
                "epoch": 0.9,
                "loss": 1.0834,
                "grad_norm": 0.7261,
                "learning_rate": 8.9e-05,
                "token_acc": 0.7312,
                "eval": {"eval_loss": 1.1207, "eval_token_acc": 0.7244},
                "memory_gib": 34.91,
                "seconds_per_step": 17.6,
                "elapsed_seconds": 792.0,
                "remaining_seconds": 1848.0,
                "gpus": [GPU],
            },
        ),
    ),
    LOG_TYPE: (
        _event(
            LOG_TYPE,
            LLM_JOB,
            "2026-11-24T12:19:02.340000Z",
            {
                **_ABOUT,
                "lines": [
                    "{'loss': 1.0834, 'grad_norm': 0.7261, 'global_step/max_steps': '45/150'}",
                    "Train:  30%|###       | 45/150 [13:12<30:48, 17.60s/it]",
                ],
                "offset": 48213,
                "next_offset": 48371,
            },
        ),
    ),
    GPU_TYPE: (_event(GPU_TYPE, f"{NODE}/0", "2026-11-24T12:19:00.000000Z", GPU),),
    NODE_TYPE: (
        _event(
            NODE_TYPE,
            NODE,
            "2026-11-24T14:00:00.000000Z",
            {"node_id": NODE, "state": "drained", "reason": "drained: starts nothing new, its jobs finish"},
            sequence=2,
        ),
    ),
}
