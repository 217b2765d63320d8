"""The glossary is sorted, and the pages use its terms, not the ones they replaced."""

import re
from itertools import chain
from pathlib import Path

import pytest

from pages import ROOT

FOLDERS = ("docs", "charts", "examples", "worker", "operator")
PAGES = sorted(chain(ROOT.glob("*.md"), *((ROOT / folder).rglob("*.md") for folder in FOLDERS)))
GENERATED = "<!-- Written by"  # such a page has the words of the code
REPLACED = re.compile(
    r"\b(troubles?|told|doubt\w*|standstill|sto+d still|stands? still|comes? again|came again|for good|for ever|"
    r"put right|worked off|anew|deaf|mend\w*|extents?)\b",
    re.IGNORECASE,
)
CODE = re.compile(r"^```.*?^```$|``.*?``|`[^`]*`", re.MULTILINE | re.DOTALL)


def test_each_word_of_the_glossary_is_there_once_and_in_order() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    words = [word.casefold() for word in re.findall(r"^\| ([^|]+) \| .+ \|$", text, re.MULTILINE)[1:]]
    assert len(words) > 60
    assert words == sorted(set(words))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_no_word_that_the_glossary_has_replaced(page: Path) -> None:
    text = page.read_text()
    prose = "" if text.startswith(GENERATED) else CODE.sub("", text)
    assert REPLACED.findall(prose) == []
