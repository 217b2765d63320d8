"""Ids of the engine: ULIDs, 26 characters that sort by time."""

import os

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_RANDOM_BITS = 80


class Ulids:
    """Makes ULIDs: 48 bits of milliseconds, then 80 bits that start at random and count up."""

    def __init__(self) -> None:
        self._low = int.from_bytes(os.urandom(_RANDOM_BITS // 8))

    def next(self, now: float) -> str:
        """Return a new id for a thing made at `now` (epoch seconds)."""
        self._low = (self._low + 1) % (1 << _RANDOM_BITS)
        value = (int(now * 1000) << _RANDOM_BITS) | self._low
        return "".join([_PAIRS[(value >> shift) & 1023] for shift in range(120, -1, -10)])
