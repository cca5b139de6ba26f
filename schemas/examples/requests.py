"""An example of every command's body, as a stranger would send it."""

Data = dict[str, object]

LLM_JOB = "7c0f6f0e-2f4b-4a55-9a1e-0d6f7f3c9b11"
VLM_JOB = "b1d6a9c2-58f3-4b0c-8f43-3f1a0e2d7c55"
NODE = "gpu-node-1"
RUN_DIR = "/data/output/support-lora/v0-20261124-120500"

CREATE_LLM: Data = {
    "training_type": "llm",
    "model_path": "Qwen/Qwen2.5-7B-Instruct",
    "datasets": ["/data/support/train.jsonl", "AI-ModelScope/alpaca-gpt4-data-en#500"],
    "val_datasets": ["/data/support/val.jsonl"],
    "output_dir": "/data/output/support-lora",
    "gpu_count": 2,
    "num_epochs": 3,
    "learning_rate": 0.0001,
    "eval_steps": 0.1,
    "save_steps": 50,
    "system": "You are the support desk's assistant.",
    "priority": 5,
    "labels": {"team": "support", "experiment": "lora-r8"},
    "env": {"NCCL_DEBUG": "WARN"},
    "extra_args": {"neftune_noise_alpha": 5, "packing": True},
    "max_retries": 1,
    "timeout_seconds": 86400,
    "start": True,
}
CREATE_VLM: Data = {
    "training_type": "vlm",
    "model_path": "Qwen/Qwen2.5-VL-7B-Instruct",
    "data_path": "/data/receipts/train.jsonl",
    "output_dir": "/data/output/receipts-vlm",
    "gpu_id": "0,1",
    "max_pixels": 1003520,
    "freeze_vit": False,
    "deepspeed": "zero2",
}

REQUESTS: dict[str, tuple[Data, ...]] = {
    "job.create": (CREATE_LLM, CREATE_VLM),
    "job.start": ({"job_id": VLM_JOB},),
    "job.stop": ({"job_id": LLM_JOB, "grace_seconds": 120, "save": True}, {"job_id": LLM_JOB}),
    "job.resume": ({"job_id": LLM_JOB},),
    "job.export": (
        {"job_id": LLM_JOB},
        {"job_id": LLM_JOB, "checkpoint": "best", "quant_method": "bnb", "quant_bits": 4},
    ),
    "job.delete": ({"job_id": LLM_JOB, "purge_output": True},),
    "job.get": ({"job_id": LLM_JOB},),
    "job.status": ({"job_id": LLM_JOB},),
    "job.list": ({}, {"training_type": "llm", "status": ["queued", "running"], "label": "team=support", "size": 50}),
    "job.logs": ({"job_id": LLM_JOB, "tail": 20}, {"job_id": LLM_JOB, "offset": 48213, "limit": 65536}),
    "job.events": ({"job_id": LLM_JOB, "after": 3},),
    "job.metrics": ({"job_id": LLM_JOB, "max_points": 500},),
    "params.default": ({"training_type": "vlm"},),
    "gpu.list": ({},),
    "queue.list": ({}, {"page": 2, "size": 100}),
    "node.list": ({},),
    "node.drain": ({"node_id": NODE},),
    "node.resume": ({"node_id": NODE},),
    "node.forget": ({"node_id": NODE},),
    "system.status": ({},),
}
