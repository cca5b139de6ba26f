"""Why a training failed, from what it wrote: the class, and the one line that a person would look for.

The last line is often not the telling one: under torchrun a wrapper's own error comes after it, and an exception that
was raised from another hides its cause. So the first match of a strong sign (out of memory, a full disk, NCCL) counts
wherever it stands, then the signal that ended the trainer or one of its ranks, then the newest exception of the trainer
itself. What ms-swift only repeats (its arguments, a row of the data) tells nothing of a failure and is left out.
"""

import re
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from daemon.core.masking import mask
from daemon.swift.quoting import Quoting
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
            r"|^(\[rank\d+\]: )?MemoryError\b|\[Errno 12\]|cudaErrorMemoryAllocation)"
        ),
    ),
    (
        E.DISK_FULL,
        re.compile(
            r"(No space left on device|\[Errno 28\]|Disk quota exceeded|\[Errno 122\]"
            r"|PytorchStreamWriter failed writing file|inline_container.{0,200}unexpected pos)"
        ),
    ),
    (
        E.HARDWARE_ERROR,  # in the words of the CUDA runtime and of NVML; before NCCL's, which follow from them
        re.compile(
            r"(uncorrectable (ECC|NVLink) error|cudaError(ECC|Nvlink)Uncorrectable|CUDA error: hardware stack error"
            r"|cudaErrorHardwareStackError|cudaErrorContained|nvlink or a hardware error|GPU is lost)"
        ),
    ),
    (
        E.NCCL_ERROR,
        re.compile(
            r"(ncclSystemError|ncclInternalError|ncclUnhandledCudaError|ncclRemoteError|ncclInvalidUsage"
            r"|NCCL (error|WARN Call to .{0,200} failed)|Watchdog caught collective operation timeout|DistBackendError"
            r"|ProcessGroupNCCL.{0,200}(timed out|timeout)|EADDRINUSE|[Aa]ddress already in use)"
        ),
    ),
)
_PORT_TAKEN = re.compile(r"EADDRINUSE|[Aa]ddress already in use")
_STRONG_SIGNS = re.compile(
    r"[Mm]emory|rror|space left|NCCL|nccl|quota|in use|EADDR|Watchdog|ALLOC|container|Writer|is lost"
)

_EXCEPTION = re.compile(
    r"(?:\[rank\d+\]:\s?)?"
    r"(?:(?:[A-Za-z_]\w*\.)*_?[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Iteration)|(?:[a-z_]\w*\.)+_?[A-Z]\w*)(?::|$)"
)
_USAGE = re.compile(r"\w+\.py: error: ")
_WRAPPER = re.compile(r"(ChildFailedError|SignalException|CalledProcessError|torch\.distributed\.elastic)")
_CAUSE = "The above exception was the direct cause of the following exception:"
_RANK = re.compile(r"\[rank\d+\]:\s?")
_FAILED_RANK = re.compile(
    r"torch/distributed/elastic/\S{1,100}\] failed \(exitcode: (-?\d{1,3})\) local_rank: (\d{1,4}) "
)
_AGENT_SIGNAL = re.compile(r"SignalException: Process \d+ got signal: (\d{1,2})\b")
_DATASET_FAILED = "[ERROR:swift] Dataset "
_ROW_DELETED = "There are errors in the dataset, the data will be deleted"
"""What ms-swift says below the trace of a row that it can't use, for the first ten of them."""
_FILTERED = "[INFO:swift] Dataset filtered, "
_NONE_LEFT = "filtered dataset length: 0"
_NO_ROWS = "StopIteration"
"""All that is said of a data file without a row."""

_BY_TEXT: tuple[tuple[ErrorCode, re.Pattern[str]], ...] = (
    (
        E.BAD_ARGUMENT,
        re.compile(
            r"(remaining_argv:|\.py: error: |unrecognized arguments|Please specify `model_type`|assign use_cpu"
            r"|Your setup doesn't support|not in \[|is not supported|Target modules .{0,500} not found|Please set --"
            r"|FileNotFoundError: path: '"
            r"|Please specify |Unknown (tuner|optimizer)|Can't find a valid checkpoint|args\.output_dir: )"
        ),
    ),
    (
        E.DATASET_ERROR,
        re.compile(
            r"(dataset_id:|DatasetGenerationError|DatasetNotFoundError|DataFilesNotFoundError"
            r"|Please input the (training|quant) dataset|The dataset|No valid data|All-empty|empty dataset"
            r"|ArrowInvalid|JSONDecodeError|train_dataset)"
        ),
    ),
    (
        E.MODEL_NOT_FOUND,
        re.compile(
            r"(path: '[^']{0,1000}' not found|is not a (local folder|valid model identifier)|RepositoryNotFoundError"
            r"|GatedRepoError|does not appear to have a file named|Unrecognized model|NotExistError"
            r"|LocalEntryNotFoundError|Repo not exists|error loading the model|no file named (pytorch_model|model)\b"
            r"|OfflineModeIsEnabled)"
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
    dataset_failed: str | None = None
    """ms-swift's own words on a data set that it could not load."""
    row_fault: str | None = None
    """Why ms-swift could not use a row of the data, the first one of which it says that."""
    no_row_left: bool = False
    """Of the newest data set it could use none."""
    failed_rank: tuple[int, int] | None = None
    """Exit code and local rank of the first rank that torchrun saw fail."""
    _quoting: Quoting = field(default_factory=Quoting)

    def feed(self, text: str) -> None:
        """Take a line of the log."""
        line = text[:MAX_LINE].rstrip()
        if not line or self._quoting.feed(line):
            return
        self.last.append(line)
        self._note_place(line)
        if _STRONG_SIGNS.search(line):
            for code, pattern in _STRONG:
                if code not in self.strong and pattern.search(line):
                    self.strong[code] = line
        if self.failed_rank is None and "failed (exitcode: " in line:
            found = _FAILED_RANK.search(line)
            if found:
                self.failed_rank = int(found[1]), int(found[2])

    def _note_place(self, line: str) -> None:
        """Where in ms-swift a traceback was."""
        if line.startswith(_DATASET_FAILED):
            self.dataset_failed = line.removeprefix("[ERROR:swift] ")
        elif line.startswith("[WARNING:swift] ") and line.endswith(_ROW_DELETED):
            self.row_fault = self.row_fault or _telling_line(self.last)[0]
        elif line.startswith(_FILTERED):
            self.no_row_left = line.endswith(_NONE_LEFT)
        elif "Traceback (most recent call last)" in line and "elastic" not in line:
            self.dataset_trace = False
        elif 'File "' in line and ("/swift/dataset/" in line or "/datasets/" in line or "_prepare_dataset" in line):
            self.dataset_trace = True


def classify(evidence: Evidence, exit_code: int | None) -> Failure:
    """The class and the telling line of a failure; never an exit code alone where the log says more."""
    killed_rank = _killed_rank(evidence)
    for code, _ in _STRONG:
        if code is E.NCCL_ERROR and killed_rank is not None:
            return killed_rank  # that the others lost it is what NCCL tells
        if code in evidence.strong:
            return _failure(code, _without_rank(evidence.strong[code]))
    if killed_rank is not None:
        return killed_rank
    line, cause = _telling_line(evidence.last)
    number = _signal_of(exit_code) or _agent_signal(line)
    if number is not None and (line is None or not _is_crash(number)):
        return _killed(number)
    if line is not None:
        return _explained(evidence, line, cause)
    said = f"; its last line: {evidence.last[-1].strip()}" if evidence.last else "; it wrote nothing"
    return _failure(E.UNKNOWN, f"ended with exit code {exit_code}{said}")


def blames_devices(code: ErrorCode, message: str) -> bool:
    """Whether the devices themselves may have caused it. A port that somebody else has is a matter of the network."""
    return code is E.HARDWARE_ERROR or (code is E.NCCL_ERROR and not _PORT_TAKEN.search(message))


def _telling_line(last: Sequence[str]) -> tuple[str | None, str | None]:
    """The newest exception line of the trainer itself, or a usage error; and the exception that it was raised from."""
    wrapped: str | None = None
    found: str | None = None
    chained = False
    for line in reversed(last):
        if found is not None:
            if line.endswith(_CAUSE):
                chained = True
            elif chained and _EXCEPTION.match(line):
                return found, _without_rank(line)
            elif "Traceback (most recent call last)" in line and chained:
                break
        elif _USAGE.match(line):
            return line, None
        elif _EXCEPTION.match(line):
            if _WRAPPER.search(line):
                wrapped = wrapped or line
            else:
                found = _without_rank(line)
    return found or wrapped, None


def _explained(evidence: Evidence, line: str, cause: str | None) -> Failure:
    code = _class_of(line, dataset_trace=evidence.dataset_trace)
    if code is E.UNKNOWN and cause is not None:
        code = _class_of(cause, dataset_trace=evidence.dataset_trace)
    if code is E.DATASET_ERROR and evidence.dataset_failed is not None:
        return _failure(code, evidence.dataset_failed)
    if code is E.DATASET_ERROR and evidence.no_row_left:  # what it stumbles over then is the division by none
        return _failure(code, f"no usable row is left of a data set: {evidence.row_fault or line}")
    if code is E.DATASET_ERROR and line == _NO_ROWS:
        return _failure(code, f"a data set has no rows: {line}")
    return _failure(code, line if cause is None else f"{line} (caused by {cause})")


def _class_of(line: str, *, dataset_trace: bool) -> ErrorCode:
    for code, pattern in _BY_TEXT:
        if pattern.search(line):
            return code
    if dataset_trace:
        return E.DATASET_ERROR
    if "[E1001]" in line:  # a hub could not be reached in time, and it was not for a data set
        return E.MODEL_NOT_FOUND
    return E.KILLED if line.startswith("KeyboardInterrupt") else E.UNKNOWN


def _without_rank(line: str) -> str:
    return _RANK.sub("", line, count=1).strip()


def _killed_rank(evidence: Evidence) -> Failure | None:
    """The failure of a rank that somebody killed, which torchrun reports as its own exit code 1."""
    if evidence.failed_rank is None:
        return None
    exit_code, rank = evidence.failed_rank
    number = _signal_of(exit_code) if exit_code < 0 else None
    return None if number is None or _is_crash(number) else _killed(number, f"rank {rank} was ")


def _agent_signal(line: str | None) -> int | None:
    """The signal that torchrun's agent says it got."""
    found = _AGENT_SIGNAL.search(line) if line is not None else None
    return int(found[1]) if found and int(found[1]) in set(signal.Signals) else None


def _signal_of(exit_code: int | None) -> int | None:
    """The signal behind an exit code: its own (-9), a shell's (137), or what `swift` makes of its child's (247)."""
    if exit_code is None:
        return None
    number = -exit_code if exit_code < 0 else 256 - exit_code if exit_code >= 256 - 31 else exit_code - 128
    return number if number in set(signal.Signals) else None


def _is_crash(number: int) -> bool:
    """A signal that a process brings upon itself."""
    return number in {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}


def _killed(number: int, who: str = "") -> Failure:
    name = signal.Signals(number).name
    if _is_crash(number):
        return _failure(E.UNKNOWN, f"crashed with {name} ({number})")
    hint = "; the kernel's out-of-memory killer is the usual sender" if number == signal.SIGKILL else ""
    return _failure(E.KILLED, f"{who}killed by {name} ({number}){hint}")


def _failure(code: ErrorCode, message: str) -> Failure:
    text = mask(message.strip())
    return Failure(code, text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "…")
