"""Decoders, ledger, and a small fuzz of the session machine against a plain model."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpost.transport.receiver_limits import Ledger, ServerLimits
from radpost.transport.smtp_actions import (
    Abort,
    Admit,
    Begin,
    Close,
    Commit,
    Content,
    Limits,
    Need,
    Send,
    SessionConfig,
    StartTls,
)
from radpost.transport.smtp_content import BareLineEndError, ChunkDecoder, DotDecoder
from radpost.transport.smtp_session import Session

LINES = st.lists(st.sampled_from([b"", b".", b"..", b".x", b"x", b"\x00\xff", b"a.b"]), max_size=12)
SMTPISH = st.lists(
    st.sampled_from(
        [
            b"EHLO a.example\r\n",
            b"MAIL FROM:<x@b.example>\r\n",
            b"RCPT TO:<us@a.example>\r\n",
            b"RCPT TO:<them@b.example>\r\n",
            b"DATA\r\n",
            b"text\r\n",
            b"\r\n.\r\n",
            b".\r\n",
            b"..\r\n",
            b"BDAT 6\r\ntext\r\n",
            b"BDAT 6 LAST\r\ntext\r\n",
            b"BDAT 0 LAST\r\n",
            b"BDAT 40\r\n",
            b"RSET\r\n",
            b"STARTTLS\r\n",
            b"QUIT\r\n",
            b"\n",
            b"\r",
            b"\x00",
        ]
    ),
    max_size=25,
)


def cut(text: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({min(position, len(text)) for position in cuts} | {0, len(text)})
    return [text[a:b] for a, b in itertools.pairwise(marks)]


@settings(max_examples=150)
@given(lines=LINES, cuts=st.lists(st.integers(0, 60), max_size=8), rest=st.sampled_from([b"", b"QUIT\r\n"]))
def test_dots_come_back_as_they_were_however_the_blocks_are_cut(
    lines: list[bytes], cuts: list[int], rest: bytes
) -> None:
    """RFC 5321 4.5.2."""
    content = b"".join(line + b"\r\n" for line in lines)
    stuffed = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines)
    decoder, out, left = DotDecoder(), b"", None
    for block in cut(stuffed + b".\r\n" + rest, cuts):
        if left is not None:
            left += block
            continue
        piece = decoder.feed(block)
        out += piece.content
        left = piece.rest
    assert (out, left) == (content, rest)


@settings(max_examples=150)
@given(content=st.binary(max_size=40), cuts=st.lists(st.integers(0, 40), max_size=6))
def test_chunks_pass_exactly_when_every_line_end_is_crlf(content: bytes, cuts: list[int]) -> None:
    bare = content.replace(b"\r\n", b"")
    good = b"\r" not in bare and b"\n" not in bare
    decoder, out = ChunkDecoder(), b""
    try:
        for block in cut(content, cuts):
            out += decoder.feed(block)
        decoder.finish()
    except BareLineEndError:
        assert not good
    else:
        assert good
        assert out == content


def drive(blocks: list[bytes]) -> list[object]:
    """Run a session and check what must hold at every step; return what it did."""
    config = SessionConfig(
        name="a.example",
        is_ours={"us@a.example"}.__contains__,
        limits=Limits(message_size=50),
        offer_starttls=True,
    )
    session = Session(config)
    done: list[object] = []
    writing, pending = False, list(blocks)
    ended = False
    while True:
        action = session.step()
        match action:
            case Need():
                if pending:
                    session.feed(pending.pop(0))
                    continue
                assert not ended
                ended = True
                session.end_of_input()
                continue
            case Close():
                done.append(action)
                assert not writing, "an open mail survived its session"
                return done
            case Begin(envelope):
                assert not writing
                assert envelope.recipients == ("us@a.example",) * len(envelope.recipients) != ()
                writing = True
                session.began(None)
            case Content():
                assert writing
            case Commit():
                assert writing
                writing = False
                session.committed(None)
            case Abort():
                assert writing
                writing = False
            case Admit():
                session.admitted(None)
            case StartTls():
                pending = [b"".join(pending)] if pending else []
                session.tls_started("TLSv1.3")
            case Send(data):
                assert data.endswith(b"\r\n")
        done.append(action)


@settings(max_examples=200)
@given(words=SMTPISH, cuts=st.lists(st.integers(0, 400), max_size=12))
def test_fuzz_any_conversation_ends_with_every_mail_committed_or_aborted(
    words: list[bytes], cuts: list[int]
) -> None:
    drive(cut(b"".join(words), cuts))


@settings(max_examples=100)
@given(words=SMTPISH, cuts=st.lists(st.integers(0, 400), max_size=12))
def test_fuzz_the_same_bytes_give_the_same_replies_however_they_are_cut(
    words: list[bytes], cuts: list[int]
) -> None:
    # what follows STARTTLS is dropped with the block it came in: the one thing that depends on the cuts
    text = b"".join(word for word in words if word != b"STARTTLS\r\n")

    def summary(done: list[object]) -> tuple[bytes, bytes]:
        replies = b"".join(action.data for action in done if isinstance(action, Send))
        content = b"".join(action.data for action in done if isinstance(action, Content))
        commits = sum(isinstance(action, Commit) for action in done)
        return replies, content if commits else b""

    assert summary(drive([text])) == summary(drive(cut(text, cuts)))


def test_the_ledger_forgets_bytes_after_the_window_and_peers_without_connection() -> None:
    now = 0.0
    ledger = Ledger(ServerLimits(bytes_per_peer=10, window=60, peers=2), lambda: now)
    assert ledger.enter("a")
    ledger.add("a", 10)
    assert ledger.exhausted("a")
    ledger.leave("a")
    assert ledger.enter("a"), "a peer is let in again, and still has nothing left"
    assert ledger.exhausted("a")
    now = 61.0
    assert not ledger.exhausted("a")
    ledger.add("a", 1)
    ledger.leave("a")
    for peer in ("b", "c", "d"):
        assert ledger.enter(peer)
        ledger.add(peer, 1)
        ledger.leave(peer)
    assert ledger.connections == 0
    with pytest.raises(KeyError):
        ledger.exhausted("a")
