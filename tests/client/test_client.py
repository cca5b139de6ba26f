"""The typed client against a real daemon, a real RabbitMQ and a real mongod, and over their outages."""

import asyncio
import io
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path

import aio_pika
import pytest
from rich.console import Console

from daemon.cli.board import Wanted
from daemon.cli.watching import watch_job
from daemon.cli.watching_all import watch_all
from daemon.client import BrokerAwayError, Client, ClientError, Json, RefusedError
from schemas.commands import COMMANDS_EXCHANGE, EVENTS_EXCHANGE
from schemas.enums import DeviceState, ExportStatus, NodeState, ReplyErrorCode, TrainingStatus, TrainingType
from schemas.events import CHECKPOINT_TYPE, EXPORT_TYPE, PROGRESS_TYPE, CloudEvent
from schemas.jobs import LLMTrainingJob
from schemas.kinds import LLMTrainingJobCreateRequest
from tests.adapters.bus.proxy import Proxy
from tests.faults.place import Place, send, step_reached
from tests.faults.services import Services
from tests.faults.witness import Witness
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.usefixtures("found")]


def without_bars(lines: Iterable[str]) -> list[str]:
    """Of a bar that is drawn anew, what is shown depends on where the log was cut into pages."""
    return [line for line in lines if "%|" not in line]


async def test_every_command_is_a_method(place: Place, pair: Services) -> None:
    await place.daemon()
    async with Client(pair.amqp_url) as client:
        request = place.request(place.model(steps=5), start=False, labels={"team": "a"}, auto_export=True)
        job = await client.create(LLMTrainingJobCreateRequest.model_validate(request))
        assert job.status == "pending"
        blocked = await client.create(place.request(place.model(), gpu_count=5), start=True)
        assert [waiting.job_id for waiting in (await client.queue()).jobs] == [blocked.job_id]
        assert (await client.queue(page=2, size=1)).jobs == ()
        assert (await client.stop(blocked)).status == "cancelled"
        assert (await client.resume(blocked)).status == "queued"
        await client.stop(blocked, save=True, grace_seconds=1)
        assert (await client.drain("node-1", devices=[0])).state is NodeState.ONLINE
        assert (await client.gpus()).gpus[0].state is DeviceState.DRAINED
        await client.undrain("node-1")
        assert [node.node_id for node in (await client.nodes()).nodes] == ["node-1"]
        with pytest.raises(RefusedError, match="is online, so it can't be forgotten"):
            await client.forget("node-1")
        assert (await client.start(job)).queue_position is not None
        done = await client.wait(job)
        assert isinstance(done, LLMTrainingJob)
        assert (done.status, done.export_status) == (TrainingStatus.COMPLETED, ExportStatus.COMPLETED)
        assert (await client.status(done)).progress == 100
        assert [job.id for job in (await client.jobs(label="team=a", owner="guest")).jobs] == [done.id]
        assert (await client.jobs(status=[TrainingStatus.CANCELLED], training_type=TrainingType.LLM)).total_llm == 1
        assert (await client.logs(job, tail=1)).eof
        assert [event.sequence for event in (await client.history(job, after=1, limit=2)).events] == [2, 3]
        assert [point.step for point in (await client.metrics(job, after_step=3)).points] == [4, 5]
        assert (await client.params(TrainingType.VLM)).model_dump()["lora_rank"] == 16
        assert (await client.export(job, merge_lora=True)).status == "exporting"
        await client.wait(job)
        assert (await client.system_status()).counts["completed"] == 1
        assert "deleted" in (await client.delete(job, purge_output=True)).message
        with pytest.raises(RefusedError) as refused:
            await client.wait(job)
        assert refused.value.code is ReplyErrorCode.NOT_FOUND


async def test_a_watch_misses_nothing_over_a_restart_of_the_broker(place: Place, pair: Services) -> None:
    daemon = await place.daemon()
    model = place.model(steps=40, step_seconds=0.02, hold_at=30)
    seen: list[CloudEvent] = []
    reached = asyncio.Event()

    async def watch(client: Client, job_id: str) -> None:
        async for event in client.watch(job_id, after=0):
            seen.append(event)
            if event.data.get("step") == 5:
                reached.set()

    async with Client(pair.amqp_url) as client:
        job = await client.create(place.request(model, auto_export=True), start=True)
        watching = asyncio.create_task(watch(client, job.job_id))
        lines: list[str] = []

        async def read_log() -> None:
            async for page in client.follow_log(job, tail=10_000):
                lines.extend(page)

        reading = asyncio.create_task(read_log())
        shown = io.StringIO()
        one = asyncio.create_task(watch_job(client, job.job_id, Console(file=shown)))
        board = asyncio.create_task(watch_all(client, Wanted(job_ids=[job.job_id]), Console(file=shown)))
        await reached.wait()
        await pair.down("rabbitmq")
        Path(model, "go").touch()
        await until(lambda: "End time of running main" in place.log(job.job_id))
        await pair.up("rabbitmq")
        await asyncio.gather(watching, reading)
        assert (await one).succeeded
        assert (await board).tally() == "nothing unfinished; ended since: 1 completed"
        assert shown.getvalue().count("completed: ") >= 2, "what the command line prints, of one and of all"
        assert (await client.get(job)).export_completed
        durable = [event for event in seen if event.sequence is not None]
        assert durable == list((await client.history(job, limit=1000)).events)
        assert [event.sequence for event in durable] == list(range(1, len(durable) + 1))
        assert {CHECKPOINT_TYPE, EXPORT_TYPE, PROGRESS_TYPE} <= {event.type for event in seen}
        assert without_bars(lines) == without_bars((await client.logs(job, tail=10_000)).lines)
        assert [event async for event in client.watch(job, after=len(durable) - 1)] == durable[-1:]
    await place.end(daemon, signal.SIGTERM)


async def test_a_blip_never_makes_two_jobs(place: Place, pair: Services) -> None:
    daemon = await place.daemon()
    async with (
        await aio_pika.connect(pair.amqp_url) as connection,
        Proxy.before(pair.amqp_url) as proxy,
        Client(proxy.url) as client,
    ):
        copies = await (await connection.channel()).declare_queue(exclusive=True)
        await copies.bind(COMMANDS_EXCHANGE, "job.create")
        async with copies.iterator(no_ack=True) as sent:
            send(daemon.pid, signal.SIGSTOP)
            creating = asyncio.create_task(client.create(place.request(place.model(), start=False)))
            first = await anext(sent)
            proxy.cut()
            again = await anext(sent)
            assert again.message_id == first.message_id
            send(daemon.pid, signal.SIGCONT)
        job = await creating
        assert [one.id for one in (await client.jobs()).jobs] == [job.job_id]


async def test_what_is_no_event_is_skipped_and_counted(place: Place, pair: Services) -> None:
    await place.daemon()
    async with Client(pair.amqp_url) as client, client.events("job.#") as events:
        async with client.channel() as channel:
            exchange = await channel.get_exchange(EVENTS_EXCHANGE, ensure=False)
            await exchange.publish(aio_pika.Message(b"\xff{"), routing_key="job.x.status.running")
            await exchange.publish(aio_pika.Message(b'{"id": 1}'), routing_key="job.x.status.running")
        job = await client.create(place.request(place.model(), start=False))
        event = await anext(aiter(events))
        assert (event.subject, event.sequence, client.unreadable) == (job.job_id, 1, 2)


async def test_patience_ends(pair: Services) -> None:
    async with Proxy.before(pair.amqp_url) as proxy, Client(proxy.url, patience_s=0.3) as client:
        proxy.refusing = True
        proxy.cut()
        await client.wait_lost()
        with pytest.raises(ClientError, match="can't subscribe"):
            async with client.events():
                pass
        with pytest.raises(BrokerAwayError, match="can't be reached"):
            await client.gpus()
        with pytest.raises(BrokerAwayError, match="can't be reached"):
            await client.wait("job-1")


async def test_two_watches_share_the_new_connection(place: Place, pair: Services, found: Witness) -> None:
    await place.daemon()
    model = place.model(steps=20, hold_at=5)
    async with Proxy.before(pair.amqp_url) as proxy, Client(proxy.url) as client:
        job = await client.create(place.request(model), start=True)
        waits = [asyncio.create_task(client.wait(job)) for _ in range(2)]
        await step_reached(found, job.job_id, 5)
        proxy.cut()
        await until(lambda: proxy.connections == 2)
        Path(model, "go").touch()
        assert [one.status for one in await asyncio.gather(*waits)] == [TrainingStatus.COMPLETED] * 2
        assert proxy.connections == 2


class Refusals(Client):
    """A client that notes what it was refused for."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.codes: list[ReplyErrorCode] = []

    async def send(
        self, command: str, body: Mapping[str, object], *, message_id: str | None = None, owner: str | None = None
    ) -> Json:
        try:
            return await super().send(command, body, message_id=message_id, owner=owner)
        except RefusedError as error:
            self.codes.append(error.code)
            raise


async def test_a_wait_goes_on_over_an_outage_of_the_store(place: Place, pair: Services) -> None:
    await place.daemon()
    async with Refusals(pair.amqp_url) as client:
        job = await client.create(place.request(place.model(steps=5)))
        await pair.down("mongod")
        waiting = asyncio.create_task(client.wait(job))
        await until(lambda: ReplyErrorCode.UNAVAILABLE in client.codes)
        await pair.up("mongod")
        assert (await waiting).status is TrainingStatus.COMPLETED
