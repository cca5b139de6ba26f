"""A client of the bus: orders trainings and follows them, and needs to know nothing but the broker's URL.

    async with Client("amqp://guest:guest@localhost:5672/") as client:
        job = await client.create({"training_type": "llm", ...}, start=True)
        async for event in client.watch(job):
            print(event.type, event.data)
        done = await client.wait(job)

It needs the rights of a publisher (write to `swift.commands`) and of a subscriber (read from `swift.events`), nothing
else: replies come by direct reply-to. `Client.call` and `Client.events` are what is below: any command, any binding.
"""

from daemon.client.client import Client
from daemon.client.commands import Commands, CreateBody, JobPage, JobRef, id_of
from daemon.client.connection import CALL_LIMIT_S, CONNECT_LIMIT_S, DIRECT_REPLY_TO, EVENTS_KEPT, Json
from daemon.client.errors import BrokerAwayError, ClientError, NoAnswerError, RefusedError
from daemon.client.watching import has_ended, history_after, rest_of_log

__all__ = [
    "CALL_LIMIT_S",
    "CONNECT_LIMIT_S",
    "DIRECT_REPLY_TO",
    "EVENTS_KEPT",
    "BrokerAwayError",
    "Client",
    "ClientError",
    "Commands",
    "CreateBody",
    "JobPage",
    "JobRef",
    "Json",
    "NoAnswerError",
    "RefusedError",
    "has_ended",
    "history_after",
    "id_of",
    "rest_of_log",
]
