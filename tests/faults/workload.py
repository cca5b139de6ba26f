"""Jobs for chaos: a few at once, of all kinds, created, stopped, resumed and exported by a publisher who insists.

What is ordered is drawn from a seed. When it comes depends on the machine, so a seed repeats the mixture of a run and
not each of its moments.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress

from tests.e2e.harness import Json, RefusedError
from tests.faults.place import Place
from tests.faults.witness import Witness

AT_ONCE = 6
SLOTS = 4
RECENT = 12
"""Jobs that may still be stopped, resumed or exported."""
PAUSE_S = 0.3
INSISTS_S = 180.0
"""How long an order is sent again until it is answered."""
ENDED = ("completed", "failed", "cancelled")
EXPORTING = ("queued", "running")
FAILURES = ("out_of_memory", "nccl", "exception", "crash", "killed", "dataset")


class Workload:
    """The jobs of a run."""

    def __init__(self, place: Place, found: Witness, chance: random.Random) -> None:
        self._place = place
        self._found = found
        self._chance = chance
        self._orders: set[asyncio.Task[None]] = set()
        self.asked: Counter[str] = Counter()
        self.unanswered: list[str] = []
        """Orders to which no answer came in all that time."""

    async def run(self) -> None:
        """Order until cancelled."""
        while True:
            await asyncio.sleep(self._chance.uniform(0, 2 * PAUSE_S))
            statuses = self._statuses()
            alive = [job_id for job_id, status in statuses.items() if status not in ENDED]
            if len(alive) + len(self._orders) < AT_ONCE:
                self._begin("create", self._create())
            elif self._chance.random() < 0.4:
                self._touch(statuses)

    async def settled(self) -> None:
        """Wait until every order is answered."""
        await asyncio.gather(*self._orders)

    async def ended(self, limit_s: float) -> list[str]:
        """Wait until every job has ended; those that have not by then."""
        left: list[str] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while left := [job_id for job_id in self._found.jobs if not await self._over(job_id)]:  # noqa: ASYNC110
                    await asyncio.sleep(PAUSE_S)
        return left

    async def _over(self, job_id: str) -> bool:
        job = await self._found.job(job_id)
        return job["status"] in ENDED and job["export_status"] not in EXPORTING

    def _statuses(self) -> dict[str, str]:
        """The newest status that was told of each job."""
        statuses = dict.fromkeys(self._found.jobs, "pending")
        for event in self._found.events:
            if event["type"] == "swift.job.status.v1" and event["subject"] in statuses:
                statuses[event["subject"]] = event["data"]["status"]
        return statuses

    def _begin(self, name: str, order: Coroutine[None, None, None]) -> None:
        self.asked[name] += 1
        task = asyncio.create_task(order, name=name)
        self._orders.add(task)
        task.add_done_callback(self._orders.discard)

    def _touch(self, statuses: dict[str, str]) -> None:
        """Stop, resume or export some job that this may be done to."""
        if not statuses:
            return
        job_id = self._chance.choice(list(statuses)[-RECENT:])
        match statuses[job_id]:
            case "failed" | "cancelled":
                self._begin("resume", self._order("job.resume", {"job_id": job_id}))
            case "completed":
                self._begin("export", self._order("job.export", {"job_id": job_id}))
            case _:
                stop = {"job_id": job_id, "save": self._chance.random() < 0.5, "grace_seconds": 2}
                self._begin("stop", self._order("job.stop", stop))

    async def _create(self) -> None:
        request = self._request()
        message_id = f"{self._place.mark}-{self.asked['create']}"
        if self._chance.random() < 0.3:  # a publisher that sends twice
            with suppress(Exception):  # the broker may be away just now
                await asyncio.wait_for(self._found.post("job.create", request, message_id=message_id), 1)
        try:
            await self._found.create(request, message_id=message_id, limit_s=INSISTS_S)
        except TimeoutError:
            self.unanswered.append("job.create")

    async def _order(self, command: str, body: Json) -> None:
        """What is refused by now (the job went on meanwhile) is answered as well."""
        try:
            await self._found.order(command, body, limit_s=INSISTS_S)
        except RefusedError:
            return
        except TimeoutError:
            self.unanswered.append(command)

    def _request(self) -> Json:
        chance = self._chance
        steps = chance.randint(10, 150)
        steering: Json = {
            "steps": steps,
            "step_seconds": chance.choice((0.01, 0.03, 0.06)),
            "start_seconds": chance.choice((0, 0, 0.5)),
            "save_seconds": chance.choice((0, 0.1, 0.4)),
            "export_seconds": chance.choice((0, 0.5, 2)),
            "ignore_sigterm": chance.random() < 0.2,
            "setsid_children": chance.choice((0, 0, 1, 2)),
        }
        if chance.random() < 0.25:
            steering |= {"fail": chance.choice(FAILURES), "fail_at": chance.randint(2, steps)}
        return self._place.request(
            self._place.model(**steering),
            save_steps=chance.randint(5, 40),
            gpu_count=chance.choice((1, 1, 2)),
            auto_export=chance.random() < 0.4,
            max_retries=chance.choice((0, 0, 1)),
            priority=chance.randint(0, 10),
        )
