"""G8: writing and reading a mail with one large attachment, against the standard library's ``email``."""

import email
import email.policy
import os
import time
from collections.abc import Callable
from email.message import EmailMessage

from radpost.mime.reader import body, parse
from radpost.mime.writer import Leaf, Multipart, Source, write

_FIELDS = (("From", "a@example.org"), ("To", "b@example.org"), ("MIME-Version", "1.0"))


def write_ours(data: bytes) -> bytes:
    """Write a mail with a text and the attachment."""
    text = Leaf((("Content-Type", "text/plain"),), Source.of(b"DICOM"), "7bit")
    source = Source(len(data), lambda: (data,))
    attachment = Leaf((("Content-Type", 'application/dicom; name="i.dcm"'),), source)
    return b"".join(write(Multipart("mixed", "=_benchmark", (text, attachment)), _FIELDS))


def read_ours(mail: bytes) -> bytes:
    """Parse the mail and decode the attachment."""
    return b"".join(body(parse(mail).children[1], mail))


def write_stdlib(data: bytes) -> bytes:
    """Do the same with EmailMessage."""
    message = EmailMessage(policy=email.policy.SMTP)
    for name, value in _FIELDS[:2]:
        message[name] = value
    message.set_content("DICOM")
    message.add_attachment(data, maintype="application", subtype="dicom", filename="i.dcm")
    return message.as_bytes()


def read_stdlib(mail: bytes) -> bytes:
    """Do the same with EmailMessage."""
    part = list(email.message_from_bytes(mail, policy=email.policy.default).walk())[2]
    found = part.get_content()
    assert isinstance(found, bytes)
    return found


def _best(call: Callable[[bytes], bytes], argument: bytes, runs: int) -> tuple[float, bytes]:
    best, result = float("inf"), b""
    for _ in range(runs):
        start = time.perf_counter()
        result = call(argument)
        best = min(best, time.perf_counter() - start)
    return best, result


def measure(size: int = 20_000_000, runs: int = 5) -> dict[str, float]:
    """Return MB/s of raw content and the ratio of write + read times (floor 6, goal 12)."""
    data = os.urandom(size)
    our_write, our_mail = _best(write_ours, data, runs)
    our_read, our_data = _best(read_ours, our_mail, runs)
    std_write, std_mail = _best(write_stdlib, data, max(1, runs // 2))
    std_read, std_data = _best(read_stdlib, std_mail, max(1, runs // 2))
    if our_data != data or std_data != data or read_stdlib(our_mail) != data:
        raise AssertionError("content changed")
    megabytes = size / 1e6
    return {
        "write": megabytes / our_write,
        "read": megabytes / our_read,
        "stdlib_write": megabytes / std_write,
        "stdlib_read": megabytes / std_read,
        "ratio": (std_write + std_read) / (our_write + our_read),
    }


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:>14} {value:8.1f}")
