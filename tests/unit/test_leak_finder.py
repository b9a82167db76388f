"""The finder of leaks finds them in every dress, and nothing where there is nothing."""

import base64
import quopri
import secrets
from email.header import Header
from email.message import EmailMessage
from pathlib import Path

import pytest

from radpost.testing.leaks import scan, scan_names

SECRET = "Geheimmann^Ottokar"
UMLAUT = "Müßiggänger"


def dresses() -> list[tuple[str, bytes]]:
    message = EmailMessage()
    message["Subject"] = "x"
    message.set_content(f"Patient {SECRET}", cte="base64")
    attached = EmailMessage()
    attached.add_attachment(b"x", "application", "pdf", filename=f"{SECRET} Befund.pdf")
    return [
        ("plain", f"EHLO {SECRET}\r\n".encode()),
        ("case", SECRET.upper().encode()),
        ("folded", b"Subject: a Geheimmann^\r\n\tOttokar\r\n"),
        ("broken line", b"Geheimmann^Ott\r\nokar"),
        ("base64", base64.encodebytes(b"some text before " + SECRET.encode() + b" and behind" * 9)),
        ("base64 shifted", base64.b64encode(b"x" + SECRET.encode())),
        ("base64 shifted twice", base64.b64encode(b"xy" + SECRET.encode() + b"z")),
        ("base64 url", base64.urlsafe_b64encode(b"??" + SECRET.encode())),
        ("base64 glued", b"AB" + base64.b64encode(SECRET.encode())),
        ("utf-16", SECRET.encode("utf-16-le")),
        ("base64 of utf-16", base64.b64encode(SECRET.encode("utf-16-le"))),
        ("quoted-printable", quopri.encodestring(f"{'a' * 70}{SECRET}".encode())),
        ("all quoted", "".join(f"={byte:02X}" for byte in SECRET.encode()).encode()),
        ("percent", b"name*=utf-8''Geheimmann%5EOttokar"),
        ("hex", SECRET.encode().hex().encode()),
        ("encoded word", Header(SECRET, "utf-16").encode().encode()),
        ("mail", bytes(message)),
        ("attachment", bytes(attached)),
    ]


@pytest.mark.parametrize(("dress", "data"), dresses(), ids=[name for name, _ in dresses()])
def test_a_secret_is_found_in_every_dress(dress: str, data: bytes) -> None:
    noise = secrets.token_bytes(500)
    assert scan("here", data, {"patient": SECRET}), dress
    assert scan("here", noise + b"\r\n" + data + b"\r\n" + noise, {"patient": SECRET}), dress


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "utf-16-be"])
def test_umlauts_are_found(charset: str) -> None:
    for data in (
        UMLAUT.encode(charset),
        base64.b64encode(UMLAUT.encode(charset)),
        quopri.encodestring(UMLAUT.encode(charset)),
        Header(UMLAUT, "utf-8").encode().encode(),
    ):
        assert scan("here", data, {"patient": UMLAUT}), data


def test_nothing_is_found_in_noise() -> None:
    data = base64.encodebytes(secrets.token_bytes(300_000)) + secrets.token_bytes(100_000)
    assert not scan("noise", data, {"patient": SECRET, "name": UMLAUT, "title": "RIS_INNEN_47"})


def test_names_of_files(tmp_path: Path) -> None:
    assert not scan_names(tmp_path, {"patient": SECRET})
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / f"Befund {SECRET}.pdf").touch()
    assert [leak.name for leak in scan_names(tmp_path, {"patient": SECRET})][:1] == ["patient"]
