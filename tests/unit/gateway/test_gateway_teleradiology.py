"""Partners under German radiation law: no unencrypted mail connection, and relays are named (DESIGN 12)."""

from typing import TYPE_CHECKING

import pytest

from radpost.errors import CONFIG_INVALID, MAIL_REFUSED, TLS_FAILED, RadpostError
from radpost.gateway.partners import Route, Settings, Switches, refuse_contradictions
from radpost.gateway.receiving import ReceptionHandler
from radpost.store import incoming_mails, journal
from radpost.testing.house import Pair
from radpost.testing.institution import toml_server
from radpost.transport.smtp_grammar import Envelope

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STRICT = Switches(teleradiology=True)
PLAIN = toml_server("submission", host="127.0.0.1", port=2525, security="none")
SECURE = toml_server("submission", host="mail.example", port=587, security="starttls")


def envelope(sender: str, *, tls: str = "", peer: str = "192.0.2.7") -> Envelope:
    return Envelope("id", "ESMTP", "helo.example", peer, tls, sender, ("dicom@b.example",), None)


def test_nothing_is_submitted_over_a_connection_in_clear(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    """@GIT 1.1r 3."""
    a = make_pair(a_sections=PLAIN, switches=STRICT).a
    a.collect(study(1), "b")
    a.seal()
    assert a.submit() == []
    assert [(mail.state, mail.code) for mail in a.mails()] == [("failed", TLS_FAILED.code)]
    assert [code for code, _ in a.alarms()] == [TLS_FAILED.code]


def test_over_an_encrypted_one_it_is(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair(a_sections=SECURE, switches=STRICT).a
    a.collect(study(1), "b")
    a.seal()
    assert len(a.submit()) == 1


def test_a_receipt_waits_until_the_connection_is_encrypted(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(b_sections=PLAIN, switches=Switches())
    (mail,) = pair.send(study(1))
    row = pair.b.take(mail)
    pair.b.knows(pair.a, switches=STRICT)
    assert pair.b.answer() == []
    assert pair.b.arrival(row.id).state == "receipt owed"


def test_a_mail_that_comes_in_clear_is_refused_at_the_door(make_pair: "Callable[..., Pair]") -> None:
    """@GIT 1.1r 3."""
    b = make_pair(switches=STRICT).b
    handler = ReceptionHandler(b.site)
    with pytest.raises(RadpostError) as caught:
        handler.begin(envelope("Dicom@A.example"))
    assert caught.value.reason is MAIL_REFUSED
    for good in (
        envelope("dicom@a.example", tls="TLSv1.3"),
        envelope("dicom@a.example", peer="127.0.0.1"),
        envelope("somebody@else.example"),
        envelope(""),
    ):
        handler.abort(handler.begin(good))


@pytest.mark.parametrize("sender", ["", "relay@elsewhere.example"])
def test_a_mail_in_clear_under_another_sender_is_refused_too(
    make_pair: "Callable[..., Pair]", sender: str
) -> None:
    """Receipts have the null sender, and a relay may put its own: then From says whose mail it is."""
    b = make_pair(switches=STRICT).b
    handler = ReceptionHandler(b.site)
    mail = b"Received: from x by y; now\r\nFrom: A <Dicom@A.example>\r\nTo: dicom@b.example\r\n\r\nx\r\n"
    sink = handler.begin(envelope(sender))
    for start in range(0, len(mail), 7):
        sink.write(mail[start : start + 7])
    with pytest.raises(RadpostError) as caught:
        handler.commit(sink)
    assert caught.value.reason is MAIL_REFUSED
    handler.abort(sink)
    with b.site.database.read() as connection:
        assert incoming_mails.recent_arrivals(connection, 10) == []
    for good, text in (
        (envelope(sender, tls="TLSv1.3"), mail),
        (envelope(sender, peer="::1"), mail),
        (envelope(sender), mail.replace(b"Dicom@A", b"dicom@other")),
    ):
        sink = handler.begin(good)
        sink.write(text)
        handler.commit(sink)
    with b.site.database.read() as connection:
        assert len(incoming_mails.recent_arrivals(connection, 10)) == 3


def test_relays_between_are_on_the_timeline(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(a_sections=SECURE, switches=STRICT)
    (mail,) = pair.send(study(1))
    row = pair.b.take(b"Received: from x by y; now\r\nReceived: from y by z; now\r\n" + mail)
    with pair.b.site.database.read() as connection:
        notes = {step.what: step.detail for step in journal.of_arrival(connection, row.id)}
    assert notes["mail servers between"] == "2"


@pytest.mark.parametrize(
    "settings",
    [
        Settings(switches=Switches(teleradiology=True, clear=True)),
        Settings(switches=STRICT, route=Route("127.0.0.1", 25, "none")),
    ],
)
def test_settings_that_contradict_the_mark_are_refused(settings: Settings) -> None:
    with pytest.raises(RadpostError) as caught:
        refuse_contradictions(settings)
    assert caught.value.reason is CONFIG_INVALID
    refuse_contradictions(Settings(switches=STRICT, route=Route("mail.example", 25, "starttls")))
