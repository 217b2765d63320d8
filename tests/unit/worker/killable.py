"""A journal whose process can be killed."""

import os

from rochallor_worker.execution.journal import Journal


class KillableJournal(Journal):
    def kill(self) -> None:
        """As the kernel does with a killed process: close its descriptors; nothing more is written."""
        if self._file is not None:
            os.close(self._file._file)
            os.close(self._file._lock)
            self._file = None
