"""Jobs for tests."""

from datetime import UTC, datetime

from daemon.core.moves import created
from schemas.jobs import TRAINING_JOB, TrainingJob

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
NODE = "node-a"


def make_job(job_id: str = "job-1", **fields: object) -> TrainingJob:
    """A pending LLM job, with its first event."""
    base: dict[str, object] = {
        "id": job_id,
        "training_type": "llm",
        "model_path": "Qwen/Qwen2.5-7B-Instruct",
        "datasets": ["AI-ModelScope/alpaca-gpt4-data-zh#500"],
        "output_dir": "output/llm_test",
        "run_dir": f"/work/output/llm_test/{job_id}",
        "created_at": NOW,
        "owner": "alice",
    }
    return created(TRAINING_JOB.validate_python({**base, **fields}), at=NOW, by=NODE)
