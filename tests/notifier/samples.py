"""Events as the daemon makes them, and rules, for the tests of this room."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daemon.notifier.events import Facts, facts_of
from daemon.notifier.rules_file import Loaded, parse
from schemas.events import CloudEvent, OutboxEvent

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the specification's own example
TIME = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
JOB: dict[str, Any] = {
    "job_id": "a1b2c3d4e5f6",
    "training_type": "llm",
    "owner": "alice",
    "labels": {"team": "vision", "run": "7"},
    "attempt": 1,
}


def event(
    kind: str = "swift.job.status.v1", *, event_id: str = "", subject: str = "", at: datetime = TIME, **data: Any
) -> CloudEvent:
    """An event of a job that came to `status` (`completed`), or of another type with its own data."""
    found: dict[str, object] = {**JOB, **({"job_id": subject} if subject else {})}
    if kind == "swift.job.status.v1":
        found["status"] = "completed"
    found.update(data)
    about = str(found.get("node_id") or found["job_id"])
    return CloudEvent(
        id=event_id or f"{about}-{found.get('status') or found.get('export_status') or found.get('state')}",
        source="/swift-trainer/nodes/n1",
        type=kind,
        subject=about,
        time=at,
        sequence=1,
        data=found,
    )


def node_event(state: str, **data: Any) -> CloudEvent:
    """An event of a node."""
    return event("swift.node.v1", node_id="gpu-1", state=state, **data)


def export_event(status: str, **data: Any) -> CloudEvent:
    """An event of an export."""
    return event("swift.job.export.v1", export_status=status, **data)


def body_of(found: CloudEvent) -> bytes:
    """Its bytes on the wire."""
    return found.model_dump_json().encode()


def facts(found: CloudEvent) -> Facts:
    """What rules see of it."""
    seen = facts_of(body_of(found))
    assert seen is not None
    return seen


def outbox(found: CloudEvent) -> OutboxEvent:
    """As the daemon's outbox publishes it."""
    kind = found.type.split(".")
    data = found.data
    key = (
        f"node.{found.subject}.{data['state']}"
        if kind[1] == "node"
        else f"job.{found.subject}.export.{data['export_status']}"
        if kind[2] == "export"
        else f"job.{found.subject}.status.{data['status']}"
    )
    return OutboxEvent(sequence=1, routing_key=key, event=found)


def knows_all(_: str) -> bool:
    """In place of Apprise, where it does not matter."""
    return True


def rules(text: str, **environ: str) -> Loaded:
    """Rules from YAML."""
    return parse(text, environ, knows_all)


def rules_text(*targets: str, when: str = "{}", more: str = "") -> str:
    """A file with one rule, `told`, for these targets."""
    lines = "".join(f"      - {target}\n" for target in targets)
    return f"rules:\n  - name: told\n    when: {when}\n{more}    to:\n{lines}"


def webhook(url: str, more: str = "") -> str:
    """A target; the secret comes from the environment."""
    return f'webhook: {{url: "{url}", secret: "${{SECRET}}"{more}}}'


def written(folder: Path, text: str) -> Path:
    """A rules file."""
    path = folder / "rules.yaml"
    path.write_text(text)
    return path
