"""radpost doctor: every step has a result, a failed one a cause and a remedy; the firewall's rules."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from radpost.gateway import doctor_servers
from radpost.gateway.config import Receiver
from radpost.gateway.receiving import server_for
from radpost.gateway.site import Site
from radpost.testing.calling import Run

_LOCAL = '[submission]\nhost = "127.0.0.1"\nport = {port}\nsecurity = "none"\n'


def settle(home: Path, *, mail_out: str = "", more: str = "") -> None:
    """Replace the mail servers of the template, which do not exist, by what a test needs."""
    path = home / "radpost.toml"
    text = path.read_text("utf-8")
    before, _, rest = text.partition("[submission]")
    limits = "[limits]" + rest.partition("[limits]")[2]
    path.write_text(before + mail_out + limits + more, "utf-8")


def steps(run: Run) -> dict[tuple[str, str], Any]:
    return {(item["step"], item["subject"]): item for item in run("doctor", "--json").json}


@pytest.fixture
def mail_server(site: Site) -> Iterator[int]:
    """Our own SMTP receiver on a free port."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = server_for(site, Receiver(port=port))
    server.start()
    yield port
    server.stop(2.0)


@contextmanager
def speaker(*lines: bytes) -> Iterator[int]:
    """A server that says these lines, each after one of the client's, and closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener.accept()[0] as sock:
            for line in lines:
                sock.sendall(line)
                sock.recv(1000)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield int(listener.getsockname()[1])
    listener.close()
    thread.join(2)


def test_all_is_well_but_for_what_is_said(home: Path, run: Run, partner: str, mail_server: int) -> None:
    settle(home, mail_out=_LOCAL.format(port=mail_server))
    run("partner", "add", partner, "--route", f"127.0.0.1:{mail_server}:none")
    found = steps(run)
    out = found["mail out", f"127.0.0.1:{mail_server}"]
    assert out["state"] == "ok"
    assert "size limit 1000.0 MB" in out["found"]
    assert "CHUNKING" in out["found"]
    assert found["mail out", f"{partner} 127.0.0.1:{mail_server}"]["state"] == "ok"
    assert found["keys", "own"]["state"] == found["keys", partner]["state"] == "ok"
    assert found["programs", "gpg"]["state"] == "ok"
    assert found["gateway", "Klinik A"]["state"] == "warning"
    assert found["mail in", "mailbox"]["state"] == "failed"
    assert "[[mailbox]]" in found["mail in", "mailbox"]["remedy"]


def test_the_exit_status_is_1_if_a_step_failed(home: Path, run: Run, mail_server: int) -> None:
    receiver = f"\n[[receiver]]\nport = {mail_server}\n"
    settle(home, mail_out=_LOCAL.format(port=mail_server), more=receiver)
    said = run("doctor")
    assert said.code == 0, said.out
    assert "0 failed" in said.out
    settle(home, more=receiver)
    run("partner", "add", "b", "--ae-title", "B", "--address", "x@b.example")
    said = run("doctor")
    assert said.code == 1
    assert "nothing can be sent to this partner" in said.out
    assert "FAILED  mail out" in said.out


def test_a_server_that_does_not_answer_is_named_with_the_remedy(home: Path, run: Run) -> None:
    settle(home, mail_out=_LOCAL.format(port=9))
    check = steps(run)["mail out", "127.0.0.1:9"]
    assert (check["state"], check["code"]) == ("failed", 701)
    assert "refused" in check["found"]
    assert "check host, port and network" in check["remedy"]


def test_a_missing_password_file_is_a_failed_step(home: Path, run: Run) -> None:
    (home / "mail-password").unlink()
    path = home / "radpost.toml"
    path.write_text(path.read_text("utf-8").replace("mail.a.example", "127.0.0.1"), "utf-8")
    found = steps(run)
    assert found["configuration", "127.0.0.1"]["state"] == "failed"
    assert "password_file" in found["configuration", "127.0.0.1"]["found"]


def test_a_clock_that_differs_is_found_in_the_greeting(site: Site) -> None:
    greeting = b"220 mx.example ESMTP; Mon, 23 Nov 2026 08:00:00 +0000\r\n"
    ahead = doctor_servers.ahead(greeting, 1795420800.0)
    assert ahead == pytest.approx(0.0)
    assert doctor_servers.ahead(b"220 mx.example ESMTP\r\n", 0.0) is None
    assert doctor_servers.ahead(b"220 x; Mon, 99 Nov 2026 08:00:00 +0000\r\n", 0.0) is None


def test_a_greeting_with_a_wrong_date_is_a_warning(home: Path, run: Run) -> None:
    lines = (
        b"220 mx ESMTP; Sat, 01 Jan 2000 08:00:00 +0000\r\n",
        b"250-mx\r\n250 SIZE 1000\r\n",
        b"221 bye\r\n",
    )
    with speaker(*lines) as port:
        settle(home, mail_out=_LOCAL.format(port=port))
        check = steps(run)["mail out", f"127.0.0.1:{port}"]
    assert check["state"] == "warning"
    assert "NTP" in check["remedy"]


def test_a_greeting_that_is_none_is_a_failed_step(home: Path, run: Run) -> None:
    with speaker(b"554 go away\r\n") as port:
        settle(home, mail_out=_LOCAL.format(port=port))
        check = steps(run)["mail out", f"127.0.0.1:{port}"]
    assert check["state"] == "failed"
    assert "554 go away" in check["found"]


def test_destinations_are_tried(home: Path, run: Run) -> None:
    (home / "file").write_text("x", "utf-8")
    more = (
        '\n[[destination]]\nname = "blocked"\nkind = "folder"\npath = "file/below"\n'
        '\n[[destination]]\nname = "script"\nkind = "program"\ncommand = ["no-such-program-here"]\n'
        '\n[[destination]]\nname = "pacs"\nkind = "dicom"\nae_title = "P"\nhost = "127.0.0.1"\nport = 9\n'
    )
    settle(home, more=more)
    found = steps(run)
    assert found["destinations", "received"]["state"] == "ok"
    assert found["destinations", "blocked"]["code"] == 412
    assert found["destinations", "script"]["code"] == 411
    assert found["destinations", "pacs P@127.0.0.1:9"]["code"] == 403


def test_invariant_4_what_partners_send_needs_a_place(home: Path, run: Run, partner: str) -> None:
    settle(home)
    assert ("destinations", "DICOM") not in steps(run)
    path = home / "radpost.toml"
    path.write_text(path.read_text("utf-8").replace('takes = "rest"', 'takes = "other"'), "utf-8")
    check = steps(run)["destinations", "DICOM"]
    assert (check["state"], check["code"]) == ("failed", 418)
    assert partner in check["found"]


def test_an_unconfirmed_key_is_a_failed_step(
    run: Run, home: Path, their_public: Path, fingerprint: str
) -> None:
    settle(home)
    run("partner", "add", "b", "--ae-title", "B", "--address", "x@b.example", "--key", their_public)
    check = steps(run)["keys", "b"]
    assert (check["state"], check["code"]) == ("failed", 208)
    assert "radpost key confirm" in check["remedy"]


def test_a_teleradiology_partner_is_never_served_in_clear(run: Run, home: Path, partner: str) -> None:
    settle(home, mail_out='[submission]\nhost = "127.0.0.1"\nport = 2525\nsecurity = "none"\n')
    refused = run("partner", "add", partner, "--set", "teleradiology=true", "--set", "clear=true")
    assert refused.code == 1
    assert "clear=false" in refused.err
    assert run("partner", "add", partner, "--set", "teleradiology=true", "--route", "none").code == 0
    said = run("doctor", "--json").json
    tele = [item for item in said if item["step"] == "teleradiology"]
    assert [item["state"] for item in tele] == ["failed", "warning"]
    assert any("security 'none'" in item["found"] for item in tele)


def test_a_teleradiology_partner_is_not_received_in_clear(run: Run, home: Path, partner: str) -> None:
    """A [[receiver]] without TLS is a mail connection too; one on loopback is behind no network."""
    more = "".join(
        f'\n[[receiver]]\nhost = "{host}"\nport = {port}\n{tls}'
        for host, port, tls in (
            ("0.0.0.0", 2501, ""),
            ("192.0.2.1", 2502, 'certificate = "c"\nkey = "k"\n'),
            ("192.0.2.1", 2503, 'certificate = "c"\nkey = "k"\nrequire_tls = true\n'),
            ("127.0.0.1", 2504, ""),
        )
    )
    settle(home, mail_out='[submission]\nhost = "mail.test"\nport = 587\nsecurity = "starttls"\n', more=more)
    assert run("partner", "add", partner, "--set", "teleradiology=true", "--route", "none").code == 0
    said = run("doctor", "--json").json
    tele = [item for item in said if item["step"] == "teleradiology" and "receiver" in item["found"]]
    assert [(item["state"], item["found"].split(":")[1]) for item in tele] == [
        ("failed", "2501"),
        ("warning", "2502"),
    ]
    assert all("require_tls" in item["remedy"] for item in tele)


def test_every_file_with_a_secret_is_looked_at(home: Path, run: Run) -> None:
    oauth = (
        '[mailbox.oauth]\ntoken_url = "https://login.test/token"\nclient_id = "x"\n'
        'client_secret_file = "client"\nrefresh_token_file = "refresh"\n'
    )
    more = (
        '\n[[mailbox]]\nhost = "127.0.0.1"\nport = 9\nsecurity = "none"\nuser = "u"\n'
        f'password_file = "word"\n{oauth}'
        '\n[[receiver]]\ncertificate = "cert.pem"\nkey = "mail.key"\n'
        '\n[pacs]\nae_title = "P"\nhost = "127.0.0.1"\nport = 9\n'
        '[pacs.tls]\ncertificate = "cert.pem"\nkey = "pacs.key"\n'
    )
    settle(home, more=more)
    secret = ("client", "refresh", "word", "mail.key", "pacs.key")
    for name in secret:
        (home / name).write_text("x", "utf-8")
        (home / name).chmod(0o604)
    open_ = {name for (step, name), item in steps(run).items() if item["found"] == "readable by others"}
    assert open_ == set(secret)
    for name in secret:
        (home / name).chmod(0o600)
    assert not [item for item in steps(run).values() if item["found"] == "readable by others"]
    (home / "refresh").unlink()
    assert steps(run)["configuration", "refresh"]["state"] == "failed"
    for inline in ('client_secret = "s"', 'refresh_token = "s"'):
        path = home / "radpost.toml"
        text = path.read_text("utf-8")
        key = inline.partition(" ")[0]
        path.write_text(text.replace(f'{key}_file = "{key.split("_")[0]}"', inline), "utf-8")
        path.chmod(0o644)
        assert steps(run)["configuration", "radpost.toml"]["found"] == "readable by others"
        path.write_text(text, "utf-8")


def test_remedies_are_german_where_the_institution_is(home: Path, run: Run) -> None:
    settle(home)
    path = home / "radpost.toml"
    path.write_text(path.read_text("utf-8").replace('language = "en"', 'language = "de"'), "utf-8")
    assert "legen Sie den ersten" in steps(run)["partners", "all"]["remedy"]
    assert "starten Sie es" in run("doctor").out


def test_a_data_directory_that_others_can_read_is_found(home: Path, run: Run) -> None:
    settle(home)
    (home / "data").chmod(0o755)
    check = next(item for item in run("doctor", "--json").json if item["step"] == "data directory")
    assert (check["state"], check["found"]) == ("warning", "not private")


def test_only_outbound_submission_and_mailbox_need_the_firewall(run: Run) -> None:
    rules = run("doctor", "--firewall", "--json").json
    outside = [
        (rule["direction"], rule["host"], rule["port"], rule["tls"]) for rule in rules if not rule["local"]
    ]
    assert outside == [("out", "mail.a.example", 587, "starttls"), ("out", "mail.a.example", 993, "tls")]
    assert [(rule["port"], rule["direction"]) for rule in rules if rule["local"]] == [(11112, "in")]


def test_rules_follow_the_configuration(home: Path, run: Run, partner: str) -> None:
    path = home / "radpost.toml"
    more = (
        '\n[[receiver]]\nhost = "0.0.0.0"\nport = 25\ncertificate = "c"\nkey = "k"\nrequire_tls = true\n'
        '\n[pacs]\nae_title = "P"\nhost = "10.1.1.1"\nport = 104\n'
        '\n[[mailbox]]\nname = "two"\nkind = "pop3"\nhost = "pop.example"\nport = 995\nsecurity = "tls"\n'
        '[mailbox.oauth]\ntoken_url = "https://login.example/token"\nclient_id = "x"\n'
    )
    text = path.read_text("utf-8").replace('host = "127.0.0.1"            # ', 'host = "0.0.0.0"   # ')
    path.write_text(text + more, "utf-8")
    run("partner", "add", partner, "--route", "mx.b.example:25:starttls")
    said = run("doctor", "--firewall")
    assert said.code == 0
    for word in ("mx.b.example", "10.1.1.1", "pop.example", "login.example", "HTTPS", "required", "DNS"):
        assert word in said.out
    inbound = said.out.partition("Inbound")[2]
    assert "11112" in inbound
    assert "25 " in inbound


def test_the_rules_need_no_data_directory(home: Path, run: Run) -> None:
    (home / "data").rename(home / "elsewhere")
    assert run("doctor", "--firewall").code == 0
    assert run("doctor").code == 1
