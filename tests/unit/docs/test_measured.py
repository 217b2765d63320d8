"""The page of the last measurement has the text of the program that writes it; only a new run changes its figures."""

import re
from dataclasses import replace

import pytest

from bench import operator_page
from bench.page import PAGE, USUAL_SHARE, throughput_row
from bench.throughput import Result
from pages import ROOT


@pytest.mark.parametrize(("name", "text"), [("benchmarks.md", PAGE), ("operator-benchmarks.md", operator_page.PAGE)])
def test_the_benchmarks_have_the_text_of_their_program(name: str, text: str) -> None:
    page = (ROOT / "docs" / name).read_text()
    assert [part for part in re.split(r"\{\w+\}", text) if part not in page] == []


def test_a_figure_that_misses_its_target_is_bold() -> None:
    raw = Result("rest", "raw client", "fast", 1000, 0.1, None)
    good = Result("rest", "this worker", "fast", 1000 * USUAL_SHARE, 0.3, 60)
    bad = Result("rest", "this worker", "fast", 600, 0.6, 60)
    assert throughput_row(raw, [raw])[4:6] == ("", "0.100 ms")
    assert throughput_row(good, [raw, good])[4:6] == ("90%", "0.300 ms")
    assert throughput_row(bad, [raw, bad])[4:6] == ("**60%**", "**0.600 ms**")
    raw, ours = replace(raw, engine="as fast as it can"), replace(bad, engine="as fast as it can", jobs_per_second=750)
    assert throughput_row(ours, [raw, ours])[4] == "75%"
