"""Handlers of your job types. A job may be redelivered after a crash: make effects idempotent by job.key."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from rochallor_worker import Job, Registry, State, Worker


@dataclass
class Person:
    name: str


@dataclass
class Greeting:
    greeting: str


@asynccontextmanager
async def lifespan(_: Worker) -> AsyncIterator[dict[str, Any]]:
    """Open here what all handlers share, such as a pool of connections; it is closed after the last job."""
    yield {"word": os.environ.get("GREETING", "Hello")}


registry = Registry(lifespan=lifespan)


@registry.handler("greet", timeout=10)
async def greet(person: Person, job: Job, word: Annotated[str, State("word")]) -> Greeting:
    """Return variables for the instance; raise an exception to have the job retried."""
    job.log.info("greeting", name=person.name)
    return Greeting(f"{word}, {person.name}!")
