"""Receipts: built by the book, read as they come."""

import email
import email.policy
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest

from radpost.errors import MDN_INVALID, RadpostError
from radpost.mime.mdn import Disposition, Receipt, build_mdn, mdn_entity, parse_disposition, parse_mdn
from radpost.mime.reader import body, parse
from radpost.mime.writer import Leaf, Source, write

_ID = "<0123456789abcdef0123456789abcdef@example.org>"


def _receipt(**more: str) -> Receipt:
    return Receipt(
        original_message_id=_ID,
        final_recipient="b@example.org",
        disposition=Disposition("displayed", ("warning",)),
        reporting_ua="b.example; Radpost",
        reason_en="All objects are stored.",
        reason_de="Alle Objekte sind gespeichert, auch für später.",
        **more,
    )


def _mail(receipt: Receipt, extra: Leaf | None = None) -> bytes:
    return build_mdn(
        receipt,
        sender="b@example.org",
        recipient="a@example.org",
        date=datetime(2026, 2, 12, tzinfo=UTC),
        message_id="<r@example.org>",
        boundary="=_inner",
        extra=extra,
        outer="=_outer",
    )


def test_receipt_comes_back() -> None:
    """RFC 8098 3, 3.1, 3.2.3, 3.2.4, 3.2.5, 3.2.6; RFC 3798 3.2.7."""
    mail = _mail(_receipt(warning="2 of 3 objects are in quarantine", original_recipient="c@example.org"))
    found = parse_mdn(parse(mail), mail)
    assert found is not None
    assert found.disposition == Disposition("displayed", ("warning",))
    assert found.original_message_id == _ID
    assert (found.final_recipient, found.original_recipient) == ("b@example.org", "c@example.org")
    assert found.reporting_ua == "b.example; Radpost"
    assert (found.errors, found.failures, found.warnings) == ((), (), ("2 of 3 objects are in quarantine",))
    assert b"Disposition: automatic-action/MDN-sent-automatically;displayed/warning\r\n" in mail


def test_inv9_receipt_asks_for_none_and_says_automatic() -> None:
    """RFC 8098 2.1, RFC 3834 5."""
    headers = parse(_mail(_receipt())).headers
    assert headers.get("Auto-Submitted") == "auto-replied"
    assert headers.get("In-Reply-To") == _ID
    assert not any(item.name.lower().startswith("disposition-notification") for item in headers)
    assert b"disposition-notification-to" not in _mail(_receipt()).lower()


def test_standard_library_reads_the_receipt() -> None:
    """RFC 6522 3, RFC 8098 3.2.1, 3.2.7."""
    message = email.message_from_bytes(_mail(_receipt(error="x")), policy=email.policy.default)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "disposition-notification"
    text, report = [part for part in message.walk() if isinstance(part, EmailMessage)][1:3]
    assert "auch für später" in text.get_content()
    assert "All objects are stored." in text.get_content()
    assert report.get_content_type() == "message/disposition-notification"
    fields = list(report.walk())[1]
    assert fields["Final-Recipient"] == "rfc822;b@example.org"
    assert fields["Error"] == "x"


def test_extra_part_stands_beside_the_report() -> None:
    extra = Leaf((("Content-Type", "application/json"),), Source.of(b'{"objects": []}'))
    mail = _mail(_receipt(), extra)
    root = parse(mail)
    assert [child.content_type for child in root.children] == ["multipart/report", "application/json"]
    assert b"".join(body(root.children[1], mail)) == b'{"objects": []}'
    found = parse_mdn(root, mail)
    assert found is not None
    assert found.original_message_id == _ID


def test_entity_to_be_sealed_has_no_message_header() -> None:
    raw = b"".join(write(mdn_entity(_receipt(), "=_b")))
    assert raw.startswith(b"Content-Type: multipart/report;")
    assert raw.isascii()
    assert parse_mdn(parse(raw), raw) is not None


@pytest.mark.parametrize(
    ("text", "kind", "modifiers"),
    [
        ("automatic-action/MDN-sent-automatically;displayed", "displayed", ()),
        ("Automatic-Action / mdn-sent-AUTOMATICALLY ; PROCESSED", "processed", ()),
        ("automatic-action/MDN-sent-automatically; deleted/error", "deleted", ("error",)),
        (
            "automatic-action/MDN-sent-automatically; deleted / Error , expired",
            "deleted",
            ("error", "expired"),
        ),
        ("manual-action/MDN-sent-manually; displayed (read); ", "displayed", ()),
        ("displayed", "displayed", ()),
        ("automatic-action/MDN-sent-automatically; failed/", "failed", ()),
    ],
)
def test_dispositions_of_all_three_rfcs(text: str, kind: str, modifiers: tuple[str, ...]) -> None:
    """RFC 8098 3.2.6, RFC 3798 3.2.6, RFC 2298 3.2.6."""
    found = parse_disposition(text)
    assert (found.type, found.modifiers) == (kind, modifiers)
    if found.action_mode:
        assert found.action_mode in ("automatic-action", "manual-action")
        assert found.sending_mode in ("MDN-sent-automatically", "MDN-sent-manually")


@pytest.mark.parametrize(
    "text", ["", ";", "a/b/c;d", "automatic-action;displayed", "!", "x" * 2000, " " * 60_000 + "!"]
)
def test_malformed_dispositions(text: str) -> None:
    with pytest.raises(RadpostError) as caught:
        parse_disposition(text)
    assert caught.value.reason is MDN_INVALID


def _report(fields: bytes, kind: bytes = b"disposition-notification") -> bytes:
    return (
        b"Content-Type: multipart/report; boundary=b\n\n--b\n\ntext\n--b\nContent-Type: message/"
        + kind
        + b"\n"
        + fields
        + b"\n--b--\n"
    )


def test_fields_in_the_parts_own_header_count() -> None:
    mail = _report(b"Disposition: automatic-action/MDN-sent-automatically;processed\nReporting-UA: x\n")
    found = parse_mdn(parse(mail), mail)
    assert found is not None
    assert (found.disposition.type, found.reporting_ua) == ("processed", "x")


def test_missing_disposition_is_invalid() -> None:
    mail = _report(b"\nFinal-Recipient: rfc822;x@y\n")
    with pytest.raises(RadpostError) as caught:
        parse_mdn(parse(mail), mail)
    assert caught.value.reason is MDN_INVALID


def test_inv9_receipt_returned_by_a_bounce_is_no_receipt() -> None:
    """RFC 6522 3."""
    receipt = _report(b"\nDisposition: displayed\n").replace(b"--b", b"--c").replace(b"=b", b"=c")
    bounce = (
        b"Content-Type: multipart/report; boundary=b\n\n--b\n\ntext\n--b\nContent-Type: message/rfc822\n\n"
        + receipt
        + b"\n--b--\n"
    )
    assert parse_mdn(parse(bounce), bounce) is None


def test_ordinary_mail_is_no_receipt() -> None:
    assert parse_mdn(parse(b"Subject: x\n\nDisposition: displayed"), b"") is None


def test_an_8bit_id_is_repeated_in_encoded_words_and_read_again() -> None:
    receipt = replace(_receipt(), original_message_id="<größe@example.org>")
    mail = _mail(receipt)
    assert mail.isascii()
    found = parse_mdn(parse(mail), mail)
    assert found is not None
    assert found.original_message_id == "<größe@example.org>"
