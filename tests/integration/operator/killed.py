"""The operator with a fault point: the process is killed at the n-th request about a namespace.

$KILL_AT is `n before NAMESPACE` (the request is never sent) or `n after NAMESPACE` (its answer is never seen).
"""

from __future__ import annotations

import os
import signal
from typing import Any

from rochallor_operator.__main__ import main
from rochallor_operator.cluster.client import Client

_request = Client.request
_left, _when, _namespace = os.environ["KILL_AT"].split()
_seen = 0


async def _killing(self: Client, verb: str, kind: str, path: str, **options: Any) -> Any:
    global _seen  # noqa: PLW0603 (one process, one fault)
    ours = f"/namespaces/{_namespace}/" in f"/{path}" and kind != "ConfigMap"
    _seen += ours
    dies = ours and _seen == int(_left)
    if dies and _when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        return await _request(self, verb, kind, path, **options)
    finally:
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)


Client.request = _killing  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
