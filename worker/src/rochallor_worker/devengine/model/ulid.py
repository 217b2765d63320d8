"""The engine's ids: ULIDs, 26 characters that sort by time."""

import os

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_PAIR_BITS = 10
_TIME_PAIRS, _RANDOM_PAIRS = 5, 6
_COUNTS = 1 << (2 * _PAIR_BITS)


class Ulids:
    """Makes ULIDs: 48 bits of milliseconds, then 80 bits that start at random and count up.

    Only what changes from one id to the next is formatted again: this is cheaper than anything else in a call.
    """

    def __init__(self) -> None:
        self._milliseconds, self._time = -1, ""
        self._count = int.from_bytes(os.urandom(4)) % _COUNTS
        self._high = int.from_bytes(os.urandom(8)) % (1 << (_RANDOM_PAIRS * _PAIR_BITS))
        self._random = _written(self._high, _RANDOM_PAIRS)

    def next(self, now: float) -> str:
        """Return a new id for something created at `now` (epoch seconds)."""
        milliseconds = int(now * 1000)
        if milliseconds != self._milliseconds:
            self._milliseconds, self._time = milliseconds, _written(milliseconds, _TIME_PAIRS)
        self._count = count = self._count + 1
        if count == _COUNTS:
            self._count = count = 0
            self._high = (self._high + 1) % (1 << (_RANDOM_PAIRS * _PAIR_BITS))
            self._random = _written(self._high, _RANDOM_PAIRS)
        return f"{self._time}{self._random}{_PAIRS[count >> _PAIR_BITS]}{_PAIRS[count & 1023]}"


def _written(value: int, pairs: int) -> str:
    shifts = range((pairs - 1) * _PAIR_BITS, -1, -_PAIR_BITS)
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in shifts])
