"""The paths on the pages exist, and a checklist in CONTRIBUTING.md names every place of its example."""

import re
from pathlib import Path

import pytest

from pages import ROOT

PACKAGES = [ROOT / "worker" / "src" / "rochallor_worker", ROOT / "operator" / "src" / "rochallor_operator"]
PLACES = ["worker/src", "operator/src", "crds", "charts", "docs/reference", "tests/unit/worker", "tests/unit/operator"]
EXAMPLES = {
    "A setting of the worker": "retry_?pause",
    "A field of the resource": "poll_?interval",
    "A metric": r"worker_duplicates|\bDuplicate\(",
    "A condition or reason": "AutoscalerReady|MetricsUnavailable|METRICS_UNAVAILABLE",
    "A problem that a worker reports": "TopicNotFound|TOPIC_NOT_FOUND",
    "A transport": 'GrpcClient|grpc_?target|"grpc"',
}
SECTION = re.compile(r"^### (A [^(\n]*) \(example: [^\n]*\n(.*?)(?=^##)", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"`([\w./-]+(?:/|\.\w+))`")
NAMED = re.compile(r"`([\w./-]+\.py)`: `(\w+)")


def found(path: str) -> list[Path]:
    """The files and folders that a page may mean."""
    return [place for base in (ROOT, *PACKAGES) if (place := base / path).exists()]


def checklists() -> dict[str, list[str]]:
    """The paths that each checklist of CONTRIBUTING.md names."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return {name: PATH.findall(body) for name, body in SECTION.findall(text)}


def test_each_path_of_the_checklists_exists() -> None:
    assert {name: [path for path in paths if not found(path)] for name, paths in checklists().items()} == {
        name: [] for name in EXAMPLES
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_checklist_names_every_place_of_its_example(name: str) -> None:
    lists = checklists()
    named = lists[name] + (lists["A setting of the worker"] if name == "A field of the resource" else [])
    listed = [place for path in named for place in found(path)]
    example = re.compile(EXAMPLES[name], re.IGNORECASE)
    # in __pycache__ other processes write meanwhile; chaos sets the variables of the workers that it starts
    left_out = {"_pb", "__pycache__", "chaos"}
    files = [
        file
        for place in PLACES
        for file in (ROOT / place).rglob("*")
        if file.suffix != ".svg" and left_out.isdisjoint(file.relative_to(ROOT).parts) and file.is_file()
    ]
    occurs = [file for file in files if example.search(file.read_text())]
    assert len(occurs) > 3
    assert [
        str(file.relative_to(ROOT)) for file in occurs if not any(file.is_relative_to(place) for place in listed)
    ] == []


def test_each_module_and_function_of_the_architecture_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    modules = re.findall(r"`([\w/]+\.py)`", text)
    names = {str(file.relative_to(package)) for package in PACKAGES for file in package.rglob("*.py")}
    assert len(modules) > 40
    assert [path for path in modules if not any(f"/{name}".endswith(f"/{path}") for name in names)] == []
    functions = NAMED.findall(text)
    assert len(functions) > 12
    code = {path: "".join(file.read_text() for file in found(path)) for path, _ in functions}
    missing = [
        (path, name)
        for path, name in functions
        if not re.search(rf"^ *(?:async )?(?:def|class) {name}\b", code[path], re.MULTILINE)
    ]
    assert missing == []
