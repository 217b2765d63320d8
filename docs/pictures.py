"""The pictures of docs/architecture.md and SECURITY.md: sequence diagrams.

`docs/generate.py` writes them.
"""

from __future__ import annotations

from html import escape
from typing import NamedTuple

COLUMN = 190
ROW = 40
HEAD = 62
MARGIN = 115
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1c2430;text-anchor:middle}.who{font-weight:600}"
    ".life{stroke:#c5cedb}.says{stroke:#3949ab;stroke-width:1.5;fill:none}.box{fill:#eef1fb;stroke:#3949ab}"
)


class Step(NamedTuple):
    """One arrow, or what one party does alone (source and target are the same)."""

    source: str
    target: str
    text: str


class Picture(NamedTuple):
    """The parties, from left to right, and the steps between them, in order."""

    title: str
    parties: tuple[str, ...]
    steps: tuple[Step, ...]


PICTURES = {
    "job-lease": Picture(
        "A job over REST or gRPC",
        ("engine", "source", "slots", "executor", "journal", "reporter"),
        (
            Step("source", "slots", "reserve all that are free"),
            Step("source", "engine", "poll for that many jobs"),
            Step("engine", "source", "jobs, each with a lease"),
            Step("source", "executor", "one job on one slot"),
            Step("executor", "journal", "started"),
            Step("executor", "engine", "renew the lease at each third of it"),
            Step("executor", "executor", "handler → outcome"),
            Step("executor", "journal", "decided"),
            Step("executor", "reporter", "the outcome"),
            Step("reporter", "engine", "Complete, until accepted; Fail, once"),
            Step("engine", "reporter", "accepted, within the lease"),
            Step("executor", "journal", "settled"),
            Step("executor", "slots", "release the slot"),
            Step("executor", "source", "poll now: the next step may be there"),
        ),
    ),
    "job-kafka": Picture(
        "A job over Kafka",
        ("engine", "Kafka", "source", "executor", "reporter", "offsets"),
        (
            Step("engine", "Kafka", "publishes an event"),
            Step("Kafka", "source", "records of its partitions"),
            Step("source", "offsets", "incomplete"),
            Step("source", "source", "duplicate? instance busy?"),
            Step("source", "executor", "a job, when a slot is free"),
            Step("executor", "executor", "handler → outcome"),
            Step("executor", "reporter", "the outcome"),
            Step("reporter", "engine", "Complete or Fail, until accepted"),
            Step("engine", "reporter", "accepted"),
            Step("executor", "offsets", "settled"),
            Step("offsets", "Kafka", "commit the lowest incomplete offset"),
        ),
    ),
    "resource": Picture(
        "A resource",
        ("you", "API server", "queue", "reconcile", "pods"),
        (
            Step("you", "API server", "kubectl apply"),
            Step("API server", "API server", "checks it, or refuses it"),
            Step("API server", "queue", "events, also of children"),
            Step("queue", "reconcile", "its key, once"),
            Step("reconcile", "reconcile", "spec → desired objects"),
            Step("reconcile", "API server", "apply what differs, prune the rest"),
            Step("API server", "pods", "the Deployment rolls out"),
            Step("reconcile", "API server", "observe"),
            Step("reconcile", "pods", "why not ready?"),
            Step("reconcile", "API server", "status and Events, if changed"),
            Step("API server", "you", "kubectl get rw"),
        ),
    ),
    "scale": Picture(
        "The number of pods",
        ("pods", "Prometheus", "autoscaler", "Deployment", "operator"),
        (
            Step("operator", "autoscaler", "creates HPA or ScaledObject"),
            Step("operator", "Deployment", "leaves replicas alone"),
            Step("Prometheus", "pods", "scrapes the utilization"),
            Step("autoscaler", "Prometheus", "compares mean and target"),
            Step("autoscaler", "Deployment", "sets replicas"),
            Step("Deployment", "pods", "starts more: they poll at once"),
            Step("Deployment", "pods", "stops some: SIGTERM"),
            Step("pods", "pods", "claim no more, finish, exit"),
        ),
    ),
    "trust": Picture(
        "Who talks to whom",
        ("author", "API server", "operator", "worker pod", "engine, Kafka", "neighbour"),
        (
            Step("author", "API server", "RochallorWorkers"),
            Step("author", "worker pod", "handlers, in an image or a ConfigMap"),
            Step("operator", "API server", "watch, apply"),
            Step("operator", "worker pod", "GET /readyz, /metrics"),
            Step("engine, Kafka", "worker pod", "jobs"),
            Step("worker pod", "engine, Kafka", "outcomes"),
            Step("neighbour", "worker pod", "GET /, /metrics"),
        ),
    ),
}


def draw(picture: Picture) -> str:
    """The picture as SVG, with a background of its own, for light and dark pages."""
    width = 2 * MARGIN + COLUMN * (len(picture.parties) - 1)
    height = HEAD + ROW * len(picture.steps) + 20
    at = {party: MARGIN + COLUMN * number for number, party in enumerate(picture.parties)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(picture.title)}</title><style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="6" markerHeight="6" orient="auto">',
        '<path d="M0 0L8 4L0 8z" fill="#3949ab"/></marker></defs>',
        f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>',
    ]
    for party, x in at.items():
        parts.append(f'<path class="life" d="M{x} 44V{height - 12}"/>')
        parts.append(f'<rect class="box" x="{x - 60}" y="12" width="120" height="32" rx="6"/>')
        parts.append(f'<text class="who" x="{x}" y="33">{escape(party)}</text>')
    for number, step in enumerate(picture.steps):
        y = HEAD + ROW * number + 22
        parts.append(_step(at[step.source], at[step.target], y, escape(step.text)))
    return "\n".join([*parts, "</svg>\n"])


def _step(source: int, target: int, y: int, text: str) -> str:
    if source == target:
        half = 4 * len(text) + 6
        box = f'<rect class="box" x="{source - half}" y="{y - 15}" width="{2 * half}" height="24" rx="12"/>'
        return f'{box}<text x="{source}" y="{y + 2}">{text}</text>'
    tip = 2 if target < source else -2
    middle = (source + target) / 2
    line = f'<path class="says" marker-end="url(#tip)" d="M{source} {y}H{target + tip}"/>'
    return f'<text x="{middle:g}" y="{y - 7}">{text}</text>{line}'
