"""Responses of IMAP servers, as the RFCs print them and as the field sends them."""

import pytest

from radpost.transport.failure import TransportError
from radpost.transport.imap_grammar import (
    Literal,
    literal_size,
    mailbox_name,
    pairs,
    parse_response,
    parse_values,
    quoted,
    uid_sets,
)


def test_status_with_code() -> None:
    """RFC 3501 7.1."""
    response = parse_response([b"* OK [UIDVALIDITY 3857529045] UIDs valid"])
    assert (response.tag, response.kind, response.code, response.argument, response.text) == (
        "*",
        "OK",
        "UIDVALIDITY",
        "3857529045",
        "UIDs valid",
    )


def test_numbered_data() -> None:
    response = parse_response([b"* 18 EXISTS"])
    assert (response.kind, response.number) == ("EXISTS", 18)


def test_fetch_with_literal_and_envelope() -> None:
    """RFC 3501 9."""
    response = parse_response(
        [
            b'* 12 FETCH (FLAGS (\\Seen) ENVELOPE ("a \\"b\\"" NIL ((NIL NIL "x" "y"))) BODY[] ',
            Literal(None),
            b" UID 7)",
        ]
    )
    (items,) = response.values()
    assert isinstance(items, list)
    table = pairs(items)
    assert table["FLAGS"] == ["\\Seen"]
    assert table["ENVELOPE"] == [b'a "b"', None, [[None, None, b"x", b"y"]]]
    assert table["BODY[]"] == Literal(None)
    assert table["UID"] == "7"


def test_atoms_with_brackets_hold_spaces() -> None:
    assert parse_values([b"BODY[HEADER.FIELDS (DATE FROM)] NIL BODY[]<0> x"]) == [
        "BODY[HEADER.FIELDS (DATE FROM)]",
        None,
        "BODY[]<0>",
        "x",
    ]


@pytest.mark.parametrize(
    ("line", "size"),
    [
        (b"* 1 FETCH (BODY[] {42}", 42),
        (b"* LIST () {3}", 3),
        (b"* 1 FETCH (BODY[] ~{42}", 42),
        (b"* OK [ALERT] look {5}", None),
        (b"R1 NO bad {5}", None),
        (b"+ go {5}", None),
        (b'* LIST () "{5}"', None),
    ],
)
def test_where_a_literal_follows(line: bytes, size: int | None) -> None:
    assert literal_size(line) == size


@pytest.mark.parametrize("data", [b")", b"(", b"(" * 60, b'"open'])
def test_unbalanced_data(data: bytes) -> None:
    with pytest.raises(TransportError):
        parse_values([data])


@pytest.mark.parametrize("line", [b"", b"*", b"* 5", b"* [x] y"])
def test_not_a_response(line: bytes) -> None:
    with pytest.raises(TransportError):
        parse_response([line])


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("INBOX", b'"INBOX"'),
        ("a&b", b'"a&-b"'),
        ("~peter/mail/台北/日本語", b'"~peter/mail/&U,BTFw-/&ZeVnLIqe-"'),
        ('q"\\', b'"q\\"\\\\"'),
    ],
)
def test_mailbox_names(name: str, written: bytes) -> None:
    """RFC 3501 5.1.3."""
    assert mailbox_name(name) == written


def test_a_quoted_string_cannot_hold_a_command() -> None:
    """RFC 3501 4.3."""
    with pytest.raises(TransportError):
        quoted("a\r\nR9 DELETE INBOX")


def test_uid_sets_are_short_and_complete() -> None:
    assert list(uid_sets([5, 1, 2, 3, 9, 9])) == ["1:3,5,9"]
    assert list(uid_sets([])) == []
    uids = list(range(1, 4000, 2))
    lines = list(uid_sets(uids, longest=100))
    assert all(len(line) <= 100 for line in lines)
    assert [int(uid) for line in lines for uid in line.split(",")] == uids
