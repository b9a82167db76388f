"""What others wrote is printed so that it steers no terminal: names, addresses, ids, words of servers."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from radpost.cli import common
from radpost.errors import NOT_OURS, RadpostError
from radpost.gateway.arrivals import add_arrival
from radpost.gateway.outbox import Outbox
from radpost.gateway.processing import Processor
from radpost.gateway.receipting import Receipts
from radpost.gateway.site import Site
from radpost.gateway.views import Explained
from radpost.openpgp import keys
from radpost.testing.calling import Run

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egpj.exe\u2066\x00\r\x7f\u2028"
STEERING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
MAIL = (
    f'From: "{ESCAPES}" <radpost{ESCAPES}@b.example>\nTo: radpost@a.example\nSubject: {ESCAPES}\n'
    f"Message-ID: <1{ESCAPES}@b.example>\nX-TELEMEDICINE-SETID: {ESCAPES}\nMIME-Version: 1.0\n"
    f'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b; name="{ESCAPES}"\n'
    "\n--b\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n"
    f'--b\nContent-Type: application/octet-stream; name="{ESCAPES}"\n\n'
    "-----BEGIN PGP MESSAGE-----\n\nhF4D\n-----END PGP MESSAGE-----\n--b--\n"
).replace("\r", "")


@pytest.fixture
def hostile(run: Run, site: Site, partner: str) -> int:
    """A mail full of control characters that waits in quarantine, with an alarm; the entry's number."""
    del partner
    with site.spool.writer() as writer:
        writer.write(MAIL.encode("utf-8", "surrogateescape"))
        stored = writer.commit()
    with site.database.write() as connection:
        given = {"source": "smtp", "envelope_from": "x@b.example", "recipient": ""}
        add_arrival(site, connection, stored, **given, now=site.clock())
    processor = Processor(site, Receipts(site, Outbox(site)))
    site.partners.forget()
    for row in processor.next(10, frozenset()):
        processor.work(row)
    ((number, *_),) = [tuple(row.values()) for row in run("quarantine", "list", "--json").json]
    assert isinstance(number, int)
    return number


COMMANDS = (
    ("quarantine", "list"),
    ("quarantine", "show", "{entry}"),
    ("show", "{arrival}"),
    ("status",),
    ("alarm", "list"),
    ("mailbox", "list"),
    ("partner", "list"),
    ("key", "show"),
    ("unfinished", "list"),
)


def test_no_command_hands_on_what_steers_a_terminal(run: Run, hostile: int) -> None:
    view = run("quarantine", "show", hostile, "--json").json
    for command in COMMANDS:
        words = [word.format(entry=hostile, arrival=view["arrival"]) for word in command]
        for form in ([], ["--json"]):
            said = run(*words, *form)
            assert said.code == 0, said.err
            assert not STEERING.search(said.out + said.err), (command, form)


def test_inv11_the_entry_can_still_be_read(run: Run, hostile: int) -> None:
    said = run("quarantine", "show", hostile)
    assert "b.example" in said.out
    assert "gpj.exe" in said.out


def by_facts(text: str) -> None:
    common.print_facts({"name": text})


def by_table(text: str) -> None:
    common.print_table(["name"], [[text]], empty="")


def by_reasons(text: str) -> None:
    common.print_reasons([Explained(1, "x", "s", "us", detail=text, subject=text)])


def by_complaint(text: str) -> None:
    common.complain(RadpostError(NOT_OURS, text))


@pytest.mark.parametrize("printer", [by_facts, by_table, by_reasons, by_complaint, common.print_json])
@pytest.mark.parametrize("extra", ["", "\ud800", "ü€😀"])
def test_every_printer_holds_back(
    printer: Callable[[str], None], extra: str, capsys: pytest.CaptureFixture[str]
) -> None:
    printer(f"before{ESCAPES}after{extra}")
    said = "".join(capsys.readouterr())
    assert "before" in said
    assert "after" in said
    assert not STEERING.search(said)
    said.encode("utf-8")
    if extra.startswith("ü"):
        assert extra in said


@pytest.mark.parametrize("text", [ESCAPES, "\ud800", "\U000e0001", "\x7f", "\\u0041", 'a"b', "ü€😀\u00a0"])
def test_json_stays_the_same_value(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    value = {text: [text, {"x": text}]}
    common.print_json(value)
    assert json.loads(capsys.readouterr().out) == value


def test_a_key_with_a_hostile_name(run: Run, site: Site, tmp_path: Path) -> None:
    """Whoever makes a key writes what he likes into its User ID."""
    del site
    known = run("key", "show", "--json").json
    secret = keys.generate("Praxis \u202eB", "radpost@b.example", kind=keys.KeyKind.CURVE25519)
    path = tmp_path / "b.asc"
    path.write_bytes(keys.export_public(secret))
    add = ("partner", "add", "praxis-b", "--ae-title", "PRAXIS_B", "--address", "radpost@b.example")
    said = run(*add, "--key", path)
    assert said.code == 0, said.err
    assert not STEERING.search(said.out)
    assert len(run("key", "show", "--json").json) == len(known) + 1
