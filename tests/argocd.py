"""Argo CD's side of examples/gitops: its health check, in the Lua that Argo CD runs (5.1, hardly any library)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from lupa import lua51

FILE = Path(__file__).parents[1] / "examples" / "gitops" / "argocd-cm.yaml"
KEY = "resource.customizations.health.rochallor.io_RochallorWorker"


def health(resource: dict[str, Any]) -> tuple[str, str]:
    """What Argo CD would show of a resource: its health and the message beside it."""
    script = yaml.safe_load(FILE.read_text())["data"][KEY]
    lua = lua51.LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
    lua.execute("string, os, io, math, debug, require = nil")  # Argo CD gives a health check none of them
    lua.globals().obj = lua.table_from(resource, recursive=True)
    told = lua.execute(script)
    return told["status"], told["message"]
