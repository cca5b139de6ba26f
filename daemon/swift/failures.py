"""Why a training failed, from what it wrote: the class, and the one line that a person would look for.

The last line is often not the telling one: under torchrun a wrapper's own error comes after it, and an exception that
was raised from another hides its cause. So the first match of a strong sign (out of memory, a full disk, NCCL) counts
wherever it stands, then the newest exception of the trainer itself.
"""

import re
import signal
from collections import deque
from dataclasses import dataclass, field

from daemon.core.masking import mask
from schemas.enums import ErrorCode

LAST_LINES = 200
MAX_LINE = 2000
MAX_MESSAGE = 1000

E = ErrorCode

_STRONG: tuple[tuple[ErrorCode, re.Pattern[str]], ...] = (
    (
        E.OUT_OF_MEMORY,
        re.compile(
            r"(torch\.(cuda\.)?OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|HIP out of memory"
            r"|NPU out of memory|CUBLAS_STATUS_ALLOC_FAILED|DefaultCPUAllocator: (can't|not enough memory)"
            r"|^MemoryError\b|cudaErrorMemoryAllocation)"
        ),
    ),
    (
        E.DISK_FULL,
        re.compile(
            r"(No space left on device|\[Errno 28\]|Disk quota exceeded|\[Errno 122\]"
            r"|PytorchStreamWriter failed writing file|inline_container.*unexpected pos)"
        ),
    ),
    (
        E.NCCL_ERROR,
        re.compile(
            r"(ncclSystemError|ncclInternalError|ncclUnhandledCudaError|ncclRemoteError|ncclInvalidUsage"
            r"|NCCL (error|WARN Call to .* failed)|Watchdog caught collective operation timeout|DistBackendError"
            r"|ProcessGroupNCCL.*(timed out|timeout)|EADDRINUSE|address already in use)"
        ),
    ),
)

_EXCEPTION = re.compile(
    r"^(?:\[rank\d+\]:\s*)?(?:[A-Za-z_]\w*\.)*_?[A-Z]\w*(?:Error|Exception|KeyboardInterrupt|SystemExit)(?::|$)"
)
_USAGE = re.compile(r"\.py: error: (.*)$")
_WRAPPER = re.compile(r"(ChildFailedError|SignalException|CalledProcessError|torch\.distributed\.elastic)")
_TRACE_LINE = re.compile(r'^\s+(File "|\^|~)')

_BY_TEXT: tuple[tuple[ErrorCode, re.Pattern[str]], ...] = (
    (
        E.BAD_ARGUMENT,
        re.compile(
            r"(remaining_argv:|\.py: error: |unrecognized arguments|Please specify `model_type`|assign use_cpu"
            r"|Your setup doesn't support|not in \[|is not supported|Target modules .* not found|Please set --"
            r"|Unknown (tuner|optimizer)|Can't find a valid checkpoint)"
        ),
    ),
    (
        E.DATASET_ERROR,
        re.compile(
            r"(dataset_id:|DatasetGenerationError|DatasetNotFoundError|DataFilesNotFoundError|Please input the training dataset"
            r"|The dataset|No valid data|All-empty|empty dataset|ArrowInvalid|JSONDecodeError|train_dataset)"
        ),
    ),
    (
        E.MODEL_NOT_FOUND,
        re.compile(
            r"(path: '.*' not found|is not a (local folder|valid model identifier)|RepositoryNotFoundError|GatedRepoError"
            r"|does not appear to have a file named|Unrecognized model|NotExistError|LocalEntryNotFoundError"
            r"|Repo not exists|error loading the model|no file named (pytorch_model|model)\S*|OfflineModeIsEnabled)"
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Failure:
    """The class of a failure, and its telling line."""

    code: ErrorCode
    message: str


@dataclass(slots=True)
class Evidence:
    """What is kept of a log to explain a failure: the last lines, and the first of each strong sign."""

    last: deque[str] = field(default_factory=lambda: deque[str](maxlen=LAST_LINES))
    strong: dict[ErrorCode, str] = field(default_factory=dict[ErrorCode, str])
    dataset_trace: bool = False
    """The newest traceback went through ms-swift's loading of data sets."""

    def feed(self, text: str) -> None:
        """Take a line of the log."""
        line = text[:MAX_LINE].rstrip()
        if not line.strip():
            return
        if line.startswith("Traceback (most recent call last)"):
            self.dataset_trace = False
        elif "/swift/dataset/" in line or "/datasets/" in line or "_prepare_dataset" in line:
            self.dataset_trace = True
        self.last.append(line)
        if "memory" in line or "rror" in line or "space" in line or "NCCL" in line or "quota" in line or "use" in line:
            for code, pattern in _STRONG:
                if code not in self.strong and pattern.search(line):
                    self.strong[code] = line


def classify(evidence: Evidence, exit_code: int | None) -> Failure:
    """The class and the telling line of a failure; never an exit code alone where the log says more."""
    for code, _ in _STRONG:
        if code in evidence.strong:
            return _failure(code, evidence.strong[code])
    line = _telling_line(evidence)
    if line is not None:
        return _failure(_class_of(line, dataset_trace=evidence.dataset_trace), line)
    number = _signal_of(exit_code)
    if number is not None:
        return _killed(number)
    said = f"; its last line: {evidence.last[-1].strip()}" if evidence.last else "; it wrote nothing"
    return _failure(E.UNKNOWN, f"ended with exit code {exit_code}{said}")


def _telling_line(evidence: Evidence) -> str | None:
    """The newest exception line of the trainer itself, or a usage error."""
    wrapped: str | None = None
    for line in reversed(evidence.last):
        usage = _USAGE.search(line)
        if usage:
            return line.strip()
        if _TRACE_LINE.match(line) or line[:1].isspace():
            continue
        if not _EXCEPTION.match(line):
            continue
        if _WRAPPER.search(line):
            wrapped = wrapped or line
            continue
        return line.strip()
    return wrapped


def _class_of(line: str, *, dataset_trace: bool) -> ErrorCode:
    for code, pattern in _BY_TEXT:
        if pattern.search(line):
            return code
    if dataset_trace:
        return E.DATASET_ERROR
    if "[E1001]" in line:  # a hub could not be reached in time, and it was not for a data set
        return E.MODEL_NOT_FOUND
    return E.KILLED if line.startswith("KeyboardInterrupt") else E.UNKNOWN


def _signal_of(exit_code: int | None) -> int | None:
    """The signal behind an exit code: its own (-9), a shell's (137), or what `swift` makes of its child's (247)."""
    if exit_code is None:
        return None
    number = -exit_code if exit_code < 0 else 256 - exit_code if exit_code >= 256 - 31 else exit_code - 128
    return number if number in set(signal.Signals) else None


def _killed(number: int) -> Failure:
    name = signal.Signals(number).name
    hint = "; the kernel's out-of-memory killer is the usual sender" if number == signal.SIGKILL else ""
    if number in {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE}:
        return _failure(E.UNKNOWN, f"crashed with {name} ({number})")
    return _failure(E.KILLED, f"killed by {name} ({number}){hint}")


def _failure(code: ErrorCode, message: str) -> Failure:
    text = mask(message.strip())
    return Failure(code, text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "…")
