"""Once per step, a file: written under another name and renamed to one made of the job's key.

Readers see the whole file or none, and a second run of the step replaces it with an equal one. A manual retry writes
another file.
"""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from rochallor_worker import Job, Registry

FOLDER = Path(os.environ.get("INVOICES", "."))
registry = Registry()


@registry.handler("write-invoice")
def write(job: Job) -> dict[str, str]:
    invoice = FOLDER / f"{job.key}.txt"
    with NamedTemporaryFile("w", dir=FOLDER, suffix=".part", delete=False) as draft:
        draft.write(f"Amount due: {job.variables['amount']}\n")
    Path(draft.name).replace(invoice)  # at once, within one file system
    return {"invoice": invoice.name}
