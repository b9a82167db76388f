"""Documents travel with their study: the header inside, a folder below the study, a program called."""

import email
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from radpost.agit.names import STUDY_ID
from radpost.gateway.partners import RADPOST_PEER, Switches
from radpost.testing import posted
from radpost.testing.institution import Institution, OwnKey, make_key, toml_server
from radpost.testing.peers.gnupg import GnuPG
from radpost.testing.peers.pair import MailServer
from radpost.testing.posted import A_ADDRESS, B_ADDRESS

pytestmark = [pytest.mark.peer("postfix", "dovecot", "gnupg"), pytest.mark.timeout(90)]

DOCUMENTS = {
    "befund.pdf": b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\ntrailer<<>>\n%%EOF\n",
    "Überweisung Müller.txt": "Grüße aus der Praxis\r\n".encode(),
    "scan.bin": bytes(range(256)) * 40,
    "leer.txt": b"",
}
PROGRAM = """\
#!/bin/sh
# called with file, study, partner and key; the first call for each key fails
mkdir -p "$1" && shift
printf '%s\\t%s\\t%s\\t%s\\n' "$(sha256sum < "$1" | cut -c1-64)" "$2" "$3" "$4" >> "{calls}"
test -e "{seen}/$4" || {{ mkdir -p "{seen}"; : > "{seen}/$4"; exit 7; }}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    with MailServer(posted.USERS) as peer:
        yield peer


@pytest.fixture(scope="module")
def keys() -> tuple[OwnKey, OwnKey]:
    return make_key("Klinik A", A_ADDRESS), make_key("Praxis B", B_ADDRESS)


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "case"
    folder.mkdir()
    for name, data in DOCUMENTS.items():
        (folder / name).write_bytes(data)
    return folder


def institutions(
    directory: Path,
    server: MailServer,
    keys: tuple[OwnKey, OwnKey],
    destinations: str,
    switches: Switches = RADPOST_PEER,
) -> tuple[Institution, Institution]:
    for user in server.users:
        server.dovecot.wipe(user)
    mail = [posted.submission(server, user) + posted.mailbox(server, user) for user in posted.USERS]
    a = Institution(directory / "a", "Klinik A", A_ADDRESS, mail[0], key=keys[0]).prepare()
    b = Institution(directory / "b", "Praxis B", B_ADDRESS, mail[1] + destinations, key=keys[1]).prepare()
    posted.befriend(a, b, switches=switches)
    return a, b


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("switches", [RADPOST_PEER, Switches()], ids=["radpost-peer", "field"])
def test_documents_arrive_below_the_study_they_were_sent_with(
    server: MailServer,
    keys: tuple[OwnKey, OwnKey],
    documents: Path,
    shared: Path,
    tmp_path: Path,
    switches: Switches,
) -> None:
    """The DICOM study of the same job is theirs; inside the mail each part says so, outside nothing does.

    @GIT 1.1r 2.1.
    """
    image = shared / "dicom/ct_small.dcm"
    study = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
    inbox = tmp_path / "in"
    a, b = institutions(tmp_path, server, keys, posted.folder(inbox, takes="all"), switches)
    with a:
        done = a.run("send", str(image), str(documents), "--to", "PRAXIS_B", "--json")
        assert json.loads(done.stdout)["studies"] == [study]
        total = len(DOCUMENTS) + 1
        count = total if switches.objects_per_mail == 1 else 1
        mails = [path.read_bytes() for path in server.wait_for_mails(B_ADDRESS, count, 30)]
        named = []
        with GnuPG(keys=[keys[1].secret, keys[0].public]) as gnupg:
            for mail in mails:
                assert study.encode() not in mail
                assert not [name for name in DOCUMENTS if name.encode() in mail]
                inside = email.message_from_bytes(gnupg.open(mail[mail.index(b"-----BEGIN PGP") :]).plaintext)
                named += [part[STUDY_ID] for part in inside.walk() if part[STUDY_ID]]
        assert named == [study] * len(DOCUMENTS)
        with b:
            posted.await_idle(a)
            posted.await_that(lambda: len(files_below(inbox)) == total, "all lie in the folder", b)
    below = f"klinik_a/{study}"
    expected = {f"{below}/{name}": data for name, data in DOCUMENTS.items()}
    found = files_below(inbox)
    assert {name: found.get(name) for name in expected} == expected
    (dicom,) = set(found) - set(expected)
    assert dicom.startswith(below)
    assert found[dicom] == image.read_bytes()
    assert {row.state for row in a.transmissions()} <= {"confirmed", "confirmed (unsigned)"}


def test_documents_alone_get_the_study_that_is_named_or_one_of_their_own(
    server: MailServer, keys: tuple[OwnKey, OwnKey], documents: Path, tmp_path: Path
) -> None:
    """@GIT 1.1r 5.2."""
    inbox = tmp_path / "in"
    a, b = institutions(tmp_path, server, keys, posted.folder(inbox))
    pdf, text = documents / "befund.pdf", documents / "scan.bin"
    with a, b:
        a.run("send", str(pdf), "--to", "praxis_b", "--study", "1.2.3.4", "--wait", "30")
        told = json.loads(a.run("send", str(text), "--to", "praxis_b", "--wait", "30", "--json").stdout)
        posted.await_that(lambda: len(files_below(inbox)) == 2, "both lie in the folder", b)
    (own,) = told["studies"]
    assert own.startswith("2.25.")
    assert files_below(inbox) == {
        "klinik_a/1.2.3.4/befund.pdf": DOCUMENTS["befund.pdf"],
        f"klinik_a/{own}/scan.bin": DOCUMENTS["scan.bin"],
    }


def test_a_program_is_called_with_the_file_until_it_succeeds(
    server: MailServer, keys: tuple[OwnKey, OwnKey], documents: Path, tmp_path: Path
) -> None:
    """Each file is given with study, partner and a key that is the same at every call (DESIGN 4)."""
    calls, program = tmp_path / "calls", tmp_path / "archive"
    program.write_text(PROGRAM.format(calls=calls, seen=tmp_path / "seen"), "utf-8")
    program.chmod(0o755)
    command = [program, tmp_path / "work", "{path}", "{study}", "{partner}", "{key}"]
    destination = toml_server(
        "[[destination]]", name="archive", kind="program", takes="other", command=command
    )
    a, b = institutions(tmp_path, server, keys, destination)
    with a, b:
        a.run("send", str(documents), "--to", "praxis_b", "--study", "1.2.3.4", "--wait", "30")

        def delivered() -> bool:
            rows = posted.deliveries(b)
            return len(rows) == len(DOCUMENTS) and all(row.done_at for row in rows)

        posted.await_that(delivered, "the program took all", b)
    lines = [line.split("\t") for line in calls.read_text("utf-8").splitlines()]
    hashes = [hashlib.sha256(data).hexdigest() for data in DOCUMENTS.values()]
    assert sorted(line[0] for line in lines) == sorted(hashes * 2), "each failed once and was called again"
    assert {(study, partner) for _, study, partner, _ in lines} == {("1.2.3.4", "klinik_a")}
    by_hash: dict[str, set[str]] = {}
    for sha256, _, _, key in lines:
        by_hash.setdefault(sha256, set()).add(key)
    assert all(len(found) == 1 for found in by_hash.values())
    assert len(set.union(*by_hash.values())) == len(DOCUMENTS)
    assert not list((b.directory / "data").glob("handover/*")), "the copies are removed"
