"""ULIDs: what they say, and what is none."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker.devengine.model.ulid import Ulids
from rochallor_worker.ulid import number_of, time_of

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_SECOND = 253_402_300_799
"""Of the year 9999."""


def test_the_example_of_its_specification() -> None:
    assert number_of(ULID) == 0x01563E3AB5D3D6764C61EFB99302BD5B
    assert time_of(ULID) == datetime(2016, 7, 30, 23, 54, 10, 259_000, UTC)


@pytest.mark.parametrize(
    "other", ["", ULID.lower(), ULID[:-1], ULID + "0", ULID + "\n", "8" + ULID[1:], "I" * 26, "ü\ud800", "٣" * 26]
)
def test_what_is_none_has_neither_number_nor_time(other: str) -> None:
    assert number_of(other) is None
    assert time_of(other) is None


def test_the_last_one_is_of_no_year_that_a_datetime_has() -> None:
    assert number_of("7" + "Z" * 25) == (1 << 128) - 1
    assert time_of("7" + "Z" * 25) is None


@given(st.integers(0, LAST_SECOND * 1000))
def test_an_id_says_when_it_was_made(milliseconds: int) -> None:
    found = time_of(Ulids().next((milliseconds + 0.5) / 1000))  # a half, against rounding
    assert found is not None
    assert abs(found - EPOCH - timedelta(milliseconds=milliseconds)) < timedelta(milliseconds=1)


@given(st.text(max_size=30) | st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=26, max_size=26))
def test_any_text_has_a_time_in_range_or_none(text: str) -> None:
    number, time = number_of(text), time_of(text)
    assert number is None or 0 <= number < 1 << 128
    assert time is None or number is not None
