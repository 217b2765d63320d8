"""Running the failed steps of many instances again, at a rate."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from rochallor_worker.asking.failures import Failure
from rochallor_worker.engine.client import EngineClient
from rochallor_worker.errors import Conflict, NotFound, NotSupported, Rejected


async def retry_each(
    engine: EngineClient, failures: Iterable[Failure], per_second: float, variables: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[Failure, str]]:
    """Run each failed step again, so many a second; yield it with why it was not done, or nothing.

    What concerns one instance is no reason to stop: it runs again already, or its business key is taken. Anything else
    is raised, `NotSupported` by an engine of generation A. Doing it all again is safe: who was retried is no longer
    FAILED.
    """
    loop = asyncio.get_running_loop()
    due = loop.time()
    for failure in failures:
        await asyncio.sleep(due - loop.time())
        due = loop.time() + 1 / per_second  # from now: slow calls are not made up for by a burst
        if not failure.step_id:
            yield failure, "no step of it has failed: start another instance"
            continue
        try:
            await engine.retry_step(failure.instance.id, failure.step_id, variables)
        except (Conflict, NotFound, Rejected) as error:
            yield failure, str(error)
        except NotSupported as error:
            raise NotSupported(
                f"this engine cannot run a step again (generation A): start other instances: {error}"
            ) from error
        else:
            yield failure, ""
