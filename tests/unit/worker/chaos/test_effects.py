"""What is seen of effects: requests, files, SQLite databases and commands."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rochallor_worker.chaos.effects import Line, Request, Watched
from rochallor_worker.errors import StartError


def request(method: str = "POST", url: str = "http://s/charges", status: int | None = 200) -> Request:
    return Request(method, url, "00", "", status)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (request(), request(url="http://s/charges?at=5"), True),
        (request(url="http://s/orders/17/ship"), request(url="http://s/orders/18/ship"), True),
        (request(url="http://s/orders/17/ship"), request(url="http://s/orders/17/cancel"), False),
        (request(), request(url="http://other/charges"), False),
        (request(), request("PATCH"), False),
    ],
)
def test_requests_are_of_the_same_kind_whatever_their_ids(one: Request, other: Request, same: bool) -> None:
    assert (one.label == other.label) is same


@pytest.mark.parametrize(
    ("seen", "has_effect"),
    [
        (request(), True),
        (request(status=None), True),
        (request(status=409), False),
        (request(status=503), False),
        (request("GET"), False),
        (request("PUT"), False),
        (request("DELETE"), False),
        (request("PATCH"), True),
    ],
)
def test_what_may_be_repeated_or_was_refused_is_no_effect(seen: Request, has_effect: bool) -> None:
    assert seen.has_effect is has_effect


def test_files_are_read_line_by_line_and_folders_with_all_their_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "log").write_text("a\na\n")
    (tmp_path / "sub" / "photo").write_bytes(b"\xff\xfe")
    (tmp_path / "sub" / "shop.db-journal").write_text("of a database\n")
    assert Watched([tmp_path / "log", tmp_path / "missing"]).snapshot() == {Line(str(tmp_path / "log"), "a"): 2}
    folder = str(tmp_path)
    assert Watched([tmp_path]).snapshot() == {Line(folder, "log: a"): 2, Line(folder, r"sub/photo: \xff\xfe"): 1}


def test_a_sqlite_database_is_read_as_rows(tmp_path: Path) -> None:
    file = tmp_path / 'odd "name" #1?.db'
    with closing(sqlite3.connect(file)) as database, database:
        database.execute('CREATE TABLE "a ""b" (x, y)')
        database.executemany('INSERT INTO "a ""b" VALUES (?, ?)', [(1, "one"), (1, "one"), (2, None)])
    table = f'{file} a "b'
    assert Watched(paths=[file]).snapshot() == {Line(table, "1, 'one'"): 2, Line(table, "2, None"): 1}


def test_a_database_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_bytes(b"SQLite format 3\0" + b"x" * 200)
    with pytest.raises(StartError, match=r"--watch .*broken\.db cannot be read"):
        Watched(paths=[tmp_path]).snapshot()


def test_a_device_may_never_end_and_is_refused() -> None:
    with pytest.raises(StartError, match="--watch /dev/zero cannot be read: it is no file and no folder"):
        Watched(paths=[Path("/dev/zero")]).snapshot()


def test_a_command_shows_an_effect_per_line() -> None:
    seen = Watched(commands=["printf 'a\\nb\\na\\n'"]).snapshot()
    assert {line.text: count for line, count in seen.items()} == {"a": 2, "b": 1}


def test_a_command_that_fails_is_named_with_its_message() -> None:
    with pytest.raises(StartError, match=r"--effects 'echo no >&2; exit 3' ended with status 3: no"):
        Watched(commands=["echo no >&2; exit 3"]).snapshot()


def test_what_is_ignored_is_not_seen(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a\nchanged at noon\n")
    assert [line.text for line in Watched([tmp_path], ignored=["changed at"]).snapshot()] == ["log: a"]
    assert not Watched([tmp_path], ignored=["log: "]).snapshot()
