"""Inputs are told by what they are: mails, mailboxes of one file, Maildirs, folders, streams."""

import io
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from radpost.errors import MAIL_UNREADABLE, RESOURCE_LIMIT
from radpost.mails import sources
from radpost.mails.sources import Mail, Unreadable, find_mails

ONE = b"From: a@partner.example\r\nSubject: one\r\n\r\nFirst.\r\n"
TWO = b"From: b@partner.example\r\nSubject: two\r\n\r\nSecond.\r\n\r\nFrom here on there is text.\r\n"


def taken(inputs: Iterable[object], temp: Path, stdin: bytes | None = None) -> list[tuple[str, bytes]]:
    """Return name and bytes of all mails, and names of what could not be read with nothing."""
    temp.mkdir(exist_ok=True)
    stream = None if stdin is None else io.BytesIO(stdin)
    out = []
    for one in find_mails([str(item) for item in inputs], temp=temp, stdin=stream):
        if isinstance(one, Unreadable):
            out.append((one.file, b""))
        else:
            with one.buffer() as buffer:
                assert bytes(buffer[:]) == bytes(one.view()[:])
                out.append((one.files[0], bytes(buffer[:])))
    return out


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def mbox(*mails: bytes, line_end: bytes = b"\n") -> bytes:
    """Return an mbox as a mail server writes it (RFC 4155 A)."""
    mark = b"From a@partner.example Thu Feb 12 09:30:00 2026\n"
    return b"".join(mark + mail.replace(b"\r\n", b"\n") + b"\n" for mail in mails).replace(b"\n", line_end)


def test_files_come_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    two, one = put(tmp_path / "two", TWO), put(tmp_path / "one", ONE)
    assert taken([two, one], tmp_path / "t") == [(str(two), TWO), (str(one), ONE)]


def test_any_file_that_is_named_is_taken_whatever_is_in_it(tmp_path: Path) -> None:
    files = [put(tmp_path / "x.bin", b"\0\1\2"), put(tmp_path / "empty", b"")]
    assert taken(files, tmp_path / "t") == [(str(files[0]), b"\0\1\2"), (str(files[1]), b"")]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_an_mbox_is_cut_at_its_marks_and_not_in_its_text(line_end: bytes, tmp_path: Path) -> None:
    box = put(tmp_path / "inbox", mbox(ONE, TWO, ONE, line_end=line_end))
    mails = [mail.replace(b"\r\n", line_end) for mail in (ONE, TWO, ONE)]
    last = mails[2] + line_end  # nothing tells the last empty line from one of the mail
    assert taken([box], tmp_path / "t") == [
        (f"{box}#1", mails[0]),
        (f"{box}#2", mails[1]),
        (f"{box}#3", last),
    ]


def test_one_mail_with_a_mark_keeps_the_name_of_its_file(tmp_path: Path) -> None:
    box = put(tmp_path / "saved.eml", b"From a@b Thu Feb 12 09:30:00 2026\n" + ONE)
    assert taken([box], tmp_path / "t") == [(str(box), ONE)]


def test_a_maildir_is_read_whole_without_what_is_being_delivered(tmp_path: Path) -> None:
    box = tmp_path / "Maildir"
    new, cur = put(box / "new/1771.M1.host", ONE), put(box / "cur/1770.M2.host:2,S", TWO)
    put(box / "tmp/1772.M3.host", ONE)
    put(box / "dovecot.index", b"From: no mail")
    assert taken([box], tmp_path / "t") == [(str(new), ONE), (str(cur), TWO)]


def test_of_a_folder_what_looks_like_a_mail_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "mails"
    put(folder / "notes.txt", b"Dear colleague,\n\nall is well.\n")
    put(folder / "a.json", b'{"From": "nobody"}')
    put(folder / ".hidden.eml", ONE)
    (folder / "loop").symlink_to(folder)
    found = [
        put(folder / "b.eml", b"\xff\xfe"),
        put(folder / "c", mbox(ONE)),
        put(folder / "sub/d.txt", ONE),
    ]
    assert [name for name, _ in taken([folder], tmp_path / "t")] == [str(path) for path in found]


def test_standard_input_may_be_a_mail_or_an_mbox(tmp_path: Path) -> None:
    assert taken(["-"], tmp_path / "t", stdin=ONE) == [("-", ONE)]
    assert [name for name, _ in taken(["-"], tmp_path / "u", stdin=mbox(ONE, TWO))] == ["-#1", "-#2"]


def test_a_pipe_is_read_like_standard_input(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(ONE,))
    writer.start()
    assert taken([pipe], tmp_path / "t") == [(str(pipe), ONE)]
    writer.join()


def test_a_stream_must_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LARGEST_STREAM", 10)
    (found,) = find_mails(["-"], temp=tmp_path, stdin=io.BytesIO(ONE))
    assert isinstance(found, Unreadable)
    assert found.error.reason is RESOURCE_LIMIT


@pytest.mark.parametrize("name", ["missing.eml", "a\0b", "device"])
def test_what_cannot_be_read_is_named_and_stops_nothing(name: str, tmp_path: Path) -> None:
    given = "/dev/null" if name == "device" else str(tmp_path / name)
    one = put(tmp_path / "one", ONE)
    first, second = find_mails([given, one], temp=tmp_path)
    assert isinstance(first, Unreadable)
    assert (first.file, first.error.reason) == (given, MAIL_UNREADABLE)
    assert isinstance(second, Mail)


def test_the_same_file_is_taken_once(tmp_path: Path) -> None:
    one = put(tmp_path / "mails/one.eml", ONE)
    assert [name for name, _ in taken([one, one.parent, one], tmp_path / "t")] == [str(one)]
