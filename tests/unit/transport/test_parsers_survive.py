"""Whatever a server sends, a parser answers with a value or with TransportError."""

import contextlib

from hypothesis import example, given, settings
from hypothesis import strategies as st

from radpost.testing.scripted import ScriptedServer
from radpost.transport.failure import TransportError
from radpost.transport.imap_grammar import Literal, literal_size, pairs, parse_response
from radpost.transport.pop3 import Pop3Mailbox
from radpost.transport.sasl import Password
from radpost.transport.smtp_reply import make_reply, parse_features, parse_line
from radpost.transport.tls import Security
from radpost.transport.wire import Endpoint, Timeouts

IMAP = st.lists(
    st.sampled_from(
        [
            b"* ",
            b"+ ",
            b"R1 ",
            b"1 ",
            b"OK ",
            b"FETCH ",
            b"(",
            b")",
            b"[",
            b"]",
            b'"',
            b"\\",
            b"{3}",
            b"UID ",
            b"NIL",
        ]
    )
    | st.binary(max_size=4),
    max_size=14,
).map(b"".join)


@settings(max_examples=150, deadline=None)
@given(IMAP, st.booleans())
@example(b"* " + b"9" * 5000 + b" EXISTS", False)
@example(b"* 1 FETCH (RFC822.SIZE " + b"9" * 5000 + b")", False)
def test_imap(line: bytes, literal: bool) -> None:
    with contextlib.suppress(TransportError):
        literal_size(line)
        response = parse_response([line, Literal(b"x"), b")"] if literal else [line])
        pairs(response.values())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=20))
@example(b"250 SIZE " + b"9" * 5000)
@example("250-SIZE ²".encode())
def test_smtp(line: bytes) -> None:
    with contextlib.suppress(TransportError):
        code, _, text = parse_line(line)
        reply = make_reply(code, ["mail", text])
        parse_features(reply)
        assert str(reply).isprintable()


def test_pop3_lists_with_nonsense() -> None:
    login = "S: +OK\nC: CAPA\nS: -ERR\nC: USER u\nS: +OK\nC: PASS p\nS: +OK\nC: CAPA\nS: -ERR\n"
    server = ScriptedServer(
        login
        + "C: LIST\nS: +OK\nS: 1 "
        + "9" * 5000
        + "\nS: x\nS: \nS: ² 3\nS: 2 7 extra\nS: .\nC: UIDL\nS: +OK\nS: 2\nS: 1 a b\nS: .\n"
    )
    box = Pop3Mailbox(
        Endpoint("pop.example", 110, Security.LOOPBACK, timeouts=Timeouts(1, 2, 2, 2)),
        Password("u", "p"),
        dialler=server.dial,
    )
    box.open()
    assert [(item.number, item.size, item.uidl) for item in box.items()] == [(1, 0, "a b"), (2, 0, None)]
    box.close()
    server.check()
