"""The leak test of the whole suite sees what it must see, and nothing where there is nothing."""

import base64
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from radpost.gateway.partners import Switches
from radpost.testing.house import House, Pair
from radpost.testing.outside import BEGIN, END, Outside, clear_part, is_encrypted, words

MakePair = Callable[..., Pair]
Study = Callable[..., list[Path]]
PATIENT = ("Geheimmann^Ottokar", "PID-73951-Q")


def looked_at(house: House) -> list[str]:
    return sorted({leak.name for leak in Outside([house.folder / "radpost.toml"]).leaks()})


def sealed(house: House) -> Path:
    return next(path for path in (house.site.spool.path(str(mail.sealed_sha256)) for mail in house.mails()))


def test_all_that_a_pair_sends_is_read_and_clean(make_pair: MakePair, study: Study) -> None:
    pair = make_pair(switches=Switches(max_mail_size=20_000))
    for mail in pair.send(study(1, patient=PATIENT, side=300)):
        pair.b.receive(mail)
    pair.b.process()
    assert pair.b.answer()
    found = Outside([house.folder / "radpost.toml" for house in (pair.a, pair.b)])
    assert found.leaks() == []
    assert found.messages == len(pair.a.posted) + len(pair.b.posted) >= 4
    assert (found.lost, found.unreadable) == (0, 0)
    assert found.leaks() == []
    assert found.messages == len(pair.a.posted) + len(pair.b.posted), "nothing is read twice"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"X-Note: Geheimmann^Ottokar", "PatientName Geheimmann^Ottokar"),
        (b"X-Note: from Ottokar, urgent", "name Ottokar Ottokar"),
        (b"X-Note: =?utf-8?q?Geheimmann?=", "name Geheimmann Geheimmann"),
        (b"X-Note: " + base64.b64encode(b"PID-73951-Q"), "PatientID PID-73951-Q"),
        (b"X-Host: localhost", "loopback name"),
        (b"X-From: [127.0.0.1]", "loopback address"),
        (b"X-Title: AE_B", "AE title AE_B"),
        (b"X-File: object-0001.dcm", "file name object-0001.dcm"),
        (b"X-Host: vm", "host"),
    ],
)
def test_a_header_that_says_too_much_is_found(
    make_pair: MakePair, study: Study, monkeypatch: pytest.MonkeyPatch, line: bytes, name: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "vm")
    pair = make_pair()
    pair.send(study(1, patient=PATIENT))
    path = sealed(pair.a)
    honest = path.read_bytes()
    assert looked_at(pair.a) == []
    # the rows have the length of the honest one: the longer line takes the place of the Date
    start = honest.index(b"Date: ")
    path.write_bytes(honest[:start] + line + honest[start + len(line) :])
    try:
        assert name in looked_at(pair.a)
    finally:
        path.write_bytes(honest)


def test_a_uid_in_clear_and_armor_around_nothing_secret_are_found(make_pair: MakePair, study: Study) -> None:
    pair = make_pair()
    files = study(1, patient=PATIENT, uids=("1.2.3.4.5.6.7", "1.2.3.4.5.6.7.8"))
    pair.send(files)
    path = sealed(pair.a)
    honest = path.read_bytes()
    start = honest.index(b"Date: ")
    path.write_bytes(honest[:start] + b"X-UID: 1.2.3.4.5.6.7.8 " + honest[start + 23 :])
    assert looked_at(pair.a) == ["UID"]
    armor = honest.index(b"\r\n\r\n", honest.index(BEGIN)) + 4
    path.write_bytes(honest[:armor] + base64.b64encode(b"\xcb\x10b") + honest[armor + 4 :])
    assert looked_at(pair.a) == ["clear text"]
    path.write_bytes(honest)


def test_what_is_clear_in_a_mail_and_in_its_fragments() -> None:
    whole = b"To: b\r\n\r\n--x\r\n" + BEGIN + b"\r\nHash: none\r\n\r\nAAAA\r\n" + END + b"\r\n--x--\r\n"
    clear = b"To: b\r\n\r\n--x\r\n" + BEGIN + b"\r\nHash: none\r\n\r\n" + END + b"\r\n--x--\r\n"
    assert clear_part(b"", whole) == clear
    cut = whole.index(b"AAAA") + 2
    assert clear_part(b"Head\r\n\r\n", whole[:cut]) == b"Head\r\n\r\n" + clear[: clear.index(END)]
    assert clear_part(b"Head\r\n\r\n", b"BBBB\r\n") == b"Head\r\n\r\n"
    assert clear_part(b"Head\r\n\r\n", whole[cut:]) == b"Head\r\n\r\n" + END + b"\r\n--x--\r\n"
    assert clear_part(b"", b"Subject: receipt\r\n\r\nAll is well.\r\n").endswith(b"All is well.\r\n")
    assert is_encrypted(b"no armor")


def test_a_short_host_name_counts_as_a_word_only() -> None:
    assert words("x", b"EHLO vm\r\n", {"host": "VM"})
    assert words("x", b"EHLO vm.clinic.local\r\n", {"host": "vm"})
    assert not words("x", b"EHLO klinik-vm-a.example avm vms\r\n", {"host": "vm"})
