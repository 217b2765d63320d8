"""A journal whose process can be killed."""

import os

from rochallor_worker.journal import Journal


class MortalJournal(Journal):
    def die(self) -> None:
        """What the kernel does for a killed process: its descriptors go, nothing more is written."""
        if self._path is not None:
            os.close(self._file)
            os.close(self._lock)
            self._path = None
