"""Instances by filter, by id and by business key."""

from datetime import UTC, datetime

from rochallor_worker.engine.client import EngineClient, Instance, InstanceStatus, Page
from rochallor_worker.errors import NotFound, Rejected

PAGE_SIZE = 200
"""The most instances that one listing holds (engine.md)."""
RUNNING = (InstanceStatus.ACTIVE, InstanceStatus.WAITING)


async def newest(
    engine: EngineClient,
    limit: int,
    *,
    definition_id: str = "",
    status: InstanceStatus | None = None,
    business_key: str = "",
) -> Page[Instance]:
    """Return the newest instances that match, at most `limit`, and how many match.

    Instances that start or end meanwhile move the pages: one seen twice counts once.
    """
    found: dict[str, Instance] = {}
    page = 0
    while True:
        listing = await engine.list_instances(
            definition_id=definition_id, status=status, business_key=business_key, page=page, page_size=PAGE_SIZE
        )
        found |= {one.id: one for one in listing.items}
        page += 1
        if len(found) >= limit or page * PAGE_SIZE >= listing.total or not listing.items:
            return Page(list(found.values())[:limit], listing.total)


async def find(engine: EngineClient, reference: str) -> Instance:
    """Return the instance with an id, else the newest with a business key, running ones first. Raises `NotFound`."""
    try:
        return await engine.get_instance(reference)
    except (NotFound, Rejected):  # text that cannot be an id may be a key
        listed = (await newest(engine, PAGE_SIZE, business_key=reference)).items if reference else []
    if not listed:
        raise NotFound(f"no instance has the id or the business key {reference!r}")
    return max(listed, key=lambda one: (one.status in RUNNING, began(one), one.id))


def began(instance: Instance) -> datetime:
    """Return when an instance began; long ago if the engine does not say."""
    return instance.started_at or datetime.min.replace(tzinfo=UTC)
