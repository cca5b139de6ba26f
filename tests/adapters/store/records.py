"""Jobs, nodes, events and points for the tests of the store."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from schemas.enums import ErrorCode, ExportStatus, NodeState, Phase, TrainingStatus, TrainingType
from schemas.events import STATUS_TYPE, CloudEvent, Device, OutboxEvent
from schemas.jobs import TRAINING_JOB, ExportOrder, Internal, MetricPoint, RememberedReply, StopOrder, TrainingJob
from schemas.nodes import NodeRecord

T0 = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """That long after the tests' beginning."""
    return T0 + timedelta(seconds=seconds)


def make_job(job_id: str = "a", *, internal: Mapping[str, object] | None = None, **fields: object) -> TrainingJob:
    """A pending LLM job, with these fields."""
    job = TRAINING_JOB.validate_python(
        {
            "training_type": "llm",
            "id": job_id,
            "created_at": T0,
            "model_path": "m",
            "output_dir": "o",
            "datasets": ["d"],
            **fields,
        }
    )
    return job.model_copy(update={"internal": Internal.model_validate(internal or {})})


def make_vlm_job(job_id: str = "a", *, internal: Mapping[str, object] | None = None, **fields: object) -> TrainingJob:
    """A pending VLM job, with these fields."""
    return changed(make_job(job_id, training_type="vlm", datasets=None, data_path="d"), internal=internal, **fields)


def changed(job: TrainingJob, *, internal: Mapping[str, object] | None = None, **fields: object) -> TrainingJob:
    """The job with these fields, and these below `internal`."""
    inner = job.internal.model_copy(update=dict(internal or {}))
    return job.model_copy(update={**fields, "internal": inner})


def make_event(sequence: int, *, subject: str = "a", seconds: float = 0) -> OutboxEvent:
    """A durable event; its data has what BSON must bear, a label's name with dots among it."""
    return OutboxEvent(
        sequence=sequence,
        routing_key=f"job.{subject}.status.queued",
        event=CloudEvent(
            id=f"{subject}-{sequence}",
            source="/swift-trainer/nodes/n",
            type=STATUS_TYPE,
            subject=subject,
            time=at(seconds),
            sequence=sequence,
            data={"job_id": subject, "labels": {"team.example.org/x": "y"}, "exit_code": None},
        ),
    )


def with_events(job: TrainingJob, *sequences: int, seconds: float = 0) -> TrainingJob:
    """The job with these events appended to its outbox."""
    added = tuple(make_event(number, subject=job.id, seconds=seconds) for number in sequences)
    return changed(job, internal={"outbox": job.internal.outbox + added, "sequence": max(sequences)})


def make_node(node_id: str = "n", **fields: object) -> NodeRecord:
    """An online node with one device."""
    return NodeRecord.model_validate(
        {
            "node_id": node_id,
            "state": NodeState.ONLINE,
            "last_heartbeat": T0,
            "started_at": T0,
            "versions": {"ms-swift": "4.6.0"},
            "devices": (Device(node_id=node_id, index=0, name="cpu"),),
            **fields,
        }
    )


def make_point(step: int, *, attempt: int = 1, seconds: float = 0, **values: object) -> MetricPoint:
    """A point of the curve."""
    return MetricPoint.model_validate({"step": step, "attempt": attempt, "time": at(seconds), **values})


# ---------------------------------------------------------------- arbitrary jobs

_numbers = st.integers(-(2**62), 2**62)
_counts = st.integers(0, 2**40)
_floats = st.floats(allow_nan=False)
_sent = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
"""What a request may hold; NUL is refused there."""
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_names = st.text("abz019._/-", max_size=8).map(lambda name: f"a{name}")
_times = st.datetimes(
    min_value=datetime(1971, 1, 1),  # noqa: DTZ001  # hypothesis wants these without a zone, and adds it
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001  # likewise
    timezones=st.just(UTC),
)
_indices = st.lists(st.integers(0, 99), max_size=4).map(tuple)
_some = st.none()

_FIELDS: dict[str, st.SearchStrategy[object]] = {
    "status": st.sampled_from(TrainingStatus),
    "owner": _some | _texts,
    "node_id": _some | _texts,
    "devices": _indices,
    "attempt": _counts,
    "wait_reason": _some | _texts,
    "queued_at": _some | _times,
    "started_at": _some | _times,
    "process_id": _some | _counts,
    "progress": _floats,
    "phase": _some | st.sampled_from(Phase),
    "current_step": _counts,
    "loss": _some | _floats,
    "eval_metrics": st.dictionaries(_names, _floats, max_size=3),
    "checkpoint_path": _some | _texts,
    "export_status": st.sampled_from(ExportStatus),
    "export_completed": st.booleans(),
    "error_code": _some | st.sampled_from(ErrorCode),
    "exit_code": _some | _numbers,
    "swift_argv": st.lists(_texts, max_size=4).map(tuple),
    "labels": st.dictionaries(_names, _sent, max_size=3),
    "extra_args": st.dictionaries(
        st.sampled_from(["max_grad_norm", "seed", "stopping_strategy", "target"]),
        st.booleans()
        | _numbers
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.lists(_sent.filter(lambda text: not text.startswith("-")), max_size=2),
        max_size=3,
    ),
    "priority": st.integers(0, 10),
}
_INTERNAL: dict[str, st.SearchStrategy[object]] = {
    "output_lock": _some | _texts,
    "stop": _some | st.builds(StopOrder, grace_s=_floats, save=st.booleans(), requested_at=_times),
    "export_order": _some
    | st.builds(
        ExportOrder, checkpoint=_texts, merge_lora=st.booleans(), quant_bits=_some | st.just(4), requested_at=_times
    ),
    "export_devices": _indices,
    "retries_used": _counts,
    "not_before": _some | _times,
    "log_offset": _counts,
    "last_log_at": _some | _times,
}


@st.composite
def job_pairs(draw: st.DrawFn) -> tuple[TrainingJob, TrainingJob]:
    """A job as it is stored, and the same job after an arbitrary change with new events and replies."""
    kind = draw(st.sampled_from(TrainingType))
    base = make_job("a") if kind is TrainingType.LLM else make_vlm_job("a")
    some = st.fixed_dictionaries({}, optional=_FIELDS)
    some_internal = st.fixed_dictionaries({}, optional=_INTERNAL)
    stored, new = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    known, told = draw(st.integers(0, 20)), draw(st.integers(0, 20))
    replies = tuple(
        RememberedReply(message_id=f"m{number}", reply={"ok": True, "n": number}) for number in range(known + told)
    )
    first = {**draw(some_internal), "revision": draw(_counts), "replies": replies[:known]}
    before = changed(base, **draw(some), internal=first)
    if stored:
        before = with_events(before, *range(1, stored + 1))
    after = changed(before, **draw(some), internal={**draw(some_internal), "replies": replies[-20:]})
    if new:
        after = with_events(after, *range(stored + 1, stored + new + 1))
    return before, after
