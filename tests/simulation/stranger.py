"""The stranger: a publisher who creates jobs and does things to them at random moments, and remembers every answer.

Each command has a `message_id`. It is sent again under the same one when no answer that settles it has come, and
sometimes anyway, also much later. Some ask for no reply: those are sent once and must have their effect all the same.
What it asks of a job it can ask only when it knows the job's id, from the reply or, by a label, from an event.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import cast

from daemon.adapters.memory_bus import Answer, MemoryBroker
from schemas.commands import QUERIES as ASKING
from schemas.events import CloudEvent
from schemas.replies import Reply
from tests.loops.rig import CREATE
from tests.simulation.stage import Stage

OWNERS = ("ann", "bob", None)
PATIENCE_S = 15.0
MOST_WISHES = 6
SLOWEST_S = 15.0
"""No daemon has a command in hand for longer than this, but in an outage."""
STOPS_AFTER_S = 60.0
SILENT = 0.3
"""Share of the commands that ask for no reply."""
HASTE = 0.25
HURRIED = ("pending", "queued", "starting", "cancelled")
"""Statuses upon which the stranger changes his mind at once, so often."""
FOLLOWED = 0.15
"""Share of the jobs that, once cancelled, are followed by another in the same folder, and deleted when that runs."""
DOUBLED = 0.2
"""Share of the commands that are sent twice for no reason."""
GARBAGE: tuple[tuple[str, bytes], ...] = (
    ("job.create", b"\xff\xfe"),
    ("job.create", b'{"training_type": "llm"'),
    ("job.explode", b"{}"),
    ("job.start", b'{"job_id": "x", "surprise": 1}'),
    ("job.create", b'{"training_type": "llm", "model_path": "m", "datasets": [], "output_dir": "o"}'),
)
QUERIES = ("job.get", "job.status", "job.events", "job.metrics")
OVERVIEWS = ("queue.list", "gpu.list", "node.list", "job.list", "system.status")
ANYTHING = ("start", "stop", "resume", "export", "delete", "query")
SENSIBLE: Mapping[str, tuple[str, ...]] = {
    "pending": ("start", "start", "stop", "delete"),
    "queued": ("stop", "query"),
    "starting": ("stop", "query"),
    "running": ("stop", "stop", "query"),
    "stopping": ("stop", "query"),
    "completed": ("export", "export", "delete"),
    "failed": ("resume", "resume", "export", "delete"),
    "cancelled": ("resume", "resume", "export", "delete"),
}
"""What one asks of a job of which one was told that."""
StatusOf = Callable[[str], str | None]


@dataclass(slots=True, eq=False)
class Order:
    """One command of the stranger's, however often it is sent."""

    message_id: str
    command: str
    body: Mapping[str, object] | bytes
    silent: bool = False
    """It asks for no reply."""
    sent: int = 0
    sent_at_s: float = 0.0
    """When it was last sent."""
    replies: list[Reply] = field(default_factory=list[Reply])
    """Those that settle it, in order."""

    @property
    def settled(self) -> Reply | None:
        """The answer that counts; None: not yet."""
        return self.replies[0] if self.replies else None


@dataclass(slots=True, eq=False)
class Wish:
    """A job that the stranger wants, and what came of it."""

    number: int
    """The job's label `wish` says it."""
    starts: bool
    """It is to run at once."""
    output_dir: str
    creation: Order
    predecessor: "Wish | None" = None
    """Another of the same folder, to be deleted when this one runs."""
    needed: bool = False
    """Another job comes after it, so the stranger does not delete it."""
    rest: list[Order] = field(default_factory=list[Order])
    seen_as: str | None = None
    """The id that an event with its label told."""

    @property
    def job_id(self) -> str | None:
        """The id, once it was told."""
        reply = self.creation.settled
        return str(reply.result["job_id"]) if reply is not None and reply.result else self.seen_as

    def accepted(self, command: str) -> list[Order]:
        """The commands of this name that were answered as carried out."""
        return [order for order in self.rest if order.command == command and order.settled and order.settled.ok]

    def silent(self, command: str) -> list[Order]:
        """The commands of this name of which nobody tells what became of them."""
        return [order for order in self.rest if order.command == command and order.silent]


class Stranger:
    """Sends commands into the broker and reads the answers."""

    def __init__(self, stage: Stage, broker: MemoryBroker, devices: int, status_of: StatusOf, *, nodes: int) -> None:
        self._stage = stage
        self._broker = broker
        self._devices = devices
        self._status_of = status_of
        self._nodes = nodes
        self._queries = QUERIES if nodes > 1 else (*QUERIES, "job.logs")  # a log is read on its own node alone
        self._dice: Random = stage.dice("stranger")
        self._read = 0
        self.orders: dict[str, Order] = {}
        """By message id."""
        self.wishes: list[Wish] = []

    @property
    def unsettled(self) -> list[Order]:
        """Commands that wait for an answer."""
        return [order for order in self.orders.values() if not order.replies and not order.silent]

    # ------------------------------------------------------------ wishing

    def wish(self, jobs: int, within_s: float) -> None:
        """Plan a day: so many jobs, and what is done to them."""
        first_s = self._dice.uniform(0, within_s / 3)
        for _ in range(jobs):
            near = self._dice.random() < 0.4  # several within one second may choose the same folder
            self._stage.after(first_s + self._dice.uniform(0, 0.5 if near else within_s / 3), self._create)
        for _ in range(self._dice.randint(0, 2)):
            self._stage.after(self._dice.uniform(0, within_s), self._garbage)
        for _ in range(self._dice.randint(0, 3)):
            self._stage.after(self._dice.uniform(0, within_s), self._overview)
        for wish_number in range(jobs):
            for _ in range(self._dice.randint(0, 5)):
                self._stage.after(self._dice.uniform(0, within_s), lambda number=wish_number: self._meddle(number))

    def _create(self, predecessor: Wish | None = None) -> None:
        dice = self._dice
        body: dict[str, object] = {
            **CREATE,
            "output_dir": f"output/run-{dice.randint(1, 2)}",
            "start": dice.random() < 0.7,
            "max_retries": dice.choice((0, 0, 1, 2)),
            "priority": dice.choice((0, 0, 5)),
            "auto_export": dice.random() < 0.4,
        }
        if predecessor is not None:
            body |= {"output_dir": predecessor.output_dir, "start": True}
        if dice.random() < 0.3:
            body["gpu_id"] = str(dice.randrange(self._devices))
        elif dice.random() < 0.3:
            body["gpu_count"] = dice.randint(1, self._devices)
        if dice.random() < 0.1:
            body["timeout_seconds"] = dice.uniform(2, 20)
        body |= self._conditions()
        number = len(self.wishes)
        body["labels"] = {"wish": str(number)}
        order = self._order("job.create", body, silent=dice.random() < SILENT)
        self.wishes.append(Wish(number, bool(body["start"]), str(body["output_dir"]), order, predecessor))

    def _conditions(self) -> dict[str, object]:
        """Sometimes a job waits for others, or for a time."""
        dice = self._dice
        found: dict[str, object] = {}
        if dice.random() < 0.1:
            found["not_before"] = (self._stage.clock.now() + timedelta(seconds=dice.uniform(1, 30))).isoformat()
        known = [
            wish
            for wish in self.wishes
            if wish.starts and wish.job_id and not any(order.command == "job.delete" for order in wish.rest)
        ]
        if known and dice.random() < 0.25:
            first = dice.choice(known)
            first.needed = True
            found |= {"after": [first.job_id], "after_policy": dice.choice(("success", "success", "always"))}
        return found

    def _meddle(self, number: int) -> None:
        """Do something to a job, once its id is known."""
        wish = self.wishes[number] if number < len(self.wishes) else None
        if wish is None or wish.job_id is None:
            if wish is None or wish.creation.settled is None or wish.creation.silent:
                self._stage.after(2.0, lambda: self._meddle(number))
            return
        sensible = SENSIBLE.get(self._status_of(wish.job_id) or "", ANYTHING)
        kind = self._dice.choice(sensible if self._dice.random() < 0.7 else ANYTHING)
        if kind == "delete" and wish.needed:
            return
        if kind == "delete" and self._nodes > 1 and self._is_under_way(wish.creation):
            return  # two daemons that carry out a repeated creation and a deletion at one moment may keep the job
        body: dict[str, object] = {"job_id": wish.job_id}
        if kind == "query":
            self._order(self._dice.choice(self._queries), body)
            return
        if kind == "stop":
            body["save"] = self._dice.random() < 0.4
            if self._dice.random() < 0.5:
                body["grace_seconds"] = self._dice.choice((0, 1, 10))
        if kind == "delete":
            body["purge_output"] = self._dice.random() < 0.5
        wish.rest.append(self._order(f"job.{kind}", body, silent=self._dice.random() < SILENT))

    def _is_under_way(self, order: Order) -> bool:
        """Whether some daemon may still be about to carry it out."""
        return self._stage.clock.passed_s < order.sent_at_s + SLOWEST_S

    def _garbage(self) -> None:
        command, body = self._dice.choice(GARBAGE)
        self._order(command, body)

    def _overview(self) -> None:
        self._order(self._dice.choice(OVERVIEWS), {})

    def stop_rest(self) -> None:
        """Stop what still runs, because some trainings never end by themselves; and look again later."""
        for wish in self.wishes:
            if wish.job_id is not None and self._status_of(wish.job_id) in ("starting", "running"):
                wish.rest.append(self._order("job.stop", {"job_id": wish.job_id}))
        self._stage.after(STOPS_AFTER_S, self.stop_rest)

    # ------------------------------------------------------------ sending

    def _order(self, command: str, body: Mapping[str, object] | bytes, *, silent: bool = False) -> Order:
        order = Order(f"{self._stage.seed}-{len(self.orders)}", command, body, silent)
        self.orders[order.message_id] = order
        self._send(order)
        if self._dice.random() < DOUBLED and not (silent and command != "job.create"):
            self._stage.after(self._dice.uniform(0, self._dice.choice((0.3, 30))), lambda: self._send(order))
        return order

    def _send(self, order: Order) -> None:
        again = f", for the {order.sent + 1}. time" if order.sent else ""
        order.sent += 1
        order.sent_at_s = self._stage.clock.passed_s
        shown = order.body if isinstance(order.body, bytes) else _shown(order)
        silently = ", silently" if order.silent else ""
        self._stage.note(f"stranger: {order.command} {shown} as {order.message_id}{silently}{again}")
        reply_to = None if order.silent else "stranger"
        owner = OWNERS[hash_of(order.message_id) % len(OWNERS)]
        self._broker.send(order.command, order.body, message_id=order.message_id, reply_to=reply_to, user_id=owner)
        self._stage.after(PATIENCE_S, lambda: self._insist(order))

    def _insist(self, order: Order) -> None:
        if not order.replies and not order.silent:
            self._send(order)

    # ------------------------------------------------------------ reading

    def hear(self, event: CloudEvent) -> None:
        """An event tells which wish has become which job."""
        labels = event.data.get("labels")
        number = cast("dict[str, str]", labels).get("wish") if isinstance(labels, dict) else None
        if number is not None:
            wish = self.wishes[int(number)]
            wish.seen_as = event.subject
            self._react(wish, str(event.data.get("status")))

    def _react(self, wish: Wish, status: str) -> None:
        """Do something upon a change of a job."""
        dice = self._dice
        if status in HURRIED and dice.random() < HASTE:
            self._stage.after(dice.uniform(0, dice.choice((0.1, 0.6))), lambda: self._meddle(wish.number))
        if status == "cancelled" and dice.random() < FOLLOWED and len(self.wishes) < MOST_WISHES:
            self._create(predecessor=wish)
        if status == "running" and wish.predecessor is not None and not wish.predecessor.needed:
            predecessor = wish.predecessor
            self._stage.after(dice.uniform(0, 2), lambda: self._purge(predecessor))

    def _purge(self, wish: Wish) -> None:
        if not wish.needed:
            wish.rest.append(self._order("job.delete", {"job_id": wish.job_id, "purge_output": True}))

    def read(self) -> None:
        """Take the answers that came, and look whether they agree."""
        while self._read < len(self._broker.answers):
            self._take(self._broker.answers[self._read])
            self._read += 1

    def _take(self, answer: Answer) -> None:
        order = self.orders[answer.correlation_id or ""]
        reply = answer.reply
        told = json.dumps(reply.result)[:160] if reply.error is None else f"{reply.error.code}: {reply.error.message}"
        self._stage.note(f"answer to {order.message_id} ({order.command}): {told}")
        if reply.error is not None and reply.error.code == "internal":
            self._stage.breaks(f"{order.command} met a bug: {reply.error.message}")
        if reply.error is not None and reply.error.code == "unavailable":
            return
        asks = order.command in ASKING  # answered before it is remembered: asked again after a crash it may differ
        if order.replies and reply != order.replies[0] and not asks:
            self._stage.breaks(f"{order.message_id} ({order.command}) got another reply than at first")
        order.replies.append(reply)


def hash_of(text: str) -> int:
    """The same number on every machine."""
    return zlib.crc32(text.encode())


def _shown(order: Order) -> str:
    """The body, without what every creation has."""
    assert not isinstance(order.body, bytes)
    return json.dumps({name: value for name, value in order.body.items() if CREATE.get(name) != value})
