"""What a handler raises to have its job run again later, and how long a response asks to wait."""

import copy
import math
import pickle
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rochallor_worker import Postpone, RochallorError, postpone_from
from rochallor_worker.handlers.failure import postponement
from rochallor_worker.handlers.postpone import LONGEST


@pytest.fixture
def _far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_it_says_why_and_for_how_long() -> None:
    assert (str(Postpone(after=5)), Postpone(after=5).after) == ("postponed", 5)
    assert (str(Postpone("closed", after=0.5)), Postpone("closed", after=0.5).message) == ("closed", "closed")
    assert isinstance(Postpone(after=0), RochallorError)


@pytest.mark.parametrize("after", [LONGEST + 1, 1e300, 10**400])
def test_a_day_is_the_longest(after: float) -> None:
    assert Postpone(after=after).after == LONGEST == 86400


@pytest.mark.parametrize(
    "after", [-1, -1e-9, math.inf, -math.inf, math.nan, "5", None, timedelta(seconds=5), [5], True]
)
def test_what_is_no_time_is_refused(after: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^after is a number of seconds from 0 to 86400 \(longer counts as a day\), n"
    ):
        Postpone(after=after)


class Careless(Postpone):
    def __init__(self) -> None:
        pass  # and so has no `after`


def changed(after: Any) -> Postpone:
    error = Postpone(after=5)
    error.after = after
    return error


@pytest.mark.parametrize("error", [Careless(), changed("60"), changed(None), changed(math.nan), changed(-1)])
def test_a_wish_that_says_no_time_is_a_failure_like_any_other(error: Postpone) -> None:
    assert postponement(error) is None
    assert postponement(ExceptionGroup("all", [error])) is None
    both = postponement(ExceptionGroup("all", [error, Postpone("later", after=7)]))
    assert both is not None
    assert (both.message, both.after) == ("later", 7)


def pickled(one: Postpone) -> Any:
    return pickle.loads(pickle.dumps(one))  # noqa: S301 — our own


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled])
def test_it_can_be_copied_and_pickled(duplicate: Any) -> None:
    again = duplicate(Postpone("the shop is closed", after=3.5))
    assert (type(again), str(again), again.after) == (Postpone, "the shop is closed", 3.5)


def after(text: Any, default: float = 30.0) -> float:
    return postpone_from({"Retry-After": text}, default=default).after


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), (" 120 ", 120), ("0", 1), ("007", 7), ("٣", 3), ("9" * 5000, LONGEST), ("86401", LONGEST), (7, 7)],
)
def test_seconds(text: Any, seconds: float) -> None:
    assert after(text) == seconds


NOTHING = ["", " ", "soon", "-5", "1.5", "+5", "5s", "²", "Ⅷ", "1e3", "0x10", ",", "nan", "inf", "\x00", b"5", None,
           "Wed, 99 Oct 2099 99:99:99 GMT", "Wed, 21 Oct 2099", "7:28 21 Oct",
           "Fri, 31 Dec 9999 23:59:59 -9999999999999999999999"]  # fmt: skip


@pytest.mark.parametrize("text", NOTHING)
def test_what_says_nothing_counts_as_the_default(text: Any) -> None:
    assert after(text) == 30
    assert after(text, default=2.5) == 2.5


def test_a_default_can_be_anything_that_is_a_time() -> None:
    assert after("", default=LONGEST * 2) == LONGEST
    assert after("", default=-1) == 1
    with pytest.raises(ValueError, match="after is a number of seconds"):
        after("", default=math.inf)


@pytest.mark.usefixtures("_far_from_greenwich")
@pytest.mark.parametrize(
    "text",
    [
        "%a, %d %b %Y %H:%M:%S GMT",
        "%a, %d %b %Y %H:%M:%S -0000",
        "%a, %d %b %Y %H:%M:%S",  # without a zone, which HTTP does not allow
        "%A, %d-%b-%y %H:%M:%S GMT",  # as before RFC 1123
        "%a %b %d %H:%M:%S %Y",  # asctime
    ],
)
def test_dates_are_in_gmt_wherever_the_worker_runs(text: str) -> None:
    in_a_minute = (datetime.now(UTC) + timedelta(seconds=60)).strftime(text)
    assert 57 <= after(in_a_minute) <= 60


def test_a_date_with_another_zone_counts_too() -> None:
    at = datetime.now(UTC) + timedelta(seconds=600)
    assert 597 <= after(format_datetime(at.astimezone(None))) <= 600


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST),
        ("Fri, 31 Dec 9999 23:59:59 -2359", LONGEST),
    ],
)
def test_dates_far_away(text: str, seconds: float) -> None:
    assert after(text) == seconds


class _Response:
    """Like those of httpx and requests (`status_code`) or aiohttp and urllib (`status`)."""

    def __init__(self, headers: Any, **status: int) -> None:
        self.headers = headers
        vars(self).update(status)


def _message(**headers: str) -> Message:
    message = Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    ("response", "seconds", "text"),
    [
        (_Response({"retry-after": "7"}, status_code=429), 7, "postponed: the service answered 429"),
        (_Response({"Retry-After": "7"}, status=503), 7, "postponed: the service answered 503"),
        (_Response({"content-type": "x"}, status=503), 30, "postponed: the service answered 503"),
        (_Response(_message(RETRY_AFTER="8"), status=503), 8, "postponed: the service answered 503"),
        (SimpleNamespace(headers={"RETRY-AFTER": "9"}), 9, "postponed: the service asks to wait"),
        ({"rEtRy-aFtEr": "10"}, 10, "postponed: the service asks to wait"),
        ({}, 30, "postponed: the service asks to wait"),
    ],
)
def test_responses_of_any_client(response: Any, seconds: float, text: str) -> None:
    wish = postpone_from(response)
    assert (wish.after, str(wish)) == (seconds, text)


WORDS = ["Wed,", "21", "Oct", "2099", "07:28:00", "GMT", "+0100", "-0000", "99999", ":", "(", "\\", "a-b-c", "1:2", "+",
         "-", ".", "1.2.3", "12-Oct-99", "٣", "0", "-99999999999999999999", ","]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join) | st.text(max_size=40))
@example("Wed, 21 Oct 2099 07:28:00 +99999999999999")
def test_whatever_it_says_the_result_is_a_time(text: str) -> None:
    assert 0 <= after(text) <= LONGEST
