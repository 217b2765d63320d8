"""`python docs/generate.py`: writes the reference pages from the code, the pictures, and the code that pages show.

A test checks that they are up to date.
"""

from __future__ import annotations

import inspect
import re
import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import commands
import compared
import overview
import pictures
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from rochallor_operator.runtime import metrics as operator_metrics
from rochallor_worker import Registry, Runner
from rochallor_worker.cli.settings import PREFIX, Settings
from rochallor_worker.devengine.client import FakeEngine
from rochallor_worker.observability.metrics import Metrics
from rochallor_worker.observability.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Metric = tuple[str, str, tuple[str, ...], str]
    Schema = dict[str, Any]

DOCS = Path(__file__).parent
CRDS = DOCS.parent / "crds"
README = DOCS.parent / "README.md"
SHOWN = re.compile(r"^(<!-- code: (\S+) -->\n```\w+\n).*?(^```)$", re.MULTILINE | re.DOTALL)
"""Where a page shows a file of the repository."""
SHARED = re.compile(
    r"(<!-- (?:text of README.md|shown in docs/index.md): (\w+) -->\n)(.*?)(<!-- end: \2 -->)", re.DOTALL
)
"""What the README and docs/index.md have in common: its name and its text."""
GENERATED = "<!-- Written by docs/generate.py from the code; edit it there. -->\n\n"


def settings_page() -> str:
    """Every ROCHALLOR_ variable of a worker: its meaning, its default and its allowed values."""
    meanings = _meanings()
    return (
        GENERATED
        + "# Settings of a worker\n\nEnvironment variables. A worker doesn't start with an invalid value, and prints"
        + " one line with the variable, the value and what is allowed. A duration is a number with the unit `ms`, `s`,"
        + " `m` or `h`, or several in a row, such as `1m30s`."
        + " A `ROCHALLOR_` variable not listed here is ignored, with a warning.\n\n"
        + _table(
            ("variable", "meaning", "default", "must be"),
            (
                (f"`{PREFIX}{name.upper()}`", meanings[name], _default(name), _text(field.description or ""))
                for name, field in Settings.model_fields.items()
            ),
        )
    )


def metrics_page() -> str:
    """Every metric of a worker with its type and labels."""
    return (
        GENERATED
        + "# Metrics of a worker\n\nServed at `/metrics`, with the usual `process_*` and `python_*`, and all of"
        + " `prometheus_client`'s default registry, where handlers put metrics of their own. Times in seconds."
        + " `ROCHALLOR_METRICS_COMPAT=1` adds some under [the engine's SDKs' names](../migrating.md#dashboards).\n\n"
        + _metric_table(_metrics())
    )


def operator_metrics_page() -> str:
    """Every metric of the operator with its type and labels."""
    return (
        GENERATED
        + "# Metrics of the operator\n\nServed at `/metrics`, with the usual `process_*` and `python_*`."
        + " Times in seconds.\n\n"
        + _metric_table(_operator_metrics())
    )


def resource_page() -> str:
    """Every field of a RochallorWorker with its type, default, limits and rules."""
    version, schema = _definition("rochallorworkers")
    spec, status = (schema["properties"][part] for part in ("spec", "status"))
    return (
        GENERATED
        + f"# The resource RochallorWorker\n\n`rochallor.io/{version}`, short name `rw`. "
        + f"{schema['description']}\n\n"
        + "The API server refuses a resource that breaks a rule, and quotes the rule; rules are in *italics* below."
        + " `kubectl explain rw.spec` shows the same fields.\n\n## metadata\n\n"
        + _list(_rules(schema))
        + f"\n## spec\n\n{spec['description']}\n\n"
        + _spec_table(_fields(spec))
        + "\n### Rules over several fields\n\n"
        + _list(_rules(spec))
        + f"\n## status\n\n{status['description']}\n\n"
        + _status_table(status)
    )


def connection_page() -> str:
    """The fields of both kinds of connections; those that a worker has too are described with the worker."""
    version, namespaced = _definition("engineconnections")
    _, cluster = _definition("clusterengineconnections")
    spec, status = (cluster["properties"][part] for part in ("spec", "status"))
    fields = list(_fields(spec))
    shared = [name for name in spec["properties"] if name != "namespaceSelector"]
    inside = tuple(f"{name}." for name in shared)
    kafka = ", ".join(f"`{path}`" for path, _, _ in fields if path.startswith("kafka.") and path.count(".") == 1)
    return (
        GENERATED
        + f"# The resources EngineConnection and ClusterEngineConnection\n\n`rochallor.io/{version}`, short names `ec`"
        + f" and `cec`. {namespaced['description']} A ClusterEngineConnection is the same for all namespaces that its"
        + " namespaceSelector selects. [One connection for many workers](../connections.md) shows how they are used."
        + f"\n\n## spec\n\n{spec['description']}\n\n"
        + _spec_table(each for each in fields if not each[0].startswith(inside))
        + f"\nThe fields inside {' and '.join([', '.join(f'`{name}`' for name in shared[:-1]), f'`{shared[-1]}`'])}"
        + " are those of [a RochallorWorker](resource.md), with `prometheus` for its `autoscaling.prometheus`. Of"
        + f" `kafka` they are {kafka}.\n"
        + f"\n## status\n\n{status['description']}\n\n"
        + _status_table(status)
    )


def _definition(plural: str) -> tuple[str, Schema]:
    """The version of a resource definition, and its schema."""
    definition = yaml.safe_load((CRDS / f"{plural}.rochallor.io.yaml").read_text(encoding="utf-8"))
    (version,) = definition["spec"]["versions"]
    return version["name"], version["schema"]["openAPIV3Schema"]


def _spec_table(fields: Iterable[tuple[str, Schema, bool]]) -> str:
    return _table(
        ("field", "type", "default", "meaning"),
        (
            (f"`{path}`", _type(field), "*required*" if required else _preset(field), _meaning(field))
            for path, field, required in fields
        ),
    )


def _status_table(status: Schema) -> str:
    return _table(
        ("field", "type", "meaning"),
        ((f"`{path}`", _type(field), _meaning(field)) for path, field, _ in _fields(status)),
    )


def commands_page() -> str:
    """Every command of the worker's command line."""
    return GENERATED + commands.page()


def with_code(page: str) -> str:
    """A page with the present content of each file that it shows."""
    return SHOWN.sub(lambda found: found[1] + (DOCS.parent / found[2]).read_text(encoding="utf-8") + found[3], page)


def with_readme(page: str, readme: str) -> str:
    """A page of docs/ with the present texts of the README, whose links lead from docs/ then."""
    texts = {name: text for _, name, text, _ in SHARED.findall(readme)}
    return SHARED.sub(lambda found: found[1] + _from_docs(texts[found[2]]) + found[4], page)


def _from_docs(text: str) -> str:
    return re.sub(r"\]\((?!https://)(docs/)?", lambda link: "](" if link[1] else "](../", text)


def files() -> dict[Path, str]:
    """Everything that is generated: each file's content."""
    pages = {
        "resource": resource_page,
        "connection": connection_page,
        "settings": settings_page,
        "metrics": metrics_page,
        "operator-metrics": operator_metrics_page,
        "commands": commands_page,
    }
    texts = {page: page.read_text(encoding="utf-8") for page in (README, *DOCS.glob("*.md"))}
    readme = compared.with_figures(texts.pop(README))
    return (
        {DOCS / "reference" / f"{name}.md": page() for name, page in pages.items()}
        | {DOCS / "pictures" / f"{name}.svg": pictures.draw(picture) for name, picture in pictures.PICTURES.items()}
        | {DOCS / "pictures" / "trace.svg": pictures.draw_trace(), DOCS / "pictures" / "overview.svg": overview.draw()}
        | {README: readme}
        | {page: compared.with_figures(with_readme(with_code(text), readme)) for page, text in texts.items()}
    )


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    head, *body = (f"| {' | '.join(row)} |\n" for row in (columns, *rows))
    return "".join([head, "|---" * len(columns), "|\n", *body])


def _list(items: Iterable[str]) -> str:
    return "".join(f"- {item}\n" for item in items)


def _text(text: str) -> str:
    """A text of the code as Markdown, where <job type> must not be read as HTML."""
    return escape(text, quote=False)


def _metric_table(metrics: Iterable[Metric]) -> str:
    return _table(
        ("metric", "type", "labels", "meaning"),
        (
            (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), text)
            for name, kind, labels, text in sorted(metrics)
        ),
    )


def _fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema, bool]]:
    """Every field below an object or a list of objects: its path, its schema, whether it is required."""
    for name, field in schema.get("properties", {}).items():
        if "description" not in field:
            return  # a PodSpec, which Kubernetes documents
        yield path + name, field, name in schema.get("required", ())
        yield from _fields(field, f"{path}{name}.")
        yield from _fields(field.get("items", {}), f"{path}{name}[].")


def _meaning(field: Schema) -> str:
    values = field.get("items") or field.get("additionalProperties") or {}
    rules = [*_rules(field), *(_rules(values) if values.get("type") != "object" else ())]
    meaning = _text(field["description"]).removesuffix(f" Default {_preset(field).strip('`')}.")  # has a column
    return " ".join([meaning, *(f"*{rule}*" for rule in rules)])


def _rules(schema: Schema) -> list[str]:
    """The API server's messages about broken rules, as sentences."""
    messages = (_text(rule["message"]) for rule in schema.get("x-kubernetes-validations", ()))
    return [f"{message[0].upper()}{message[1:]}." for message in messages]


def _preset(field: Schema) -> str:
    value = field.get("default")
    return "–" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(field: Schema) -> str:
    if "enum" in field:
        return " · ".join(f"`{value}`" for value in field["enum"])
    if field.get("x-kubernetes-int-or-string"):
        return "integer or string"
    kind = field["type"]
    if kind == "array":
        kind = "list" if field["items"]["type"] == "object" else f"list of {field['items']['type']}s"
    elif "additionalProperties" in field:
        kind = "map"
    unit = {"string": " characters", "integer": "", "number": ""}.get(kind, " entries")
    least = next((field[key] for key in ("minimum", "minItems", "minLength") if key in field), None)
    most = next((field[key] for key in ("maximum", "maxItems", "maxProperties", "maxLength") if key in field), None)
    if least is not None and most is not None:
        return f"{kind}, {least} to {most}{unit}"
    if least is not None:
        return f"{kind}, at least {least}{unit}"
    return kind if most is None else f"{kind}, at most {most}{unit}"


def _operator_metrics() -> Iterator[Metric]:
    labels = {
        value._name: value._labelnames  # noqa: SLF001 (as below)
        for value in vars(operator_metrics).values()
        if isinstance(value, MetricWrapperBase)
    }
    collected = operator_metrics.RESOURCE_LABELS | operator_metrics.BACKLOG_LABELS
    for family in REGISTRY.collect():
        if family.name in labels:
            suffix = "_total" if family.type == "counter" else ""
            yield family.name + suffix, family.type, tuple(labels[family.name]), family.documentation
    for collector in (operator_metrics.Resources(lambda: ()), operator_metrics.Backlogs(lambda: ())):
        for family in collector.collect():
            yield family.name, family.type, collected[family.name], family.documentation


def _meanings() -> dict[str, str]:
    """The docstring of each field of Settings."""
    found = re.findall(r'^    (\w+): Annotated.*?"""(.*?)"""', inspect.getsource(Settings), re.DOTALL | re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _default(name: str) -> str:
    shown = {
        "poll_interval": "`500ms`",
        "lease": "`30s`",
        "drain_timeout": "`25s`",
        "kafka_dedup_window": "`10m`",
        "worker_id": "the host's name",
    }
    if name in shown:
        return shown[name]
    value = Settings.model_fields[name].default
    return f"`{value}`" if value not in (None, "", [], (), False) else "–"


def _metrics() -> Iterator[Metric]:
    registry = Registry()
    registry.handler("a")(lambda _: None)
    runner = Runner(FakeEngine(), registry, worker_id="w", clock=lambda: 0.0)
    sampler = Sampler(runner.slots, runner.gates, lambda: 0.0)
    metrics = Metrics(runner, sampler, transport="rest", worker_id="w")
    metrics.count_dropped_spans(lambda: 0)
    counted = {
        value._name: value._labelnames  # noqa: SLF001 — the library has no public way to list a metric's labels
        for value in vars(metrics).values()
        if isinstance(value, MetricWrapperBase)
    }
    for family in metrics.registry.collect():
        if family.name.startswith("rochallor_"):
            suffix = "_total" if family.type == "counter" else ""
            labels = tuple(counted.get(family.name, getattr(family, "_labelnames", ())))
            yield family.name + suffix, family.type, labels, family.documentation


def main() -> None:
    """Write the files."""
    for file, content in files().items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(content, encoding="utf-8")
        sys.stdout.write(f"wrote {file}\n")


if __name__ == "__main__":
    main()
