"""Order a training with the typed client, follow it, and say where the model is.

    python docs/examples/python_client.py MODEL DATASET

needs this project installed (`pip install .`) and the broker's URL in SWIFT_TRAINER_AMQP_URL.
"""

import asyncio
import os
import sys

from daemon.client import Client, ClientError, RefusedError
from schemas import LLMTrainingJobCreateRequest, TrainingType


async def train(model: str, dataset: str) -> bool:
    """Whether the training completed."""
    async with Client(os.environ["SWIFT_TRAINER_AMQP_URL"]) as client:
        job = await client.create(
            LLMTrainingJobCreateRequest(
                training_type=TrainingType.LLM, model_path=model, datasets=[dataset], output_dir="output/python-client"
            ),
            start=True,
        )
        async for event in client.watch(job, after=0):  # over outages too: durable events each once and in order
            print(event.type, event.data.get("status") or event.data.get("step") or "")
        done = await client.get(job)
        print(f"{done.id} {done.status}: {done.export_path or done.error_message}")
        return done.status == "completed"


if __name__ == "__main__":
    try:
        sys.exit(0 if asyncio.run(train(*sys.argv[1:3])) else 1)
    except RefusedError as error:
        sys.exit(f"refused: {error}")
    except ClientError as error:
        sys.exit(f"no answer: {error}")
