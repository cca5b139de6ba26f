"""Order a training with plain pika, and consume its events so that none is missed and none is taken twice.

    python docs/examples/python_pika.py MODEL DATASET

Needs `pip install pika` and the broker's URL in SWIFT_TRAINER_AMQP_URL; it knows nothing else of this project.
"""

import json
import os
import sys
import uuid

import pika

QUEUE = "swift-subscriber.python-example"
"""A durable queue of our own keeps what comes while we are away; the shipped users may declare `USER.anything`."""

url = pika.URLParameters(os.environ["SWIFT_TRAINER_AMQP_URL"])
broker = pika.BlockingConnection(url)
channel = broker.channel()
channel.queue_declare(QUEUE, durable=True, arguments={"x-max-length": 100_000, "x-expires": 7 * 86_400_000})
channel.queue_bind(QUEUE, "swift.events", "job.*.status.*")

replies = []
channel.basic_consume(
    "amq.rabbitmq.reply-to",
    lambda _channel, _method, _properties, body: replies.append(json.loads(body)),
    auto_ack=True,
)
properties = pika.BasicProperties(
    reply_to="amq.rabbitmq.reply-to",
    message_id=str(uuid.uuid4()),  # keep it: the same id again makes no second job
    user_id=url.credentials.username,  # whose job it is; the broker takes no name but the connection's own
    delivery_mode=2,
)
model, dataset = sys.argv[1:3]
request = {
    "training_type": "llm",
    "model_path": model,
    "datasets": [dataset],
    "output_dir": "output/python-pika",
    "start": True,
}
channel.basic_publish("swift.commands", "job.create", json.dumps(request), properties)
while not replies:
    broker.process_data_events(time_limit=1)
reply = replies.pop()
if not reply["ok"]:
    sys.exit(f"refused: {reply['error']['message']}")
job_id = reply["result"]["job_id"]

seen = set()  # keep it with your own data, in one transaction with what an event changes there
status = ""
for method, _properties, body in channel.consume(QUEUE):
    event = json.loads(body)
    if event["subject"] == job_id and event["id"] not in seen:
        seen.add(event["id"])
        status = event["data"]["status"]
        print(event["sequence"], status, event["data"]["reason"], flush=True)
    channel.basic_ack(method.delivery_tag)  # only now: what we did not finish comes again
    if status in ("completed", "failed", "cancelled"):
        break
channel.cancel()
broker.close()
sys.exit(0 if status == "completed" else 1)
