"""Mutations that know what mails are made of: lines, fields, boundaries, encodings and numbers."""

import base64
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from fuzz.target import Blind, Mutator

LINE_ENDS: Final = (b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n")
BOUNDARIES: Final = (b"b", b"c", b"b--", b"a b")
NUMBERS: Final = (b"0", b"1", b"2", b"-1", b"00", b"999999999", b"99999999999999999999", b"10001", b"256")
FIELDS: Final = (
    b"Content-Type: multipart/mixed; boundary=b",
    b'Content-Type: multipart/mixed; boundary="c"',
    b"Content-Type: multipart/related; boundary=b",
    b"Content-Type: multipart/digest; boundary=c",
    b"Content-Type: multipart/encrypted; boundary=c; protocol=application/pgp-encrypted",
    b"Content-Type: multipart/signed; boundary=b; protocol=application/pgp-signature; micalg=pgp-sha256",
    b"Content-Type: multipart/report; boundary=b; report-type=disposition-notification",
    b"Content-Type: multipart/report; boundary=c; report-type=delivery-status",
    b"Content-Type: message/rfc822",
    b"Content-Type: message/global",
    b"Content-Type: message/delivery-status",
    b"Content-Type: message/disposition-notification",
    b"Content-Type: message/partial; id=x; number=1; total=1",
    b'Content-Type: message/partial; id="x"; number=2; total=3',
    b"Content-Type: application/pgp-encrypted",
    b"Content-Type: application/pgp-signature",
    b"Content-Type: application/pgp-keys",
    b"Content-Type: application/dicom; id=IM000001; name=IM000001.dcm",
    b"Content-Type: application/octet-stream; name=a.pgp",
    b"Content-Type: application/vnd.radpost.receipt+json",
    b"Content-Type: text/plain; charset=utf-8",
    b"Content-Type: text/plain; name*0*=utf-8''%C3; name*1*=%A4",
    b"Content-Disposition: attachment; filename*=iso-8859-1''%FC.pdf",
    b'Content-Disposition: attachment; filename="=?utf-8?B?w7w=?="',
    b"Content-Transfer-Encoding: base64",
    b"Content-Transfer-Encoding: quoted-printable",
    b"Content-Transfer-Encoding: binary",
    b"Content-Transfer-Encoding: x-uuencode",
    b"MIME-Version: 1.0",
    b"From: =?utf-8?Q?M=C3=BCller?= <a@b.example>",
    b"From: Mailer-Daemon <mailer-daemon@b.example>",
    b"To: (c (d)) a@b.example, group: x@y.example;",
    b"Date: Thu, 12 Feb 2026 09:30:00 +0000",
    b"Date: 99 Foo 99999 99:99",
    b"Message-ID: <1@b.example>",
    b"Subject: =?utf-8?Q?Undeliverable?= =?utf-8?B?4pyT?=",
    b"Auto-Submitted: auto-replied",
    b"Disposition-Notification-To: <a@b.example>",
    b"X-TELEMEDICINE-STUDYID: 1.2.3",
    b"X-TELEMEDICINE-SETID: s",
    b"X-TELEMEDICINE-SETPART: 1",
    b"X-TELEMEDICINE-SETTOTAL: 2",
    b"x-dicom-msg-setid: s",
    b"x-dicom-msg-setindex: 1/2",
)
BODIES: Final = (
    b"",
    b"",
    b"-----BEGIN PGP MESSAGE-----",
    b"-----END PGP MESSAGE-----",
    b"-----BEGIN PGP SIGNED MESSAGE-----",
    b"-----BEGIN PGP SIGNATURE-----",
    b"-----END PGP SIGNATURE-----",
    b"-----BEGIN PGP PUBLIC KEY BLOCK-----",
    b"Version: 1",
    b"QUJD",
    b"QQ==",
    b"=41=\t",
    b"=0D=0A=",
    b" folded",
    b"\tname*1*=%41",
    b"\xff\x00",
    b"From x@y Thu Feb 12 09:30:00 2026",
    b"\xef\xbb\xbf",
)
RUNS: Final = (
    b"(",
    b'"',
    b"\\",
    b"=?",
    b"=?utf-8?B?",
    b"; a=b",
    b"<",
    b",",
    b"?= ",
    b" ",
    b"\t",
    b"=",
    b"'",
    b"*0",
    b"%41",
)
"""What is repeated thousands of times, to find what costs more than its length."""
_NUMBER: Final = re.compile(rb"[0-9]+")
_Lines = list[bytes]


def mail_mutator(words: Sequence[bytes], corpus: Sequence[bytes]) -> Mutator:
    """Return a mutator of mails; ``words`` are lines of the target's own, ``corpus`` is to cut from."""
    every = (*FIELDS, *BODIES, *words, *words)
    changes = _changes(every, corpus)

    def mutate(data: bytes, limit: int, random: Random, blind: Blind) -> bytes:
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            if random.random() < 0.3:
                data = blind(data, limit)
                continue
            lines = data.splitlines(keepends=True)
            random.choice(changes)(lines, random)
            data = b"".join(lines)[:limit]
        return data

    return mutate


def _changes(words: Sequence[bytes], corpus: Sequence[bytes]) -> tuple[Callable[[_Lines, Random], None], ...]:
    def insert(lines: _Lines, random: Random) -> None:
        lines.insert(random.randint(0, len(lines)), random.choice(words) + random.choice(LINE_ENDS))

    def replace(lines: _Lines, random: Random) -> None:
        if lines:
            lines[random.randrange(len(lines))] = random.choice(words) + random.choice(LINE_ENDS)

    def splice(lines: _Lines, random: Random) -> None:
        lines.insert(random.randint(0, len(lines)), random.choice(corpus))

    return (
        insert,
        insert,
        replace,
        splice,
        _delete,
        _repeat,
        _move,
        _wrap,
        _wrap,
        _encode,
        _ends,
        _number,
        _run,
    )


def _span(lines: _Lines, random: Random) -> tuple[int, int]:
    start = random.randint(0, len(lines))
    return start, min(len(lines), start + random.choice((1, 1, 2, 4, 16, 1000)))


def _delete(lines: _Lines, random: Random) -> None:
    start, end = _span(lines, random)
    del lines[start:end]


def _repeat(lines: _Lines, random: Random) -> None:
    start, end = _span(lines, random)
    lines[start:start] = lines[start:end] * random.choice((1, 2, 8, 100))


def _move(lines: _Lines, random: Random) -> None:
    start, end = _span(lines, random)
    part = lines[start:end]
    del lines[start:end]
    at = random.randint(0, len(lines))
    lines[at:at] = part


def _wrap(lines: _Lines, random: Random) -> None:
    """Put some lines into a multipart, or mark them as a part of one."""
    start, end = _span(lines, random)
    boundary, newline = random.choice(BOUNDARIES), random.choice(LINE_ENDS)
    head = random.choice(FIELDS[:8]).replace(b"boundary=b", b"boundary=" + boundary) + newline * 2
    first = b"--" + boundary + newline
    lines[end:end] = [newline + b"--" + boundary + random.choice((b"--", b"", b"-- ")) + newline]
    lines[start:start] = [head, first] if random.random() < 0.7 else [first]


def _encode(lines: _Lines, random: Random) -> None:
    start, end = _span(lines, random)
    text = base64.encodebytes(b"".join(lines[start:end]))
    lines[start:end] = [b"Content-Transfer-Encoding: base64\r\n\r\n", text]


def _ends(lines: _Lines, random: Random) -> None:
    newline = random.choice(LINE_ENDS)
    start, end = _span(lines, random)
    lines[start:end] = [line.rstrip(b"\r\n") + newline for line in lines[start:end]]


def _number(lines: _Lines, random: Random) -> None:
    numbered = [at for at, line in enumerate(lines[:200]) if _NUMBER.search(line)]
    if numbered:
        at = random.choice(numbered)
        lines[at] = _NUMBER.sub(random.choice(NUMBERS), lines[at], count=random.randint(1, 3))


def _run(lines: _Lines, random: Random) -> None:
    """Repeat a sign many times within a line."""
    many = random.choice(RUNS) * random.choice((10, 100, 2000))
    if not lines:
        lines.append(b"Subject: ")
    at = random.randrange(len(lines))
    cut = random.randint(0, len(lines[at].rstrip(b"\r\n")))
    lines[at] = lines[at][:cut] + many + lines[at][cut:]
