"""Why a training failed: the code, and the one line that a person would look for."""

import pytest

from daemon.swift.failures import MAX_MESSAGE, Evidence, Failure, blames_devices, classify
from schemas.enums import ErrorCode
from tests.swift.recordings import recording

E = ErrorCode


def of_recording(name: str, exit_code: int | None = None) -> Failure:
    run = recording(name)
    evidence = Evidence()
    for line in run.lines():
        if not line.carriage:
            evidence.feed(line.text)
    return classify(evidence, run.exit_code if exit_code is None else exit_code)


def of(text: str, exit_code: int | None = 1) -> Failure:
    evidence = Evidence()
    for line in text.splitlines():
        evidence.feed(line)
    return classify(evidence, exit_code)


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        (
            "01_fail_ambiguous_model_type",
            E.BAD_ARGUMENT,
            "ValueError: Failed to automatically match `model_type` for `/srv/lab/models/tiny-qwen2`. Multiple possible"
            " types found: ['qwen2', 'qwen2_gte']. Please specify `model_type` manually. See documentation:"
            " https://swift.readthedocs.io/en/latest/Instruction/Supported-models-and-datasets.html",
        ),
        (
            "01c_fail_bf16_on_cpu",
            E.BAD_ARGUMENT,
            "ValueError: Your setup doesn't support bf16/gpu. You need to assign use_cpu if you want to train the model"
            " on CPU.",
        ),
        ("02_fail_train_type_flag", E.BAD_ARGUMENT, "ValueError: remaining_argv: ['--train_type', 'lora']"),
        (
            "05_fail_bad_dataset_path",
            E.DATASET_ERROR,
            "Dataset data/nope.jsonl load failed: subset_name=default,split=train with error: [E1001]"
            " 下载总时限已耗尽；已保存可继续下载的临时文件",
        ),
        ("06_fail_bad_model_path", E.MODEL_NOT_FOUND, "ValueError: path: '/srv/lab/models/nope' not found"),
        ("07_fail_invalid_flag", E.BAD_ARGUMENT, "ValueError: remaining_argv: ['--no_such_flag', '3']"),
        (
            "10_fail_malformed_json",
            E.DATASET_ERROR,
            "datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset (caused by"
            " pyarrow.lib.ArrowInvalid: JSON parse error: Missing a comma or '}' after an object member. in row 0)",
        ),
        ("20_sigterm_child", E.KILLED, "killed by SIGTERM (15)"),
        ("21_sigterm_group", E.KILLED, "killed by SIGTERM (15)"),
        ("24_sigint_child", E.KILLED, "killed by SIGINT (2)"),
        (
            "51_torchrun_sigkill_group",
            E.KILLED,
            "killed by SIGKILL (9); the kernel's out-of-memory killer is the usual sender",
        ),
        (
            "61_export_merge_again",
            E.BAD_ARGUMENT,
            "FileExistsError: args.output_dir: `/srv/lab/out/t2/v0-20261123-232757/checkpoint-29-merged` already"
            " exists.",
        ),
        ("64_export_bad_adapters", E.MODEL_NOT_FOUND, "ValueError: path: '/srv/lab/out/nope' not found"),
        (
            "torchrun_rank_failed",
            E.DATASET_ERROR,
            "ValueError: The local path does not exist, dataset_id: `/tmp/tiny/nope.jsonl`."
            " os.path.exists(dataset_id): False",
        ),
        (
            "torchrun_rank_killed",
            E.KILLED,
            "rank 1 was killed by SIGKILL (9); the kernel's out-of-memory killer is the usual sender",
        ),
        (
            "rows_without_role",
            E.DATASET_ERROR,
            "no usable row is left of a data set: KeyError: 'role'",
        ),
        ("data_without_rows", E.DATASET_ERROR, "a data set has no rows: StopIteration"),
        ("checkpoint_missing", E.BAD_ARGUMENT, "FileNotFoundError: path: '/no/such/checkpoint-5'"),
        (
            "usage_error",
            E.BAD_ARGUMENT,
            "sft.py: error: argument --logging_steps/--logging-steps: invalid int value: 'abc'",
        ),
    ],
)
def test_recordings(name: str, code: ErrorCode, message: str) -> None:
    assert of_recording(name) == Failure(code, message)


OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of"
    " which 1.11 GiB is free."
)
NCCL = (
    "[rank1]:[E1123 23:41:03.186480431 ProcessGroupNCCL.cpp:632] [Rank 1] Watchdog caught collective operation timeout:"
    " WorkNCCL(SeqNum=12, OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600010 milliseconds before timing out."
)
ROW_DELETED = (
    "[INFO:swift] Traceback (most recent call last):\n"
    '  File "/env/swift/dataset/preprocessor/core.py", line 231, in batched_preprocess\n'
    "KeyError: 'role'\n\n"
    "[WARNING:swift] 👆👆👆There are errors in the dataset, the data will be deleted\n"
    "[INFO:swift] The SftArguments will be saved in: /out/args.json\n"
    "Traceback (most recent call last):\n"
)
CHILD_FAILED = (
    "Traceback (most recent call last):\n"
    '  File "/env/torch/distributed/launcher/api.py", line 383, in launch_agent\n'
    "    raise ChildFailedError(\n"
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
    "============================================================"
)


def elastic(exit_code: int, rank: int = 0) -> str:
    place = "E1125 00:56:24.913000 11020 torch/distributed/elastic/multiprocessing/api.py:1002]"
    return f"{place} failed (exitcode: {exit_code}) local_rank: {rank} (pid: 11026) of binary: /env/bin/python"


@pytest.mark.parametrize(
    ("text", "exit_code", "code", "says"),
    [
        (f"Traceback (most recent call last):\n{OOM}", 1, E.OUT_OF_MEMORY, OOM),
        (f"[rank0]: {OOM}\n{elastic(1)}\n{CHILD_FAILED}", 1, E.OUT_OF_MEMORY, OOM),
        ("RuntimeError: CUDA error: out of memory", 1, E.OUT_OF_MEMORY, "RuntimeError: CUDA error: out of memory"),
        ("MemoryError", 1, E.OUT_OF_MEMORY, "MemoryError"),
        (
            "RuntimeError: [enforce fail at alloc_cpu.cpp:115] . DefaultCPUAllocator: can't allocate memory",
            1,
            E.OUT_OF_MEMORY,
            "DefaultCPUAllocator",
        ),
        (f"{NCCL}\n{elastic(-6, 1)}\n{CHILD_FAILED}", 1, E.NCCL_ERROR, "Watchdog caught collective operation timeout"),
        (
            "[rank0]: torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2251, unhandled error",
            1,
            E.NCCL_ERROR,
            "torch.distributed.DistBackendError: NCCL error",
        ),
        (
            "torch.distributed.DistNetworkError: The server socket has failed to listen on any local network address."
            " port: 29500, useIpv6: false, code: -98, name: EADDRINUSE, message: address already in use",
            1,
            E.NCCL_ERROR,
            "EADDRINUSE",
        ),
        (
            f"[rank0]: torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered\n{NCCL}\n{elastic(1)}",
            1,
            E.HARDWARE_ERROR,
            "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered",
        ),
        ("Unable to determine the device handle for GPU0000:1B:00.0: GPU is lost.", 1, E.HARDWARE_ERROR, "GPU is lost"),
        (
            f"{elastic(-9, 2)}\n[rank0]: torch.DistBackendError: NCCL error: no peer\n{CHILD_FAILED}",
            1,
            E.KILLED,
            "rank 2 was killed by SIGKILL (9)",
        ),
        ("OSError: [Errno 28] No space left on device", 1, E.DISK_FULL, "OSError: [Errno 28] No space left on device"),
        (
            "RuntimeError: [enforce fail at inline_container.cc:664] . unexpected pos 128 vs 22",
            1,
            E.DISK_FULL,
            "unexpected pos",
        ),
        (
            "safetensors_rust.SafetensorError: Error while serializing: I/O error: Disk quota exceeded (os error 122)",
            1,
            E.DISK_FULL,
            "Disk quota exceeded",
        ),
        ("Train:  10%|", -9, E.KILLED, "killed by SIGKILL (9)"),
        ("Train:  10%|", 137, E.KILLED, "killed by SIGKILL (9)"),
        ("Train:  10%|", 247, E.KILLED, "killed by SIGKILL (9)"),
        ("Train:  10%|", -15, E.KILLED, "killed by SIGTERM (15)"),
        ("ValueError: an old one that was caught", -9, E.KILLED, "killed by SIGKILL (9)"),
        ("Fatal Python error: Segmentation fault", -11, E.UNKNOWN, "crashed with SIGSEGV (11)"),
        (
            "torch.distributed.elastic.multiprocessing.api.SignalException: Process 12 got signal: 15",
            1,
            E.KILLED,
            "killed by SIGTERM (15)",
        ),
        ("KeyboardInterrupt", 1, E.KILLED, "KeyboardInterrupt"),
        ("huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error", 1, E.MODEL_NOT_FOUND, "404"),
        (
            "OSError: /m does not appear to have a file named config.json",
            1,
            E.MODEL_NOT_FOUND,
            "does not appear to have a file",
        ),
        (
            'Traceback (most recent call last):\n  File "/env/swift/dataset/loader.py", line 1, in load\n'
            "ZeroDivisionError: division by zero",
            1,
            E.DATASET_ERROR,
            "ZeroDivisionError: division by zero",
        ),
        (
            f"{ROW_DELETED}[INFO:swift] Dataset filtered, origin length: 9, filtered dataset length: 8\n"
            'Traceback (most recent call last):\n  File "/env/datasets/builder.py", line 1, in load\n'
            "ValueError: of another kind",
            1,
            E.DATASET_ERROR,
            "ValueError: of another kind",
        ),
        (
            "[INFO:swift] Dataset filtered, origin length: 9, filtered dataset length: 0\n"
            'Traceback (most recent call last):\n  File "/env/swift/dataset/loader.py", line 1, in load\n'
            "ZeroDivisionError: division by zero",
            1,
            E.DATASET_ERROR,
            "no usable row is left of a data set: ZeroDivisionError: division by zero",
        ),
        (f"{ROW_DELETED}ValueError: of the optimizer", 1, E.UNKNOWN, "ValueError: of the optimizer"),
        ("ZeroDivisionError: division by zero", 1, E.UNKNOWN, "ZeroDivisionError: division by zero"),
        (f"[rank0]: AssertionError\n{elastic(1)}\n{CHILD_FAILED}", 1, E.UNKNOWN, "AssertionError"),
        (f"{elastic(1)}\n{CHILD_FAILED}", 1, E.UNKNOWN, "ChildFailedError"),
        ("it said something", 7, E.UNKNOWN, "ended with exit code 7; its last line: it said something"),
        ("", 7, E.UNKNOWN, "ended with exit code 7; it wrote nothing"),
        ("", None, E.UNKNOWN, "it wrote nothing"),
    ],
)
def test_failures_that_were_not_recorded(text: str, exit_code: int | None, code: ErrorCode, says: str) -> None:
    failure = of(text, exit_code)
    assert failure.code is code
    assert says in failure.message


def test_what_the_data_says_is_no_evidence() -> None:
    row = "[INFO:swift] [INPUT] hi\nCUDA out of memory\nValueError: no\n[INFO:swift] Dataset Token Length: 4"
    assert of(f"{row}\nOSError: real") == Failure(E.UNKNOWN, "OSError: real")
    assert of(row, -9).code is E.KILLED


def test_an_earlier_sign_stays_known_after_a_long_log() -> None:
    assert of("\n".join([OOM, *(f"line {number}" for number in range(5000))])).code is E.OUT_OF_MEMORY


def test_a_message_is_masked_and_bounded() -> None:
    failure = of("ValueError: token=hf_" + "a1" * 20 + " " + "x" * 5000)
    assert "hf_" not in failure.message
    assert len(failure.message) == MAX_MESSAGE + 1


@pytest.mark.parametrize(
    ("code", "message", "blamed"),
    [
        (E.HARDWARE_ERROR, "uncorrectable ECC error", True),
        (E.NCCL_ERROR, NCCL, True),
        (E.NCCL_ERROR, "code: -98, name: EADDRINUSE, message: address already in use", False),
        (E.UNKNOWN, "ValueError: GPU", False),
    ],
)
def test_only_errors_that_devices_cause_are_held_against_them(code: E, message: str, blamed: bool) -> None:
    assert blames_devices(code, message) is blamed
