"""Pages that go through a list leave nothing of it out, and have nothing that is gone."""

import re

import yaml

from pages import ROOT
from rochallor_operator.reasons import Reason
from rochallor_operator.settings import Settings

HEADING = re.compile(r"^### (\w+)$", re.MULTILINE)
TROUBLE = re.compile(r'Trouble\(\s*"(\w+)"|return "(\w+): no more jobs')
ALERTS = ROOT / "charts" / "rochallor-operator" / "files" / "alerts.yaml"


def headings(page: str) -> list[str]:
    return sorted(HEADING.findall((ROOT / "docs" / page).read_text()))


def test_troubleshooting_has_every_reason_and_every_word_of_a_worker() -> None:
    code = "".join(file.read_text() for file in (ROOT / "worker" / "src").rglob("*.py"))
    words = {word for found in TROUBLE.findall(code) for word in found if word}
    assert {"Draining", "NotAssigned"} < words
    assert headings("troubleshooting.md") == sorted(words | {str(reason) for reason in Reason})


def test_production_says_what_to_do_for_every_alert() -> None:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    assert headings("production.md") == sorted(rule["alert"] for group in groups for rule in group["rules"])


def test_the_operators_page_has_all_of_its_settings() -> None:
    rows = re.findall(r"^\| `ROCHALLOR_OPERATOR_(\w+)`", (ROOT / "docs" / "operator.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(name.upper() for name in Settings.model_fields)


def test_each_claim_of_the_threat_model_names_a_test_that_is_there() -> None:
    named = re.findall(r"`((?:unit|integration|fuzz|e2e)/[^`]*)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 15
    assert [name for name in named if not (ROOT / "tests" / name).exists()] == []
