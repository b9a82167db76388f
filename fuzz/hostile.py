"""Mails whose cost shows only when they are large: the search tries kilobytes, these have many megabytes.

``python -m fuzz.hostile [NAME ...]`` reads them as the gateway does and prints what each of them took.
"""

import base64
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

SIZE: Final = 20_000_000
PROCESSOR: Final = 25
"""Seconds for one mail. What is linear here takes well below one; what is not, minutes."""
_HEAD: Final = b"From: a@b.example\r\nTo: c@d.example\r\nMessage-ID: <1@b.example>\r\n"
_MIXED: Final = _HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
_ARMOR: Final = b"-----BEGIN PGP MESSAGE-----\n\nAAAA\n-----END PGP MESSAGE-----\n"


def _fill(text: bytes, size: int = SIZE) -> bytes:
    return text * (size // len(text))


def _nested(filling: bytes, depth: int = 30) -> bytes:
    """Multiparts within each other whose boundaries begin alike; the filling is in the innermost."""
    mail, end = _HEAD, b""
    for level in range(1, depth + 1):
        boundary = b"b" * level
        mail += b"Content-Type: multipart/mixed; boundary=%s\n\n--%s\n" % (boundary, boundary)
        end = b"\n--%s--\n" % boundary + end
    return mail + b"\n" + filling + end


def _field(text: bytes) -> bytes:
    return (
        _HEAD
        + b"Content-Type: multipart/mixed; boundary=b; x"
        + _fill(text, 250_000)
        + b"\r\n\r\n--b\r\n\r\n"
    )


def _body(encoding: bytes, text: bytes) -> bytes:
    fields = (
        b"Content-Type: application/octet-stream; name=x\r\nContent-Transfer-Encoding: %s\r\n\r\n" % encoding
    )
    return _HEAD + fields + _fill(text)


def _address(text: bytes) -> bytes:
    filled = _fill(text, 250_000)
    return b"From: " + filled + b"\r\nDisposition-Notification-To: " + filled[:9000] + b"\r\n\r\n"


def _status(groups: bytes) -> bytes:
    kind = b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n"
    return _HEAD + kind + b"Content-Type: message/delivery-status\r\n\r\n" + groups


def _daemon(text: bytes) -> bytes:
    return b"From: MAILER-DAEMON@b\r\nSubject: Undelivered\r\n\r\n" + text


HOSTILE: Final[Mapping[str, Callable[[], bytes]]] = MappingProxyType(
    {
        "fields without end": lambda: _HEAD + _fill(b"X-a: b\r\n"),
        "a line without end": lambda: _HEAD + b"X-a: " + _fill(b"b"),
        "a folded line without end": lambda: _HEAD + b"X-a: " + _fill(b"b\r\n "),
        "line ends without end": lambda: _HEAD + b"X-a: b" + _fill(b"\r"),
        "blank lines before the mail": lambda: _fill(b" \t\r", 4000) + _fill(b"\r"),
        "short fields in many parts": lambda: _MIXED + _fill(b"--b\n" + b"a:\n" * 1900 + b"\n\n"),
        "parts without end": lambda: _MIXED + _fill(b"--b\n\n"),
        "wide characters in headers": lambda: _MIXED + _fill(b"--b\nX: " + "😀".encode() * 60_000 + b"\n\n"),
        "deep nesting": lambda: _nested(b"x", 2000) + _fill(b"x"),
        "mails within mails": lambda: _HEAD + b"Content-Type: message/rfc822\n\n" * 31 + _fill(b"a:\n"),
        "lines like delimiters": lambda: _nested(_fill(b"--" + b"b" * 31 + b"\n")),
        "dashes": lambda: (
            _HEAD + b'Content-Type: multipart/mixed; boundary="-"\r\n\r\n---\r\n\r\n' + _fill(b"-")
        ),
        "parameters": lambda: _field(b"; a=b"),
        "sections of a parameter": lambda: _field(b"".join(b"; a*%d*=%%41" % n for n in range(5000))),
        "encoded words": lambda: _field(b"=?utf-8?Q?=41?= "),
        "half of encoded words": lambda: _field(b"?= =?x?q"),
        "comments": lambda: _field(b"("),
        "quotes": lambda: _field(b'"\\'),
        "addresses": lambda: _address(b"a@b.example, "),
        "groups of addresses": lambda: _address(b"a:"),
        "addresses in comments": lambda: _address(b"(\\"),
        "routes of addresses": lambda: _address(b"<@a,@b:"),
        "padding in base64": lambda: _body(b"base64", b"A=A="),
        "base64 without lines": lambda: _body(b"base64", b"QUJD"),
        "junk in base64": lambda: _body(b"base64", b"Q\0\xff\n"),
        "soft line ends": lambda: _body(b"quoted-printable", b"="),
        "blanks at line ends": lambda: _body(b"quoted-printable", b" \t"),
        "uuencode without lines": lambda: _body(b"x-uuencode", b"begin 644 x\n" + b"#" * 19_999_980),
        "armor in text": lambda: _HEAD + b"\r\n" + _fill(_ARMOR),
        "armor without end": lambda: _HEAD + b"\r\n" + _fill(b"-----BEGIN PGP MESSAGE-----\n"),
        "armor in encoded text": lambda: (
            _HEAD + b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(_fill(_ARMOR, 15_000_000))
        ),
        "armor in one line": lambda: (
            _HEAD
            + b"Content-Transfer-Encoding: base64\n\n"
            + base64.encodebytes(_ARMOR + _fill(b"A", 15_000_000))
        ),
        "control parts": lambda: (
            _MIXED.replace(b"mixed", b"encrypted")
            + b"--b\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n" * 9_990
        ),
        "signatures": lambda: (
            _MIXED + b"--b\nContent-Type: multipart/signed; boundary=c\n\n--c\n\nx\n--c\n\ny\n--c--\n" * 3_000
        ),
        "status groups": lambda: _status(_fill(b"a:\n\n")),
        "recipients of a bounce": lambda: _status(_fill(b"Final-Recipient: rfc822;a@b\n\n")),
        "blank lines of a bounce": lambda: _status(b"a: b\n" + _fill(b" \t\r")),
        "addresses of a free bounce": lambda: _daemon(
            b"The following address failed:\n" + _fill(b"a@b.example ")
        ),
        "failed recipients": lambda: (
            b"X-Failed-Recipients: "
            + _fill(b"a@b.example,", 250_000)
            + b"\r\n\r\n"
            + _fill(b"mailbox of a@b.example ")
        ),
        "dashes of a free bounce": lambda: _daemon(_fill(b"-" * 79 + b" copy of the\n")),
        "long words of a free bounce": lambda: _daemon(b"following address " + _fill(b"a" * 64 + b"@")),
        "a disposition": lambda: (
            _HEAD
            + b"Content-Type: message/disposition-notification\n\nDisposition: "
            + _fill(b"(a) ", 60_000)
        ),
    }
)


def read(mail: bytes) -> str:
    """Read a mail as the gateway does; return what it is, or the reason of its refusal."""
    from fuzz.targets import inner  # noqa: PLC0415  what is imported before is not measured
    from radpost.agit.survey import survey  # noqa: PLC0415
    from radpost.errors import RadpostError  # noqa: PLC0415
    from radpost.mime.reader import body  # noqa: PLC0415

    try:
        found = survey(mail)
        for entity in found.root.walk():
            if not entity.children:
                for _ in body(entity, mail):
                    pass
        inner.opened(found, mail, b"x")
    except RadpostError as error:
        return error.reason.name
    return found.kind.value


def _fresh_peak() -> int:
    """Forget the peak of the resident memory so far and return what is resident now, in KiB (proc(5))."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return _status_kib("VmRSS")


def _status_kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def measure(name: str) -> dict[str, object]:
    """Read one mail and return what it took."""
    mail = HOSTILE[name]()
    before = _fresh_peak()
    start = time.process_time()
    result = read(mail)
    spent = time.process_time() - start
    grown = _status_kib("VmHWM") - before
    return {"name": name, "size": len(mail), "result": result, "seconds": round(spent, 2), "kib": grown}


def main() -> int:
    """Measure some mails or all, each in a process that the system ends when it computes too long."""
    read(b"Subject: x\r\n\r\nx")  # what is loaded once is no mail's cost
    for name in sys.argv[1:] or HOSTILE:
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR, PROCESSOR))
            print(json.dumps(measure(name)), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            print(json.dumps({"name": name, "ended": status}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
