"""The pictures of docs/architecture.md and SECURITY.md, sequence diagrams, and of a trace for docs/production.md.

`docs/generate.py` writes them.
"""

from __future__ import annotations

from html import escape
from typing import NamedTuple

WIDTH = 420
"""Of every picture: as wide as a phone, so that its texts keep their size there."""
ROW = 44
HEAD = 64
MARGIN = 42
LETTER = 7.7
"""How wide a letter is, at most."""
STYLE = (
    "text{font:13.5px system-ui,sans-serif;fill:#1c2430;text-anchor:middle}.who{font-weight:500;font-size:11.5px}"
    ".paper{fill:#fff}.life{stroke:#c5cedb}.says{stroke:#3949ab;stroke-width:1.5;fill:none}.tip{fill:#3949ab}"
    ".box{fill:#eef1fb;stroke:#3949ab}.said{paint-order:stroke;stroke:#fff;stroke-width:5px;stroke-linejoin:round}"
    "@media(prefers-color-scheme:dark){"
    "text{fill:#e6e9f0}.paper{fill:#1e2129}.life{stroke:#4a5264}.says{stroke:#9fa8ff}.tip{fill:#9fa8ff}"
    ".box{fill:#2a2f45;stroke:#9fa8ff}.said{stroke:#1e2129}}"
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
    ".row{text-anchor:start}.row.who{font-weight:600}.B{fill:#e2f3ef;stroke:#00695c}.bad{fill:#fbe9e7;stroke:#b3261e}"
    ".A{fill:#eef1fb;stroke:#3949ab}.time{fill:#5b6675;font-size:12px}"
    "@media(prefers-color-scheme:dark){.A{fill:#2a2f45;stroke:#9fa8ff}.B{fill:#173a35;stroke:#4db6a4}"
    ".bad{fill:#4a2422;stroke:#f28b82}.time{fill:#a9b1c0}}"
)
SPAN = 23
SPANS_AT = 116
PIXELS = 0.22
"""For each millisecond."""


def draw_trace() -> str:
    """The spans of an instance with three steps, as SVG; as `draw` makes it."""
    parts, y = [], 40
    for attempt in TRACE:
        label = f"{attempt.name}, {attempt.worker}"
        parts.append(f'<text class="row who" x="12" y="{y + 15}">{escape(label)}</text>')
        for name, begun, ended, kind in _spans(attempt):
            y += SPAN
            x, length = SPANS_AT + begun * PIXELS, (ended - begun) * PIXELS
            parts.append(f'<text class="row" x="20" y="{y + 15}">{escape(name)}</text>')
            parts.append(f'<rect class="{kind}" x="{x:g}" y="{y + 3}" width="{length:g}" height="{SPAN - 7}" rx="3"/>')
        y += SPAN + 8
    scale = []
    for milliseconds in range(0, 1500, 250):
        x = SPANS_AT + milliseconds * PIXELS
        scale.append(f'<path class="life" d="M{x:g} 34V{y}"/>')
        scale.append(f'<text class="time" x="{x:g}" y="26">{milliseconds / 1000:g} s</text>')
    return svg("One trace: an instance with three steps", y + 12, [*scale, *parts], TRACE_STYLE)


def _spans(attempt: Attempt) -> tuple[tuple[str, int, int, str], ...]:
    """Each span of an attempt: its label, when it begins and ends, and its kind."""
    kind = attempt.worker[-1]
    handler, of_failure = ("handler (fails)", "bad") if attempt.failed else ("handler", kind)
    return (
        ("the attempt", attempt.claimed, attempt.reported, of_failure),
        ("claim", attempt.claimed, attempt.started, kind),
        (handler, attempt.started, attempt.ended, of_failure),
        ("report", attempt.ended, attempt.reported, of_failure),
    )


def draw(picture: Picture) -> str:
    """The picture as SVG, with a background of its own, for light and dark pages."""
    height = HEAD + ROW * len(picture.steps) + 12
    gap = (WIDTH - 2 * MARGIN) / (len(picture.parties) - 1)
    at = {party: MARGIN + gap * number for number, party in enumerate(picture.parties)}
    half = min(gap, 2 * MARGIN) / 2 - 2
    parts = []
    for party, x in at.items():
        parts.append(f'<path class="life" d="M{x:g} 46V{height - 10}"/>')
        parts.append(f'<rect class="box" x="{x - half:g}" y="10" width="{2 * half:g}" height="36" rx="6"/>')
        lines = party.rsplit(" ", 1)
        for number, line in enumerate(lines):
            y = 33 if len(lines) == 1 else 25 + 15 * number
            parts.append(f'<text class="who" x="{x:g}" y="{y}">{escape(line)}</text>')
    for number, step in enumerate(picture.steps):
        parts.append(_step(at[step.source], at[step.target], HEAD + ROW * number + 24, step.text))
    return svg(picture.title, height, parts)


def _step(source: float, target: float, y: int, text: str) -> str:
    half = LETTER * len(text) / 2
    middle = min(max((source + target) / 2, half + 4), WIDTH - half - 4)  # it may be longer than its arrow
    if source == target:
        box = f'<rect class="box" x="{middle - half - 2:g}" y="{y - 17}" width="{2 * half + 4:g}" height="25" rx="12"/>'
        return f'{box}<text x="{middle:g}" y="{y}">{escape(text)}</text>'
    tip = 2 if target < source else -2
    line = f'<path class="says" marker-end="url(#tip)" d="M{source:g} {y}H{target + tip:g}"/>'
    return f'<text class="said" x="{middle:g}" y="{y - 8}">{escape(text)}</text>{line}'


def svg(title: str, height: int, parts: list[str], style: str = "") -> str:
    """A picture of these parts, as wide as all of them."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            f' role="img"><title>{escape(title)}</title><style>{STYLE}{style}</style>',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
            '<path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>',
            f'<rect class="paper" width="{WIDTH}" height="{height}" rx="8"/>',
            *parts,
            "</svg>\n",
        ]
    )
