"""Pages that go through a list are complete, and have nothing that no longer exists."""

import re

import yaml

from pages import ROOT
from rochallor_operator.runtime.settings import Settings
from rochallor_operator.status.reasons import Reason

HEADING = re.compile(r"^### (\w+)$", re.MULTILINE)
PROBLEM = re.compile(r'Problem\(\s*"(\w+)"|return "(\w+): no more jobs')
ALERTS = ROOT / "charts" / "rochallor-operator" / "files" / "alerts.yaml"


def headings(page: str) -> list[str]:
    return sorted(HEADING.findall((ROOT / "docs" / page).read_text()))


def test_troubleshooting_has_every_reason_and_every_problem_of_a_worker() -> None:
    code = "".join(file.read_text() for file in (ROOT / "worker" / "src").rglob("*.py"))
    problems = {reason for found in PROBLEM.findall(code) for reason in found if reason}
    assert {"Draining", "NotAssigned"} < problems
    assert headings("troubleshooting.md") == sorted(problems | {str(reason) for reason in Reason})


def test_each_section_of_troubleshooting_has_symptom_cause_and_fix() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    calm = re.compile(r"^## Nothing to do\n.*?(?=^## )", re.MULTILINE | re.DOTALL)
    sections = re.split(r"^##+ (.*)$", calm.sub("", text), flags=re.MULTILINE)[1:]
    marks = {
        heading: re.findall(r"^- \*\*(\w+):", body, re.MULTILINE)
        for heading, body in zip(sections[::2], sections[1::2], strict=True)
    }
    entries = {heading: found for heading, found in marks.items() if re.search(rf"^### {heading}$", text, re.MULTILINE)}
    without = {"NotAssigned", "Draining"}  # both pass without any action
    assert len(entries) > 30
    assert {heading for heading, found in entries.items() if found[:3] != ["Symptom", "Cause", "Fix"]} == without


def test_production_says_what_to_do_for_every_alert() -> None:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    assert headings("production.md") == sorted(rule["alert"] for group in groups for rule in group["rules"])


def test_the_operators_page_has_all_of_its_settings() -> None:
    rows = re.findall(r"^\| `ROCHALLOR_OPERATOR_(\w+)`", (ROOT / "docs" / "operator.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(name.upper() for name in Settings.model_fields)


def test_each_claim_of_the_threat_model_names_a_test_that_exists() -> None:
    named = re.findall(r"`((?:unit|integration|fuzz|e2e|browser)/[^`]*)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 15
    assert [name for name in named if not (ROOT / "tests" / name).exists()] == []
