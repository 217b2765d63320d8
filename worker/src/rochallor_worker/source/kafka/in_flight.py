"""Items in flight, and waiting for some of them to end."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class InFlight(Generic[T]):
    """Items whose jobs run, or whose outcomes are being reported."""

    def __init__(self) -> None:
        self.items: set[T] = set()
        self._waits: list[tuple[set[T], asyncio.Event]] = []

    def add(self, item: T) -> None:
        """Note that an item is in flight."""
        self.items.add(item)

    def discard(self, item: T) -> None:
        """Note that an item has ended: nobody needs to wait for it."""
        self.items.discard(item)
        for items, all_ended in self._waits:
            items.discard(item)
            if not items:
                all_ended.set()

    async def ended(self, which: Callable[[T], bool], seconds: float) -> int:
        """Wait, for so long at most, until the items selected by `which` have ended; return how many have not."""
        items = {item for item in self.items if which(item)}
        if items:
            wait = (items, asyncio.Event())
            self._waits.append(wait)
            try:
                async with asyncio.timeout(seconds):
                    await wait[1].wait()
            except TimeoutError:
                pass
            finally:
                self._waits.remove(wait)
        return len(items)
