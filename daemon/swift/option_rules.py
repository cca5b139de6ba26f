"""What this project says of ms-swift's options beyond their types: which a request's `extra_args` may not set, and why.

Made by going through every option of 3.12.6 and 4.6.0. A new version's options are ms-swift's to judge until they stand
here.
"""

from collections.abc import Mapping

FIELD_OF: Mapping[str, str] = {
    "model": "model_path",
    "tuner_type": "train_type",
    "train_type": "train_type",
    "dataset": "datasets",
    "torch_dtype": "torch_dtype",
    "num_train_epochs": "num_epochs",
    "per_device_train_batch_size": "batch_size",
    "per_device_eval_batch_size": "batch_size",
    "learning_rate": "learning_rate",
    "lora_rank": "lora_rank",
    "lora_alpha": "lora_alpha",
    "target_modules": "target_modules",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "eval_steps": "eval_steps",
    "save_steps": "save_steps",
    "save_total_limit": "save_total_limit",
    "logging_steps": "logging_steps",
    "max_length": "max_length",
    "output_dir": "output_dir",
    "system": "system",
    "warmup_ratio": "warmup_ratio",
    "dataloader_num_workers": "dataloader_num_workers",
    "model_author": "model_author",
    "model_name": "model_name",
    "model_type": "model_type",
    "template": "template",
    "val_dataset": "val_datasets",
    "split_dataset_ratio": "split_dataset_ratio",
}
"""Options that a field of every request sets."""

VISION_FIELDS = (
    "vit_lr", "aligner_lr", "freeze_vit", "freeze_aligner", "freeze_llm", "max_pixels", "dataset_num_proc",
    "deepspeed", "external_plugins", "save_only_model",
)  # fmt: skip
"""Options that a VLM request's own fields set."""

_PUBLISHES = "publishing is not a training's business here; export the job and publish what it made"
_NOTIFIES = "the node would send to an address of the sender's choice; subscribe to the job's events instead"
_LAUNCHES = "the daemon launches the processes of a job, and must be able to end all of them"
_ENDS_EARLY = "a run that ends before its last step counts as failed here; use num_epochs, or stop the job"

REFUSED: Mapping[str, str] = {
    "resume_from_checkpoint": "use job.resume, which goes on from the newest complete checkpoint",
    "push_to_hub": _PUBLISHES,
    "push_to_hub_model_id": _PUBLISHES,
    "push_to_hub_organization": _PUBLISHES,
    "push_to_hub_token": _PUBLISHES,
    "hub_model_id": _PUBLISHES,
    "hub_strategy": _PUBLISHES,
    "hub_private_repo": _PUBLISHES,
    "hub_always_push": _PUBLISHES,
    "hub_revision": _PUBLISHES,
    "hub_token": "a stored job must not carry a secret; set it in the daemon's environment",
    "trackio_space_id": _PUBLISHES,
    "trackio_bucket_id": _PUBLISHES,
    "trackio_static_space_id": _PUBLISHES,
    "swanlab_notification_method": _NOTIFIES,
    "swanlab_webhook_url": _NOTIFIES,
    "swanlab_sender_email": _NOTIFIES,
    "swanlab_receiver_email": _NOTIFIES,
    "swanlab_smtp_server": _NOTIFIES,
    "swanlab_smtp_port": _NOTIFIES,
    "use_ray": _LAUNCHES,
    "ray_exp_name": _LAUNCHES,
    "device_groups": _LAUNCHES,
    "local_rank": _LAUNCHES,
    "max_epochs": _ENDS_EARLY,
    "early_stop_interval": _ENDS_EARLY,
    "create_checkpoint_symlink": "it fails when a run folder is used again, as a resume does; the job's document names "
    "the newest and the best checkpoint",
}
"""Options that no request may set."""

REFUSED_CALLBACKS: Mapping[str, str] = {"early_stop": _ENDS_EARLY}

RUNS_CODE: Mapping[str, str] = {
    "external_plugins": "runs Python code",
    "custom_register_path": "runs Python code",
    "local_repo_path": "runs the Python code of that folder",
    "load_args": "takes external_plugins from the model's or adapter's args.json, which is Python code",
    "ckpt_dir": "takes external_plugins from that folder's args.json, which is Python code",
}
"""Options that an operator has to allow. (ms-swift also runs the code that a model's own folder or repository ships,
and has no option against it.)"""

HUB_KERNELS = frozenset({"attn_impl", "experts_impl"})
"""A value with a `/` names a repository whose code is fetched and run."""

NAMES_PATHS: Mapping[str, str] = {
    "custom_dataset_info": "names further files, which can't be held below the allowed roots",
}
"""Refused where the operator has set allowed roots."""

SETS_ENVIRONMENT = "model_kwargs"
"""Its entries become environment variables of the training."""

OPENED: Mapping[str, str] = {
    "adapters": "an adapter's folder",
    "cached_dataset": "a data set's folder",
    "cached_val_dataset": "a data set's folder",
    "custom_dataset_info": "a JSON file",
    "external_plugins": "a Python file",
    "custom_register_path": "a Python file",
    "local_repo_path": "a folder of Python code",
    "ckpt_dir": "a checkpoint's folder",
    "new_special_tokens": "a .txt file",
    "generation_config": "a folder or JSON file",
    "deepspeed": "a JSON file",
    "fsdp": "a JSON file",
    "fsdp_config": "a JSON file",
    "accelerator_config": "a JSON file",
    "lr_scheduler_kwargs": "a JSON file",
    "gradient_checkpointing_kwargs": "a JSON file",
    "liger_kernel_config": "a JSON file",
    "columns": "a JSON file",
    "device_map": "a JSON file",
    "max_memory": "a JSON file",
    "rope_scaling": "a JSON file",
    "mrl_dims": "a JSON file",
    "model_kwargs": "a JSON file",
    "eval_dataset_args": "a JSON file",
    "eval_generation_config": "a JSON file",
    "extra_eval_args": "a JSON file",
    "logging_dir": "a folder that TensorBoard's files are written to",
}
"""Options whose value ms-swift opens where a file or folder of that name is there, whatever the name looks like."""
