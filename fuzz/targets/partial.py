"""message/partial: fragments of strangers are joined or refused; what we split, we join to the same bytes."""

import hashlib
import re
from random import Random

from fuzz.mutation import mail_mutator
from fuzz.seeds import FRAGMENTS, PLAIN, WHEN, reference_mails
from fuzz.target import Target
from radpost.errors import RadpostError
from radpost.mime.folding import message_id
from radpost.mime.partial import (
    MAX_FRAGMENTS,
    MAX_NESTING,
    Assembly,
    Fragment,
    FragmentHeader,
    assemble,
    enclosed_headers,
    fragment_info,
    progress,
    repeated,
    split,
)
from radpost.mime.reader import parse

CUT = b"\r\n-----8<-----\r\n"
"""Stands between the fragments of an input."""
LINE_END = re.compile(rb"\r\n|\r|\n")
EMPTY = re.compile(rb"(?:\r\n){3,}")
"""Empty lines upon empty lines: a cut between them is not seen at the joint."""
HEADER = FragmentHeader(
    sender="a@b.example",
    recipient="c@d.example",
    subject="s",
    date=WHEN,
    partial_id="i@b.example",
    message_id=lambda number: message_id(number.to_bytes(16, "big"), "b.example"),
)
HEAD = (
    b"Subject: x\r\nX-TELEMEDICINE-SETID: s\r\nMessage-ID: <0@b.example>\r\nContent-Type: text/plain\r\n\r\n"
)
WORDS = (
    CUT.strip(),
    b"Content-Type: message/partial; id=x; number=1",
    b"Content-Type: message/partial; id=x; number=2; total=2",
    b"Content-Type: message/partial; id=x; number=3",
    b"Content-Type: message/partial; id=x; number=999999999; total=999999999",
    b"Content-Type: message/partial; number=1; total=1",
    b"Content-Type: message/partial; id=y; number=1; total=1",
)


def check(data: bytes) -> None:
    """Join what came; split what could have been written by us."""
    fragments = []
    for mail in data.split(CUT)[:50]:
        try:
            root = parse(mail)
            info = fragment_info(root)
            enclosed_headers(root, mail)
        except RadpostError:
            continue
        if info is not None:
            assert 1 <= info.number <= (info.total or MAX_FRAGMENTS) <= MAX_FRAGMENTS
            fragments.append(Fragment(info, root, mail))
    for fragment in fragments:
        attempt([fragment])
    if len(fragments) > 1:
        attempt(fragments)
        attempt([one for one in fragments if one.info.id == fragments[0].info.id])
    ours(data)


def attempt(fragments: list[Fragment]) -> None:
    """Join; a fragment that came twice does not count, nor does the order of different ones."""
    try:
        joined = assemble(fragments)
    except RadpostError:
        return
    state = progress(fragment.info for fragment in fragments)
    assert state.complete
    assert state.present <= len(fragments)
    assert state.total == state.present <= MAX_FRAGMENTS
    assert joined.depth <= MAX_NESTING
    text = octets(joined)
    assert len(text) == joined.size
    assert octets(assemble(fragments + fragments)) == text
    if state.present == len(fragments):
        assert octets(assemble(fragments[::-1])) == text
    again(joined, text)


def again(joined: Assembly, text: bytes) -> None:
    """What was joined is read like a mail; if it is a fragment itself, it says so."""
    try:
        root = parse(text)
        info = fragment_info(root)
    except RadpostError:
        return
    if len(joined.headers):  # behind blank lines a reader takes the first lines that look like a header
        assert info == joined.nested
    if info is not None:
        attempt_nested(Fragment(info, root, text, joined.depth))


def attempt_nested(fragment: Fragment) -> None:
    """Fragments within fragments come to an end."""
    try:
        assemble([fragment])
    except RadpostError:
        return


def octets(joined: Assembly) -> bytes:
    """Return the joined mail."""
    return b"".join(bytes(chunk) for chunk in joined.chunks())


def ours(data: bytes) -> None:
    """Split a mail with these bytes in it as we do, shuffle, join: body and fields are the same bytes."""
    digest = hashlib.sha256(data).digest()
    random = Random(digest)
    lines = [line[:900] for line in LINE_END.split(data)]
    content = EMPTY.sub(b"\r\n\r\n", b"x" + b"\r\n".join(lines) + b"\r\n")
    content *= 1 + 12000 // len(content)
    mail = HEAD + content
    limit = random.choice((4096, 5000, 8192))
    cuts = split(mail, limit, HEADER)
    fragments = []
    for cut in cuts:
        raw = b"".join(bytes(chunk) for chunk in cut.chunks(mail))
        assert len(raw) == cut.size <= limit
        root = parse(raw)
        info = fragment_info(root)
        assert info is not None
        assert (info.number, info.total) == (cut.number, cut.total)
        fragments.append(Fragment(info, root, raw))
    random.shuffle(fragments)
    joined = octets(assemble(fragments))
    found = parse(joined)
    assert joined[found.body_start :] == content
    assert found.headers.message_id() == "<0@b.example>"
    assert repeated(found.headers) == (("X-TELEMEDICINE-SETID", "s"),)


def seeds() -> list[bytes]:
    """Fragments together, alone, and a whole mail."""
    mails = list(reference_mails("agit"))
    return [
        CUT.join(FRAGMENTS),
        *FRAGMENTS,
        PLAIN,
        *mails,
        CUT.join(m for m in mails if b"partial" in m)[: 1 << 15],
    ]


TARGET = Target(
    name="partial",
    rooms=("radpost.mime",),
    check=check,
    seeds=seeds,
    mutate=mail_mutator(WORDS, FRAGMENTS),
)
