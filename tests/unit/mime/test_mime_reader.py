"""The tree of entities: offsets, defects, limits."""

import email
import email.policy
import mmap
from pathlib import Path

import pytest

from radpost.errors import MIME_MALFORMED, RESOURCE_LIMIT, RadpostError
from radpost.mime import reader
from radpost.mime.reader import Entity, Limits, body, content, parse

_MIXED = (
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n"
    b"Content-Type: text/plain\r\n\r\none\r\n--b  \r\n\r\ntwo\r\n\r\n--b--\r\nepilogue\r\n--b\r\nno part"
)


def _bodies(mail: bytes) -> list[bytes]:
    return [mail[item.body_start : item.body_end] for item in parse(mail).children]


def test_parts_end_before_the_line_end_of_the_boundary() -> None:
    """RFC 2046 5.1.1."""
    assert _bodies(_MIXED) == [b"one", b"two\r\n"]
    assert parse(_MIXED).defects == ()


def test_lf_and_cr_mails() -> None:
    assert _bodies(_MIXED.replace(b"\r\n", b"\n")) == [b"one", b"two\n"]
    assert _bodies(_MIXED.replace(b"\r\n", b"\r")) == [b"one", b"two\r"]


def test_missing_final_boundary_is_a_defect() -> None:
    mail = _MIXED[: _MIXED.index(b"\r\n\r\n--b--")]
    assert _bodies(mail) == [b"one", b"two"]
    assert parse(mail).defects == ("missing-final-boundary",)


def test_longer_boundary_lines_are_not_ours() -> None:
    mail = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--bb\nx--b\n--b--x\n--b-\n--b--"
    assert _bodies(mail) == [b"--bb\nx--b\n--b--x\n--b-"]


def test_boundary_of_one_dash_beside_armor() -> None:
    mail = b'Content-Type: multipart/mixed; boundary="-"\n\n---\n\n-----BEGIN PGP MESSAGE-----\n\nx\n-----\n'
    assert _bodies(mail)[0].startswith(b"-----BEGIN PGP")


def test_empty_parts() -> None:
    assert _bodies(b"Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\n--b--") == [b"", b""]


@pytest.mark.parametrize(
    ("mail", "word"),
    [
        (b"Content-Type: multipart/encrypted;;\r\n\r\n--x\r\n", "missing-boundary"),
        (b'Content-Type: multipart/mixed; boundary=""\n\n--\n', "missing-boundary"),
        (b"Content-Type: multipart/mixed; boundary=b\n\nnothing\n", "boundary-not-found"),
        (b"Content-Type: multipart/mixed; boundary=b\n\n--b--\n", "boundary-not-found"),
    ],
)
def test_mail_without_findable_parts_is_malformed(mail: bytes, word: str) -> None:
    with pytest.raises(RadpostError) as caught:
        parse(mail)
    assert caught.value.reason is MIME_MALFORMED
    assert word in caught.value.detail


def test_inv5_inner_multipart_without_boundary_spoils_only_itself() -> None:
    mail = (
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed\n\nx\n"
        b"--b\n\ngood\n--b--\n"
    )
    root = parse(mail)
    assert root.children[0].defects == ("missing-boundary",)
    assert mail[root.children[1].body_start : root.children[1].body_end] == b"good"


def _nested(depth: int) -> bytes:
    mail = b"\ncore"
    for number in range(depth):
        name = b"b%d" % number
        mail = b"Content-Type: multipart/mixed; boundary=%s\n\n--%s\n%s\n--%s--\n" % (name, name, mail, name)
    return mail


def test_inv8_depth_is_bounded() -> None:
    assert len(list(parse(_nested(20)).walk())) == 21
    with pytest.raises(RadpostError) as caught:
        parse(_nested(150))
    assert caught.value.reason is RESOURCE_LIMIT


def test_inv8_nested_messages_are_bounded() -> None:
    with pytest.raises(RadpostError) as caught:
        parse(b"Content-Type: message/rfc822\n\n" * 100)
    assert caught.value.reason is RESOURCE_LIMIT


def test_inv8_number_of_parts_is_bounded() -> None:
    mail = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 50
    assert len(parse(mail, Limits(parts=51)).children) == 50
    with pytest.raises(RadpostError) as caught:
        parse(mail, Limits(parts=50))
    assert caught.value.reason is RESOURCE_LIMIT


def test_inv8_header_size_is_bounded() -> None:
    mail = b"A: " + b"x" * 2000 + b"\n\nbody"
    assert parse(mail).headers.get("a") == "x" * 2000
    with pytest.raises(RadpostError) as caught:
        parse(mail, Limits(header_size=1000))
    assert caught.value.reason is RESOURCE_LIMIT


@pytest.mark.timeout(10)
def test_inv8_near_boundaries_take_linear_time() -> None:
    mail = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n" + b"\n--b;" * 200_000 + b"\n--b--\n"
    assert len(parse(mail).children) == 1


def test_inv8_lines_like_delimiters_are_counted_over_all_levels() -> None:
    inner = b"Content-Type: multipart/mixed; boundary=bb\n\n" + b"--bbb\n" * 60 + b"\n--bb\n\n\n--bb--\n"
    mail = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" + inner + b"\n--b--\n"
    assert len(list(parse(mail, Limits(near_misses=130)).walk())) == 3
    with pytest.raises(RadpostError, match="look like delimiters") as caught:
        parse(mail, Limits(near_misses=100))
    assert caught.value.reason is RESOURCE_LIMIT


def test_inv8_headers_of_all_parts_together_are_bounded() -> None:
    """They are held in memory, some hundred bytes for the shortest field."""
    part = b"--b\n" + b"a:\n" * 90 + b"\n\n"
    mail = b"Content-Type: multipart/mixed; boundary=b\n\n" + part * 10 + b"--b--\n"
    assert len(parse(mail, Limits(fields=901)).children) == 10
    for limits in (Limits(fields=900), Limits(headers_size=2700)):
        with pytest.raises(RadpostError, match="together") as caught:
            parse(mail, limits)
        assert caught.value.reason is RESOURCE_LIMIT


def test_enclosed_message_is_a_child() -> None:
    """RFC 2046 5.2.1."""
    mail = b"Content-Type: message/rfc822\n\nSubject: inside\nContent-Type: text/html\n\nbody"
    child = parse(mail).children[0]
    assert (child.headers.get("subject"), child.content_type) == ("inside", "text/html")
    assert mail[child.body_start : child.body_end] == b"body"


def test_encoded_message_is_a_leaf_with_a_defect() -> None:
    root = parse(b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nQQ==")
    assert (root.children, root.defects) == ((), ("encoded-message",))


def test_digest_children_are_messages() -> None:
    """RFC 2046 5.1.5."""
    mail = b"Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\ny\n--b--\n"
    assert parse(mail).children[0].children[0].headers.get("subject") == "x"


@pytest.mark.parametrize("text", ["dicom", "/", "a/", "a b/c", ""])
def test_bad_content_types_are_text(text: str) -> None:
    """RFC 2045 5.2."""
    root = parse(f"Content-Type: {text}; name=x.dcm\n\nbody".encode())
    assert (root.content_type, root.filename, root.defects) == ("text/plain", "x.dcm", ("bad-content-type",))


def test_filename_of_the_disposition_goes_first() -> None:
    """RFC 2183 2.3."""
    root = parse(b"Content-Disposition: Attachment; filename=a.dcm\nContent-Type: a/b; name=b.dcm\n\n")
    assert (root.filename, root.disposition) == ("a.dcm", "attachment")


@pytest.mark.parametrize(
    ("text", "encoding", "defects"),
    [
        ("BASE64", "base64", ()),
        (" Quoted-Printable (x)", "quoted-printable", ()),
        ("binary;", "binary", ()),
        ('"BASE64" (x)', "base64", ()),
        ("X-UUE", "x-uuencode", ()),
        ("base-64", "base64", ()),
        ("Quoted_Printable", "quoted-printable", ()),
        ("x-gzip64", "x-gzip64", ("unknown-encoding",)),
        ("", "7bit", ()),
    ],
)
def test_encodings(text: str, encoding: str, defects: tuple[str, ...]) -> None:
    """RFC 2045 6.1."""
    """RFC 2045 6.4."""
    root = parse(f"Content-Transfer-Encoding: {text}\n\n".encode())
    assert (root.encoding, root.defects) == (encoding, defects)


def test_line_end_behind_binary_quoted_printable_is_no_data() -> None:
    head = b"Content-Transfer-Encoding: quoted-printable\r\nContent-Type: "
    binary = head + b"application/dicom\r\n\r\nab=0A=\r\ncd\r\n"
    text = head + b"text/plain\r\n\r\nab=0A=\r\ncd\r\n"
    assert b"".join(body(parse(binary), binary)) == b"ab\ncd"
    assert b"".join(body(parse(text), text)) == b"ab\ncd\r\n"


def test_content_stops_at_its_limit() -> None:
    mail = b"\n" + b"x" * 5_000_000
    assert content(parse(mail), mail, 10) == b"x" * 10


def test_all_buffers_give_the_same_tree(tmp_path: Path) -> None:
    path = tmp_path / "mail"
    path.write_bytes(_MIXED)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert parse(mapped) == parse(_MIXED) == parse(memoryview(_MIXED))


def _leaves(root: Entity) -> list[Entity]:
    return [item for item in root.walk() if not item.children]


def test_a_multipart_of_unknown_kind_is_read_like_mixed() -> None:
    """RFC 2046 5.1.3."""
    raw = (
        b"Content-Type: multipart/x-study; boundary=b\r\n\r\n"
        b"--b\r\n\r\nletter\r\n--b\r\nContent-Type: application/dicom\r\n\r\nobject\r\n--b--\r\n"
    )
    leaves = _leaves(parse(raw))
    assert [item.content_type for item in leaves] == ["text/plain", "application/dicom"]
    assert [b"".join(body(item, raw)) for item in leaves] == [b"letter", b"object"]


def test_same_leaves_as_the_standard_library() -> None:
    """RFC 2045 2.4, RFC 2046 5.1."""
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["Subject"] = "x"
    message.set_content("Übertragung\n")
    message.add_alternative("<p>Übertragung</p>", subtype="html")
    message.add_attachment(b"\0DICM" * 1000, maintype="application", subtype="dicom", filename="Schädel.dcm")
    raw = message.as_bytes()
    theirs = [
        part
        for part in email.message_from_bytes(raw, policy=email.policy.SMTP).walk()
        if not part.is_multipart()
    ]
    ours = _leaves(parse(raw))
    assert [item.content_type for item in ours] == [part.get_content_type() for part in theirs]
    assert [item.filename for item in ours] == [part.get_filename() for part in theirs]
    assert [b"".join(body(item, raw)) for item in ours] == [part.get_payload(decode=True) for part in theirs]


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\r\r", b"\r\r\n\r\r\n", b"\r\n\r\r\r\n"])
@pytest.mark.parametrize("shift", range(-6, 7))
def test_a_header_that_ends_where_the_first_window_ends(end: bytes, shift: int) -> None:
    field = b"Subject: " + b"x" * (reader._NEAR - 9 - len(end) + shift)
    mail = field + end + b"body" + b"y" * 5000
    found = parse(mail)
    assert mail[found.body_start :] == b"body" + b"y" * 5000
    assert len(found.headers) == 1


def test_a_header_longer_than_the_first_window() -> None:
    fields = b"".join(b"X-%d: %s\r\n" % (number, b"z" * 90) for number in range(100))
    found = parse(fields + b"\r\nbody")
    assert (len(found.headers), found.size) == (100, 4)


@pytest.mark.parametrize("blank", [b"\r\n", b"\n\n", b" \t\r\n\r", b"\r\r\n"])
def test_blank_lines_before_the_header_are_skipped(blank: bytes) -> None:
    mail = blank + b"Content-Type: text/html\r\n\r\nbody"
    root = parse(mail)
    assert (root.content_type, b"".join(body(root, mail))) == ("text/html", b"body")


def test_a_body_without_header_keeps_its_blank_lines() -> None:
    mail = b"\r\n\r\nDear colleague: hello\r\n"
    root = parse(mail)
    assert (root.content_type, b"".join(body(root, mail))) == ("text/plain", mail[2:])
