"""A program in place of kubectl, and what a cluster with one worker answers."""

import json
import shlex
from pathlib import Path

from rochallor_worker.why.kubectl import Kubectl

RESOURCE = {
    "metadata": {"name": "pay", "namespace": "shop"},
    "spec": {"engine": {"url": "http://engine:8080"}, "jobTypes": ["charge"], "lease": "1m", "replicas": 2},
    "status": {"readyReplicas": 1, "conditions": [{"type": "Ready", "status": "True", "reason": "Available"}]},
}
POD = {
    "metadata": {"name": "pay-1", "namespace": "shop", "labels": {"app.kubernetes.io/instance": "pay"}},
    "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [
            {
                "name": "worker",
                "state": {"running": {"startedAt": "2026-11-30T02:59:51Z"}},
                "lastState": {
                    "terminated": {"finishedAt": "2026-11-30T02:59:50Z", "reason": "OOMKilled", "exitCode": 137}
                },
            }
        ],
    },
}
ANSWER = {
    "slots": {"total": 4, "busy": 1},
    "types": [{"name": "charge", "breaker": "open", "reason": "no"}],
}


class Cluster:
    """A program `kubectl` in a folder of the PATH. It prints what it is given, and keeps its arguments; with a
    `refusal` it fails, and prints that."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.workers: object = {"items": [RESOURCE]}
        self.then: object = None
        """What it prints of workers after that, if anything."""
        self.pods: object = {"items": [POD]}
        self.answer: object = ANSWER

    def install(self) -> Kubectl:
        for name in ("workers", "then", "pods", "answer"):
            value = getattr(self, name)
            (self._folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
        if self.then is None:
            (self._folder / "then").unlink()
        here = shlex.quote(str(self._folder))
        program = self._folder / "kubectl"
        program.write_text(
            f'#!/bin/sh\necho "$*" >> {here}/calls\ncase "$*" in\n*rochallorworkers*) cat {here}/workers\n'
            f"[ ! -e {here}/then ] || mv {here}/then {here}/workers;;\n"
            f"*--raw*) cat {here}/answer;;\n*pods*) cat {here}/pods;;\nesac\n"
            f'case "$*" in *current-context*) [ -e {here}/context ]; exit;; esac\n'
            f"[ ! -e {here}/refusal ] || {{ cat {here}/refusal >&2; exit 1; }}\n"
        )
        program.chmod(0o755)
        return Kubectl("shop", "prod")

    @property
    def calls(self) -> list[str]:
        return (self._folder / "calls").read_text().splitlines()
