"""The environment of a training: what it inherits, and what it must not."""

from typing import Any

from daemon.swift.environment import training_env

INHERITED = {
    "PATH": "/bin", "HOME": "/root", "HF_TOKEN": "t", "https_proxy": "http://p", "NCCL_DEBUG": "INFO",
    "PYTHONPATH": "/plugins", "WANDB_API_KEY": "k",
}  # fmt: skip
MISLEADING = {
    "SWIFT_TRAINER_AMQP_URL": "amqp://u:p@h", "SWIFT_TRAINER_MONGODB_URL": "mongodb://u:p@h",
    "SWIFT_TRAINER_JOB_ID": "an outer one", "CUDA_VISIBLE_DEVICES": "7", "NVIDIA_VISIBLE_DEVICES": "all",
    "NPROC_PER_NODE": "8", "NNODES": "2", "MASTER_PORT": "1", "MASTER_ADDR": "h", "RANK": "3", "WORLD_SIZE": "9",
    "TORCHELASTIC_RUN_ID": "x", "ACCELERATE_USE_FSDP": "1", "PAI_TRAINING_JOB_ID": "p", "RAY_SWIFT_ARGS": "[]",
    "TENSORBOARD_LOGGING_DIR": "/x", "VIRTUAL_ENV": "/daemon", "PYTHONHOME": "/daemon", "PYTHONWARNINGS": "error",
    "NOTIFY_SOCKET": "/run/x",
}  # fmt: skip


def env(**fields: Any) -> dict[str, str]:
    given: dict[str, Any] = {
        "inherited": {**INHERITED, **MISLEADING}, "job_id": "job-1", "attempt": 2, "devices": (0,),
        "cuda_names": ("0",), "master_port": None, "max_pixels": None, "request_env": {}, **fields,
    }  # fmt: skip
    return training_env(**given)


def test_one_gpu() -> None:
    assert env(devices=(3,), cuda_names=("3",)) == {
        **INHERITED,
        "SWIFT_TRAINER_JOB_ID": "job-1",
        "SWIFT_TRAINER_ATTEMPT": "2",
        "SWIFT_TRAINER_JOB_DEVICES": "3",
        "CUDA_VISIBLE_DEVICES": "3",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def test_several_gpus_have_a_rank_each_and_a_port_of_their_own() -> None:
    found = env(devices=(2, 0), cuda_names=("2", "0"), master_port=40123)
    assert (found["NPROC_PER_NODE"], found["MASTER_PORT"]) == ("2", "40123")
    assert found["CUDA_VISIBLE_DEVICES"] == found["SWIFT_TRAINER_JOB_DEVICES"] == "2,0"


def test_a_mig_instance_is_named_by_its_own_id_to_cuda_alone() -> None:
    found = env(devices=(1032,), cuda_names=("MIG-abc",))
    assert (found["CUDA_VISIBLE_DEVICES"], found["SWIFT_TRAINER_JOB_DEVICES"]) == ("MIG-abc", "1032")


def test_cpu_slots_see_no_gpu() -> None:
    found = env(devices=(0, 1), cuda_names=(), master_port=40123)
    assert found["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_DEVICE_ORDER" not in found
    assert found["NPROC_PER_NODE"] == "2"


def test_the_daemons_secrets_are_not_in_it() -> None:
    found = env()
    assert not {name for name in found if name.startswith("SWIFT_TRAINER_")} - {
        "SWIFT_TRAINER_JOB_ID", "SWIFT_TRAINER_ATTEMPT", "SWIFT_TRAINER_JOB_DEVICES",
    }  # fmt: skip
    assert not any("u:p@h" in value for value in found.values())


def test_the_request_comes_after_what_is_inherited_and_before_the_contract() -> None:
    found = env(request_env={"NCCL_DEBUG": "WARN", "MAX_PIXELS": "1", "CUDA_VISIBLE_DEVICES": "5"}, max_pixels=100352)
    assert found["NCCL_DEBUG"] == "WARN"
    assert found["MAX_PIXELS"] == "100352"
    assert found["CUDA_VISIBLE_DEVICES"] == "0"
    assert env(request_env={"MAX_PIXELS": "1"})["MAX_PIXELS"] == "1"
