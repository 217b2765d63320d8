"""Jobs from Kafka, in plain Python: the engine publishes them, and outcomes are reported over REST.

kafka-topics.sh --bootstrap-server localhost:9092 --create --topic workflow.jobs.greet-by-kafka --partitions 6
rochallor-worker dev-engine --kafka localhost:9092 &
python examples/python/kafka.py
"""

import asyncio
import os

from rochallor_worker import Job, Kafka, Registry, RestClient, Runner

registry = Registry()


@registry.handler("greet-by-kafka")
async def greet(job: Job) -> dict[str, str]:
    return {"greeting": f"Hello, {job.variables['name']}!"}


DEFINITION = {
    "id": "greeting",
    "name": "Greeting",
    "steps": [
        {"id": "greet", "name": "Greet", "type": "SERVICE_TASK", "jobType": "greet-by-kafka", "nextStep": "end"},
        {"id": "end", "name": "End", "type": "END"},
    ],
}


async def main() -> None:
    kafka = Kafka(os.environ.get("ROCHALLOR_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"))
    async with RestClient(os.environ.get("ROCHALLOR_ENGINE_URL", "http://127.0.0.1:8080")) as engine:
        runner = Runner(engine, registry, worker_id="by-kafka", kafka=kafka)
        working = asyncio.create_task(runner.run())
        await engine.upload_definition(DEFINITION)
        instances = [(await engine.start_instance("greeting", {"name": name})).id for name in ("Ada", "Grace")]
        for instance_id in instances:
            while (instance := await engine.get_instance(instance_id)).status == "ACTIVE":
                await asyncio.sleep(0.05)
            print(instance.status, instance.variables)
        runner.stop()  # finishes running jobs, commits their offsets and leaves the consumer group
        await working


if __name__ == "__main__":
    asyncio.run(main())
