"""From an event's bytes to deliveries in the spool. When `take` returns, the event may be acknowledged."""

import sqlite3
from dataclasses import dataclass

from daemon.logs import get_log
from daemon.notifier.events import Facts, StrangeEventError, facts_of
from daemon.notifier.lanes import DISK_PAUSE_S, Lanes
from daemon.notifier.matching import matching
from daemon.notifier.rules import Rule, Rules
from daemon.notifier.spool import Message, Spool
from daemon.notifier.targets import key_of
from daemon.notifier.wording import message_of, tone_of
from daemon.ports import Clock

log = get_log("notifier")


def words_of(rules: Rules, rule: Rule, facts: Facts) -> tuple[str, str]:
    """Title and body of what a rule says of an event. Pure."""
    language = rule.language or rules.language
    return message_of(facts, rule=rule.name, title=rule.title, body=rule.body, language=language)


def messages_for(rules: Rules, facts: Facts) -> list[Message]:
    """What the rules say of an event. Pure.

    A target gets an event once: where several rules name the same, the first in the file has the word.
    """
    found: list[Message] = []
    for rule in matching(rules, facts):
        title, body = words_of(rules, rule, facts)
        targets = tuple(dict.fromkeys(key_of(target) for target in rule.to))
        found.append(Message(rule.name, targets, title, body, tone_of(facts), rule.not_more_often_than))
    return found


@dataclass(slots=True)
class Intake:
    """Takes events under the rules in use."""

    rules: Rules
    spool: Spool
    lanes: Lanes
    clock: Clock

    async def take(self, body: bytes) -> None:
        """Spool what an event brings, however long the disk takes. An event that can't be read is dropped, and said."""
        try:
            facts = facts_of(body)
            messages = messages_for(self.rules, facts) if facts is not None else []
        except StrangeEventError as error:
            log.warning("event_dropped", f"no event of this project: {error}")
            return
        except Exception as error:  # the same event would come again, and stop all that is behind it
            log.crash("event_dropped", "unexpected while reading an event", error)
            return
        if facts is None or not messages:
            return
        while True:
            try:
                spooled = await self.spool.put(facts, body, messages, self.clock.now().timestamp())
            except sqlite3.Error as error:
                log.warning("spool_failed", f"can't write the spool, the event waits: {error}", event_id=facts.event_id)
                await self.clock.sleep(DISK_PAUSE_S)
            else:
                break
        if spooled.known:
            log.debug("event_known", "taken before", event_id=facts.event_id)
        for rule in spooled.held_back:
            log.info("notification_held_back", "too soon after the last", rule=rule, event_id=facts.event_id)
        for delivery in spooled.dropped:
            self.lanes.overflowed(delivery)
        self.lanes.wake(spooled.targets)
