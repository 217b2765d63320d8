"""The pictures of docs/architecture.md and SECURITY.md, sequence diagrams, and of a trace for docs/production.md.

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


class Attempt(NamedTuple):
    """One attempt in the picture of a trace: its parts begin and end at these milliseconds."""

    name: str
    worker: str
    claimed: int
    started: int
    ended: int
    reported: int
    failed: bool = False


TRACE = (
    Attempt("job charge-card", "worker A", 0, 25, 250, 300),
    Attempt("job reserve-stock, attempt 1", "worker B", 300, 325, 480, 530, failed=True),
    Attempt("job reserve-stock, attempt 2", "worker A", 560, 585, 830, 880),
    Attempt("job ship", "worker B", 880, 905, 1250, 1300),
)
TRACE_STYLE = (
    ".row{text-anchor:start}.B{fill:#e2f3ef;stroke:#00695c}.bad{fill:#fbe9e7;stroke:#b3261e}"
    ".A{fill:#eef1fb;stroke:#3949ab}.time{fill:#5b6675}"
)
SPAN = 24
SPANS_AT = 250
PIXELS = 0.5
"""For each millisecond."""


def draw_trace() -> str:
    """The spans of an instance with three steps, as SVG; as `draw` makes it."""
    rows = [row for attempt in TRACE for row in _spans(attempt)]
    width, bottom = SPANS_AT + int(1300 * PIXELS) + 40, 44 + SPAN * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 16}" role="img">',
        f"<title>One trace: an instance with three steps</title><style>{STYLE}{TRACE_STYLE}</style>",
        f'<rect width="{width}" height="{bottom + 16}" rx="8" fill="#fff"/>',
    ]
    for milliseconds in range(0, 1500, 250):
        x = SPANS_AT + milliseconds * PIXELS
        parts.append(f'<path class="life" d="M{x:g} 36V{bottom}"/>')
        parts.append(f'<text class="time" x="{x:g}" y="26">{milliseconds / 1000:g} s</text>')
    for number, (label, begun, ended, kind, inside) in enumerate(rows):
        y, x, length = 44 + SPAN * number, SPANS_AT + begun * PIXELS, (ended - begun) * PIXELS
        indent, emphasis = (20, " who") if inside else (44, "")
        parts.append(f'<text class="row{emphasis}" x="{indent}" y="{y + 15}">{escape(label)}</text>')
        parts.append(f'<rect class="{kind}" x="{x:g}" y="{y + 2}" width="{length:g}" height="{SPAN - 6}" rx="4"/>')
        parts.append(f'<text x="{x + length / 2:g}" y="{y + 15}">{inside}</text>' if inside else "")
    return "\n".join([*filter(None, parts), "</svg>\n"])


def _spans(attempt: Attempt) -> tuple[tuple[str, int, int, str, str], ...]:
    """Each span of an attempt: its label, when it begins and ends, its kind, and what is written inside."""
    kind = attempt.worker[-1]
    handler = ("handler (fails)", "bad") if attempt.failed else ("handler", kind)
    return (
        (attempt.name, attempt.claimed, attempt.reported, "bad" if attempt.failed else kind, attempt.worker),
        ("claim", attempt.claimed, attempt.started, kind, ""),
        (handler[0], attempt.started, attempt.ended, handler[1], ""),
        ("report", attempt.ended, attempt.reported, "bad" if attempt.failed else kind, ""),
    )


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
