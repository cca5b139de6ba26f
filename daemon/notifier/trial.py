"""`--test` and `--dry-run`: what a rules file would do, without a spool and without retries."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from daemon.notifier.events import Facts, StrangeEventError, facts_of
from daemon.notifier.intake import messages_for, words_of
from daemon.notifier.lanes import Send
from daemon.notifier.retries import Outcome
from daemon.notifier.rules import Rule
from daemon.notifier.rules_file import Loaded
from daemon.notifier.spool import Delivery, Message
from daemon.notifier.targets import key_of
from daemon.notifier.wording import tone_of
from daemon.ports import Clock
from schemas.enums import TrainingStatus, TrainingType
from schemas.events import EXPORT_TYPE, NODE_TYPE, STATUS_TYPE, CloudEvent, ExportData, NodeData, StatusData

SUBJECT = "test"
REASON = "a test of the notifications; nothing happened"


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a test message."""

    rule: str
    target: str
    """Masked."""
    outcome: Outcome


async def try_rules(loaded: Loaded, send: Send, clock: Clock) -> list[Tried]:
    """Send a test message of each rule to each of its targets, once."""

    async def tried(rule: Rule, key: str) -> Tried:
        to = loaded.destinations[key]
        event = sample_event(rule, clock)
        facts = facts_of(event)
        assert facts is not None  # noqa: S101 - our own event
        title, body = words_of(loaded.rules, rule, facts)
        now = clock.now().timestamp()
        letter = Delivery(0, facts.event_id, rule.name, key, title, body, tone_of(facts), event, 0, now)
        return Tried(rule.name, to.shown, await send(to, letter))

    # one after the other within a rule: two messages at once to one chat would be refused by some
    return [await tried(rule, key_of(target)) for rule in loaded.rules.rules for target in rule.to]


def sample_event(rule: Rule, clock: Clock) -> bytes:
    """An event like those that a rule is for; its subject is `test`."""
    when, labels = rule.when, {name: globs[0] for name, globs in (rule.when.labels or {}).items()}
    job = {
        "job_id": SUBJECT,
        "training_type": (when.training_type or (TrainingType.LLM,))[0],
        "owner": when.owner[0] if when.owner else None,
        "labels": labels,
    }
    if when.node_state is not None:
        kind, data = NODE_TYPE, NodeData(node_id=SUBJECT, state=when.node_state[0], reason=REASON)
    elif when.export_status is not None:
        kind, data = EXPORT_TYPE, ExportData.model_validate({**job, "export_status": when.export_status[0]})
    else:
        failed = when.error_code[0] if when.error_code else None
        status = TrainingStatus.FAILED if failed else (when.status or (TrainingStatus.COMPLETED,))[0]
        more = {"status": status, "reason": REASON, "error_code": failed}
        kind, data = STATUS_TYPE, StatusData.model_validate({**job, **more})
    event = CloudEvent(
        id=f"test-{uuid.uuid4().hex}",
        source="/swift-trainer/notifier",
        type=kind,
        subject=SUBJECT,
        time=clock.now(),
        data=data.model_dump(mode="json"),
    )
    return event.model_dump_json(exclude_none=True).encode()


async def would_be_told(loaded: Loaded, events: AsyncIterator[bytes]) -> AsyncGenerator[tuple[Facts, Message]]:
    """For live events, what the rules would say; breaks (`not_more_often_than`) are not counted."""
    async for body in events:
        try:
            facts = facts_of(body)
        except StrangeEventError:
            continue
        if facts is not None:
            for message in messages_for(loaded.rules, facts):
                yield facts, message
