"""message/partial: split, described, joined, and what goes wrong with it in the field."""

import base64
import binascii
from datetime import UTC, datetime

import pytest

from radpost.errors import MIME_MALFORMED, PARTIAL_INCONSISTENT, RESOURCE_LIMIT, RadpostError, Reason
from radpost.mime import partial
from radpost.mime.folding import block, message_id
from radpost.mime.partial import (
    Assembly,
    Cut,
    Fragment,
    FragmentHeader,
    FragmentInfo,
    assemble,
    fragment_info,
    progress,
    repeated,
    split,
)
from radpost.mime.reader import parse

SET = (("X-TELEMEDICINE-SETID", "2.25.1"), ("X-TELEMEDICINE-SETPART", "1"), ("X-TELEMEDICINE-SETTOTAL", "3"))


def _mail(lines: int = 2000, *more: tuple[str, str]) -> bytes:
    head = block(
        (
            ("From", "a@example.org"),
            ("To", "b@example.org"),
            ("Subject", "DICOM-eMail"),
            ("Message-ID", "<whole@example.org>"),
            *SET,
            ("Disposition-Notification-To", "a@example.org"),
            *more,
            ("MIME-Version", "1.0"),
            ("Content-Type", "text/plain"),
        )
    )
    return head + b"".join(b"%07d %s\r\n" % (number, b"x" * 60) for number in range(lines))


def _header(ident: str = 'odd "id"@example.org') -> FragmentHeader:
    return FragmentHeader(
        sender="a@example.org",
        recipient="b@example.org",
        subject="DICOM-eMail",
        date=datetime(2026, 2, 12, tzinfo=UTC),
        partial_id=ident,
        message_id=lambda number: message_id(number.to_bytes(16, "big"), "example.org"),
        extra=SET,
    )


def _sent(cut: Cut, mail: bytes) -> bytes:
    return b"".join(cut.chunks(mail))


def _fragment(raw: bytes, depth: int = 0) -> Fragment:
    entity = parse(raw)
    info = fragment_info(entity)
    assert info is not None
    return Fragment(info, entity, raw, depth)


def _bytes(assembly: Assembly) -> bytes:
    raw = b"".join(assembly.chunks())
    assert len(raw) == assembly.size
    return raw


def _body(raw: bytes) -> bytes:
    return raw[parse(raw).body_start :]


@pytest.mark.parametrize("limit", [4096, 10_000, 50_000])
def test_split_and_join_give_the_mail_back(limit: int) -> None:
    """RFC 2046 5.2.2."""
    mail = _mail()
    cuts = split(mail, limit, _header())
    sent = [_sent(cut, mail) for cut in cuts]
    assert [len(raw) for raw in sent] == [cut.size for cut in cuts]
    assert max(map(len, sent)) <= limit
    assert all(raw.endswith(b"\r\n") for raw in sent)
    assert b"".join(_body(raw) for raw in sent) == mail
    joined = assemble(_fragment(raw) for raw in reversed(sent))
    root = parse(_bytes(joined))
    assert _body(_bytes(joined)) == _body(mail)
    assert root.headers.get("Message-ID") == "<whole@example.org>"
    assert root.headers.get("Subject") == "DICOM-eMail"
    assert root.headers.get_all("X-TELEMEDICINE-SETPART") == ("1",)
    assert root.headers.get("Disposition-Notification-To") == "a@example.org"
    assert (joined.nested, joined.defects) == (None, ())


def test_fragments_repeat_the_set_and_ask_for_no_receipt() -> None:
    """RFC 8098 2.4."""
    mail = _mail()
    for number, cut in enumerate(split(mail, 20_000, _header()), 1):
        root = parse(_sent(cut, mail))
        assert root.headers.get("X-TELEMEDICINE-SETID") == "2.25.1"
        assert "Disposition-Notification-To" not in root.headers  # RFC 3798 2.4: it belongs inside
        assert root.headers.get("Subject") == f"DICOM-eMail ({number}/{cut.total})"
        assert fragment_info(root) == FragmentInfo('odd "id"@example.org', number, cut.total)
        assert b'number="' not in cut.header
    assert repeated(parse(mail).headers) == SET


def test_split_does_not_cut_behind_empty_lines() -> None:
    """An empty line at the end of every fragment would be taken for one that the mail path added."""
    mail = _mail(0) + b"".join(b"%07d %s\r\n\r\n" % (number, b"x" * 60) for number in range(1000))
    cuts = split(mail, 8192, _header())
    assert len(cuts) > 5
    assert not any(_sent(cut, mail).endswith(b"\r\n\r\n") for cut in cuts[:-1])
    joined = b"".join(assemble([_fragment(_sent(cut, mail)) for cut in cuts]).chunks())
    assert joined[parse(joined).body_start :] == mail[parse(mail).body_start :]


def test_split_cuts_between_empty_lines_where_there_is_nothing_else() -> None:
    mail = _mail(0) + b"\r\n" * 10_000
    cuts = split(mail, 8192, _header())
    assert sum(cut.end - cut.start for cut in cuts) == len(mail)


def test_split_needs_room_and_lines() -> None:
    """RFC 2046 5.2.2.1."""
    with pytest.raises(ValueError, match="too small"):
        split(_mail(), 1000, _header())
    with pytest.raises(RadpostError) as caught:
        split(b"x" * 100_000, 4096, _header())
    assert caught.value.reason is MIME_MALFORMED


def _raw(number: int, body: bytes, *, total: int | None = 3, ident: str = "i", head: bytes = b"") -> bytes:
    tail = b"" if total is None else b"; total=%d" % total
    kind = b'Content-Type: message/partial; number=%d; id="%s"' % (number, ident.encode())
    return b"From: a@example.org\r\nReceived: x\r\n" + head + kind + tail + b"\r\n\r\n" + body


_INNER = b"Subject: in\r\nX-Unknown: lost\r\nx-dicom-msg-setid: 7\r\nContent-Type: text/plain\r\n\r\none\r\n"


def _three(*bodies: bytes) -> Assembly:
    return assemble(_fragment(_raw(number, body)) for number, body in enumerate(bodies, 1))


def test_header_merge_of_rfc_2046() -> None:
    """RFC 2046 5.2.2.1."""
    outer = (
        b"Subject: out (1/3)\r\nMessage-ID: <f@x>\r\nX-Outer: kept\r\nDisposition-Notification-To: f@x\r\n"
    )
    first = _fragment(_raw(1, _INNER, head=outer))
    later = [_fragment(_raw(2, b"two\r\n", head=b"X-Second: dropped\r\n")), _fragment(_raw(3, b"three\r\n"))]
    headers = parse(_bytes(assemble([first, *later]))).headers
    assert [(item.name, item.value) for item in headers] == [
        ("From", "a@example.org"),
        ("Received", "x"),
        ("X-Outer", "kept"),
        ("Subject", "in"),
        ("x-dicom-msg-setid", "7"),
        ("Content-Type", "text/plain"),
    ]


def test_set_header_outside_alone_is_kept() -> None:
    first = _fragment(_raw(1, _INNER, head=b"X-TELEMEDICINE-SETID: 9\r\nx-dicom-msg-setid: 8\r\n"))
    rest = [_fragment(_raw(number, b"x\r\n")) for number in (2, 3)]
    headers = parse(_bytes(assemble([first, *rest]))).headers
    assert headers.get("X-TELEMEDICINE-SETID") == "9"
    assert headers.get_all("x-dicom-msg-setid") == ("7",)  # the enclosed one wins


@pytest.mark.parametrize("end", [b"", b"\r", b"\r\r\n"])
def test_line_end_lost_or_mutilated_at_joints(end: bytes) -> None:
    """@GIT practice 7."""
    joined = _three(_INNER[:-2] + end, b"two" + end, b"three\r\n")
    assert _body(_bytes(joined)) == b"one\r\ntwo\r\nthree\r\n"
    assert joined.defects == ("lost-line-end-at-joint",)


def test_line_end_lost_inside_the_enclosed_header() -> None:
    joined = _three(b"Subject: in\r", b"Content-Type: text/html\r\n\r\none\r", b"two\r\n")
    root = parse(_bytes(joined))
    assert (root.headers.get("subject"), root.content_type) == ("in", "text/html")
    assert _body(_bytes(joined)) == b"one\r\ntwo\r\n"


def test_line_end_doubled_by_the_mail_path() -> None:
    joined = _three(_INNER + b"\r\n", b"two\r\n\r\n", b"three\r\n\r\n")
    assert _body(_bytes(joined)) == b"one\r\ntwo\r\nthree\r\n\r\n"
    assert joined.defects == ("doubled-line-end-at-joints",)


def test_blank_line_at_one_joint_is_the_mails_own() -> None:
    assert _body(_bytes(_three(_INNER + b"\r\n", b"two\r\n", b"three\r\n"))) == b"one\r\n\r\ntwo\r\nthree\r\n"


def test_lf_fragments_give_an_lf_message() -> None:
    bodies = [body.replace(b"\r\n", b"\n") for body in (_INNER, b"two\r\n", b"three\r\n")]
    raw = [_raw(number, body).replace(b"\r\n", b"\n") for number, body in enumerate(bodies, 1)]
    assert b"\r" not in _bytes(assemble(map(_fragment, raw)))


def test_identical_duplicates_are_harmless() -> None:
    raw = [
        _raw(1, _INNER),
        _raw(2, b"two\r\n"),
        _raw(3, b"three\r\n"),
        _raw(2, b"two\r\n\r\n", head=b"Received: y\r\n"),
    ]
    assert _body(_bytes(assemble(map(_fragment, raw)))) == b"one\r\ntwo\r\nthree\r\n"


def _reason(*raw: bytes) -> Reason:
    with pytest.raises(RadpostError) as caught:
        assemble(map(_fragment, raw))
    return caught.value.reason


def test_contradictions() -> None:
    one, two, three = _raw(1, _INNER), _raw(2, b"two\r\n"), _raw(3, b"three\r\n")
    assert _reason(one, two, three, _raw(2, b"TWO\r\n")) is PARTIAL_INCONSISTENT
    assert _reason(one, two, _raw(3, b"x", total=4)) is PARTIAL_INCONSISTENT
    assert _reason(one, two, _raw(3, b"x", ident="j")) is PARTIAL_INCONSISTENT
    assert _reason(one, three) is PARTIAL_INCONSISTENT
    assert _reason(one, two, three, _raw(2, b"two\r\n", total=4)) is PARTIAL_INCONSISTENT
    assert _reason(one, two, three, _raw(2, b"two\r\n", ident="j")) is PARTIAL_INCONSISTENT
    assert _reason(one, two, _raw(3, b"x", total=None), _raw(4, b"x", total=None)) is PARTIAL_INCONSISTENT


def test_total_only_on_the_last() -> None:
    raw = [_raw(1, _INNER, total=None), _raw(2, b"two\r\n", total=None), _raw(3, b"three\r\n")]
    fragments = [_fragment(item) for item in raw]
    assert progress(item.info for item in fragments[:2]).complete is False
    assert _body(_bytes(assemble(fragments))) == b"one\r\ntwo\r\nthree\r\n"


def test_progress_names_what_is_missing() -> None:
    known = progress([FragmentInfo("i", 2, None), FragmentInfo("i", 5, 6), FragmentInfo("i", 2, None)])
    assert (known.total, known.present, known.missing, known.complete) == (6, 2, (1, 3, 4, 6), False)
    assert progress([FragmentInfo("i", 3, None)]).missing == (1, 2)
    assert progress([]).complete is False


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ("number=1; total=2", MIME_MALFORMED),
        ("id=; number=1", MIME_MALFORMED),
        ("id=i; number=x", MIME_MALFORMED),
        ("id=i; number=-1", MIME_MALFORMED),
        ("id=i", MIME_MALFORMED),
        ("id=i; number=1; total=many", MIME_MALFORMED),
        (f"id={'x' * 2000}; number=1", MIME_MALFORMED),
        ("id=i; number=0", PARTIAL_INCONSISTENT),
        ("id=i; number=3; total=2", PARTIAL_INCONSISTENT),
        ("id=i; number=1; total=999999999", RESOURCE_LIMIT),
        ("id=i; number=999999", RESOURCE_LIMIT),
    ],
)
def test_inv8_bad_and_hostile_parameters(params: str, reason: Reason) -> None:
    with pytest.raises(RadpostError) as caught:
        fragment_info(parse(f"Content-Type: message/partial; {params}\n\nx".encode()))
    assert caught.value.reason is reason


def test_other_mails_are_no_fragments() -> None:
    assert fragment_info(parse(b"Content-Type: text/plain\n\n")) is None


def test_nested_fragments_down_to_three() -> None:
    mail = _mail()
    inner = [_sent(cut, mail) for cut in split(mail, 60_000, _header("inner"))]
    outer = [
        [_sent(cut, raw) for cut in split(raw, 20_000, _header(f"outer{at}"))] for at, raw in enumerate(inner)
    ]
    joined = [assemble(map(_fragment, group)) for group in outer]
    assert {item.nested.id for item in joined if item.nested} == {"inner"}
    whole = assemble(_fragment(_bytes(item), item.depth) for item in joined)
    assert (whole.depth, whole.nested) == (2, None)
    assert _body(_bytes(whole)) == _body(mail)
    with pytest.raises(RadpostError) as caught:
        assemble(_fragment(raw, 2) for raw in outer[0])
    assert caught.value.reason is RESOURCE_LIMIT


def test_inv8_joining_copies_no_bodies() -> None:
    mail = _mail(20_000)
    fragments = [_fragment(_sent(cut, mail)) for cut in split(mail, 200_000, _header())]
    joined = assemble(fragments)
    assert len(joined.head) < 1000
    assert sum(part.end - part.start for part in joined.parts) > 1_000_000
    assert all(any(part.buffer is item.buffer for item in fragments) for part in joined.parts)


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_fragments_that_a_relay_encoded_are_joined_as_well(encoding: str) -> None:
    """RFC 2046 5.2.2 allows 7bit only; a mail server that does otherwise must not cost the mail."""
    bodies = (_INNER + b"=" * 70 + b"\r\n", b"two\r\n", b"three\r\n")
    fragments = []
    for number, plain in enumerate(bodies, 1):
        coded = base64.encodebytes(plain) if encoding == "base64" else binascii.b2a_qp(plain, istext=True)
        head = f"Content-Transfer-Encoding: {encoding}\r\n".encode()
        fragments.append(_fragment(_raw(number, coded, head=head)))
    joined = assemble(reversed(fragments))
    assert _body(_bytes(joined)).endswith(b"one\r\n" + b"=" * 70 + b"\r\ntwo\r\nthree\r\n")
    assert "encoded-fragment" in joined.defects


def test_inv8_encoded_fragments_are_joined_in_memory_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial, "_MAX_ENCODED", 100)
    raw = _raw(1, b"A" * 200, total=1, head=b"Content-Transfer-Encoding: base64\r\n")
    with pytest.raises(RadpostError) as caught:
        assemble([_fragment(raw)])
    assert caught.value.reason is RESOURCE_LIMIT
