"""The journal's file by itself: when it is rewritten, and what it leaves open."""

import sys
from contextlib import suppress
from pathlib import Path

import pytest

from rochallor_worker import StartError
from rochallor_worker.execution.journal_file import JournalFile

MIB = 1024 * 1024


class Contents:
    """What the file must hold; counts the calls."""

    def __init__(self, content: bytes = b"content\n") -> None:
        self.content = content
        self.asked = 0

    def __call__(self) -> bytes:
        self.asked += 1
        return self.content


def opened(folder: Path, contents: Contents) -> JournalFile:
    file = JournalFile(folder, contents)
    file.rewrite()
    return file


def open_files(folder: Path) -> list[str]:
    """What this process has open in the folder. Other threads may open and close files of their own meanwhile."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # of the listing itself
            found.append(str(descriptor.readlink()))
    return sorted(path for path in found if path.startswith(f"{folder}/"))


def test_lines_are_added_until_the_file_has_grown_by_4_mib_and_then_it_is_rewritten(tmp_path: Path) -> None:
    contents = Contents()
    file = opened(tmp_path, contents)
    before = open_files(tmp_path)
    for rewritten in (1, 2, 3):
        for _ in range(4):
            file.append(b"x" * MIB)
        assert contents.asked == rewritten
        assert (tmp_path / "journal.jsonl").stat().st_size == len(b"content\n") + 4 * MIB
        file.append(b"x")
        assert contents.asked == rewritten + 1
        assert (tmp_path / "journal.jsonl").read_bytes() == b"content\n"
    assert len(before) == 2  # the file and the lock
    assert open_files(tmp_path) == before
    file.close()


def test_no_file_descriptor_stays_open(tmp_path: Path) -> None:
    file = opened(tmp_path / "new" / "folder", Contents())
    with pytest.raises(StartError, match="another worker uses"):
        JournalFile(tmp_path / "new" / "folder", Contents())
    assert (tmp_path / "new" / "folder" / "lock").stat().st_mode & 0o777 == 0o600
    assert open_files(tmp_path)
    file.close()
    assert open_files(tmp_path) == []


def test_a_file_that_could_not_be_written_can_be_closed_and_is_written_once_possible(tmp_path: Path) -> None:
    (tmp_path / "journal.new").symlink_to("elsewhere")
    contents = Contents()
    opened(tmp_path, contents).close()
    file = opened(tmp_path, contents)
    file.append(b"line\n")
    assert file.errors == 2
    (tmp_path / "journal.new").unlink()
    file.append(b"line\n")
    asked = contents.asked
    file.append(b"line\n")
    assert contents.asked == asked
    assert (tmp_path / "journal.jsonl").read_bytes() == b"content\nline\n"
    file.close()


@pytest.mark.parametrize("in_the_way", [False, True])
def test_a_file_that_cannot_be_read_is_put_aside_if_possible(tmp_path: Path, in_the_way: bool) -> None:
    (tmp_path / "journal.jsonl").mkdir()
    if in_the_way:
        (tmp_path / "journal.unreadable" / "full").mkdir(parents=True)
    file = JournalFile(tmp_path, Contents())
    assert file.read() == []
    assert (tmp_path / "journal.unreadable").is_dir()
    assert (tmp_path / "journal.jsonl").exists() == in_the_way
    file.close()


def test_a_system_without_file_locks_has_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(StartError, match="ROCHALLOR_JOURNAL_DIR: a journal needs file locks"):
        JournalFile(tmp_path, Contents())
