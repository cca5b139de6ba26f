"""When attempts that fail make a device sick: two in a row on it, with errors that devices cause.

Of each device the newest such failure is kept, as a strike; an attempt that completes there takes it away. One job
alone proves little where it spans several devices: what one rank does wrong, the others report as an error of NCCL's,
and such a job would drain all that it is given. So its next error of NCCL's on the same devices is no further evidence.
"""

from dataclasses import dataclass
from datetime import datetime

from daemon.core.drains import drain_of, drained, is_of, new_drain
from schemas.enums import ErrorCode
from schemas.events import Device
from schemas.nodes import DeviceStrike, NodeRecord

MESSAGE_SHOWN = 200
"""Characters of a failure's message that become part of a drain's reason."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that failed in a way that its devices may have caused."""

    job_id: str
    number: int
    code: ErrorCode
    message: str


def struck(
    node: NodeRecord, devices: tuple[Device, ...], failed: FailedAttempt, *, at: datetime, by: str
) -> NodeRecord:
    """The node after this attempt failed on these devices; as it was where that was known or proves nothing more."""
    for device in devices:
        before = next((strike for strike in node.internal.strikes if is_of(strike, device)), None)
        if drain_of(device, node.internal.drains) is not None:
            continue
        if before is None:
            node = _with_strikes(node, (*node.internal.strikes, _strike(device, failed, at)))
        elif _is_further_evidence(before, failed, len(devices)):
            reason = (
                f"two attempts in a row failed on it: of job {before.job_id} with {before.error_code}, "
                f"of job {failed.job_id} with {failed.code} ({failed.message[:MESSAGE_SHOWN]})"
            )
            node = drained(node, [new_drain(device, reason, at)], at=at, by=by)
    return node


def _is_further_evidence(before: DeviceStrike, failed: FailedAttempt, devices: int) -> bool:
    if before.job_id != failed.job_id:
        return True
    return before.attempt != failed.number and (devices == 1 or failed.code is ErrorCode.HARDWARE_ERROR)


def _strike(device: Device, failed: FailedAttempt, at: datetime) -> DeviceStrike:
    return DeviceStrike(
        index=device.index,
        uuid=device.uuid,
        job_id=failed.job_id,
        attempt=failed.number,
        error_code=failed.code,
        at=at,
    )


def proven(node: NodeRecord, devices: tuple[Device, ...]) -> NodeRecord:
    """The node after an attempt on these devices completed: what failed there before was not their fault."""
    left = tuple(strike for strike in node.internal.strikes if not any(is_of(strike, device) for device in devices))
    return node if left == node.internal.strikes else _with_strikes(node, left)


def _with_strikes(node: NodeRecord, strikes: tuple[DeviceStrike, ...]) -> NodeRecord:
    return node.model_copy(update={"internal": node.internal.model_copy(update={"strikes": strikes})})
