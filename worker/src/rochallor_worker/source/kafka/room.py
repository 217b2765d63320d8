"""How many more records a consumer may fetch: the event loop makes room, the consumer's thread takes it."""

import threading

BUFFER_BYTES = 16 * 2**20
"""How many bytes of records, beside those in flight, may be in memory before no more are fetched."""


class Room:
    """Room for so many records, and for `BUFFER_BYTES` of them. Once closed nobody waits for any."""

    def __init__(self, records: int) -> None:
        self.records = records
        self.closed = False
        self._bytes = BUFFER_BYTES
        self._changed = threading.Condition()

    @property
    def available(self) -> bool:
        """Whether a record may be fetched."""
        return self.records > 0 and self._bytes > 0

    def change(self, *, records: int = 0, size: int = 0) -> None:
        """Make room for so many records or bytes, or take it up where the number is negative."""
        with self._changed:
            self.records += records
            self._bytes += size
            self._changed.notify()

    def close(self) -> None:
        """End every wait, now and later."""
        with self._changed:
            self.closed = True
            self._changed.notify()

    def wait(self, seconds: float) -> bool:
        """Wait for room, so long at most; return whether there is any, or it was closed."""
        with self._changed:
            return self._changed.wait_for(lambda: self.available or self.closed, seconds)

    def wait_closed(self, seconds: float) -> None:
        """Wait so long, or until closed."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed, seconds)
