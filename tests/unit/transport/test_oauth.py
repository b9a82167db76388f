"""OAuth 2 tokens: from an endpoint over real HTTPS."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import parse_qs

import pytest

from radpost.errors import CONFIG_INVALID, LOGIN_FAILED, SERVER_UNREACHABLE, RadpostError
from radpost.testing.peers.tls import TestAuthority
from radpost.transport.failure import TransportError
from radpost.transport.oauth import (
    EndpointTokens,
    OAuthConfig,
    oauthbearer,
    post_form,
    xoauth2,
)
from radpost.transport.tls import TlsOptions


class Answers:
    """A token endpoint that answers from a list and keeps what it was asked."""

    def __init__(self, *answers: tuple[int, object]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, list[str]]] = []

    def __call__(self, _url: str, form: bytes, _tls: TlsOptions) -> tuple[int, bytes]:
        self.asked.append(parse_qs(form.decode()))
        status, body = self.answers.pop(0)
        return status, body if isinstance(body, bytes) else json.dumps(body).encode()


REFRESH = OAuthConfig(
    "https://login.example/token", "id", "refresh_token", refresh_token="r1", scope="smtp imap"
)
CLIENT = OAuthConfig("https://login.example/token", "id", "client_credentials", client_secret="s3cret")


def test_refresh_token_grant_is_cached_and_renewed_in_time() -> None:
    """RFC 6749 5.1, 6."""
    now = [0.0]
    kept: list[str] = []
    post = Answers(
        (200, {"access_token": "one", "expires_in": 3600, "refresh_token": "r2"}),
        (200, {"access_token": "two", "expires_in": "3600"}),
    )
    tokens = EndpointTokens(REFRESH, keep_refresh_token=kept.append, clock=lambda: now[0], post=post)
    assert [tokens.token(), tokens.token()] == ["one", "one"]
    now[0] = 3539.0
    assert tokens.token() == "one"
    now[0] = 3541.0
    assert tokens.token() == "two"
    assert kept == ["r2"]
    assert post.asked[0] == {
        "grant_type": ["refresh_token"],
        "client_id": ["id"],
        "refresh_token": ["r1"],
        "scope": ["smtp imap"],
    }
    assert post.asked[1]["refresh_token"] == ["r2"]


def test_client_credentials_grant_and_a_rejected_token() -> None:
    """RFC 6749 4.4."""
    post = Answers((200, {"access_token": "one"}), (200, {"access_token": "two"}))
    tokens = EndpointTokens(CLIENT, post=post)
    assert tokens.token() == "one"
    assert tokens.reject("older")
    assert tokens.token() == "one"
    assert tokens.reject("one")
    assert tokens.token() == "two"
    assert post.asked[0] == {
        "grant_type": ["client_credentials"],
        "client_id": ["id"],
        "client_secret": ["s3cret"],
    }


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"error": "invalid_grant", "error_description": "s3cret expired\n"}, LOGIN_FAILED),
        (200, {"token": "no"}, LOGIN_FAILED),
        (200, b"<html>", LOGIN_FAILED),
        (200, b"[" * 100_000, LOGIN_FAILED),
        (503, b"", SERVER_UNREACHABLE),
    ],
)
def test_refusals(status: int, body: object, reason: object) -> None:
    with pytest.raises(TransportError) as caught:
        EndpointTokens(CLIENT, post=Answers((status, body))).token()
    assert caught.value.reason is reason
    assert "s3cret" not in str(caught.value)
    if status == 400:
        assert "invalid_grant" in caught.value.reply


@pytest.mark.parametrize(
    ("url", "grant", "secret"),
    [
        ("http://login.example/token", "client_credentials", "x"),
        ("https://login.example/token", "client_credentials", None),
        ("https://login.example/token", "refresh_token", "x"),
    ],
)
def test_configuration_is_checked(
    url: str, grant: Literal["client_credentials", "refresh_token"], secret: str | None
) -> None:
    with pytest.raises(RadpostError) as caught:
        OAuthConfig(url, "id", grant, client_secret=secret)
    assert caught.value.reason is CONFIG_INVALID


def test_secrets_are_not_shown() -> None:
    assert "s3cret" not in repr(CLIENT)
    assert "r1" not in repr(REFRESH).replace("refresh_token", "")


class Handler(http.server.BaseHTTPRequestHandler):
    seen: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.seen.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "/token")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"access_token": "real", "expires_in": 60}')

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass


@pytest.fixture
def https(tmp_path: Path) -> Iterator[tuple[str, TlsOptions]]:
    authority = TestAuthority(tmp_path)
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    context = authority.issue("localhost").server_context()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}", TlsOptions(ca_file=authority.ca_file)
    server.shutdown()
    server.server_close()
    thread.join()


def test_over_real_https(https: tuple[str, TlsOptions]) -> None:
    url, tls = https
    tokens = EndpointTokens(
        OAuthConfig(url + "/token", "id", "client_credentials", client_secret="s", tls=tls)
    )
    assert tokens.token() == "real"
    assert "client_secret=s" in Handler.seen[-1]


def test_a_redirect_is_not_followed(https: tuple[str, TlsOptions]) -> None:
    url, tls = https
    before = len(Handler.seen)
    assert post_form(url + "/away", b"a=b", tls)[0] == 302
    assert len(Handler.seen) == before + 1


def test_a_foreign_certificate_is_refused(https: tuple[str, TlsOptions]) -> None:
    with pytest.raises(TransportError) as caught:
        post_form(https[0] + "/token", b"a=b", TlsOptions())
    assert caught.value.reason is SERVER_UNREACHABLE
    assert "certificate" in caught.value.detail


def test_the_forms_of_the_rfc() -> None:
    """RFC 7628 3.1, RFC 5801 4."""
    assert xoauth2("u@x", "tok") == b"user=u@x\x01auth=Bearer tok\x01\x01"
    assert (
        oauthbearer("a=b,c", "tok", "h", 143)
        == b"n,a=a=3Db=2Cc,\x01host=h\x01port=143\x01auth=Bearer tok\x01\x01"
    )


@pytest.mark.parametrize(
    ("user", "token"), [("u", ""), ("u", "a b"), ("u", "a\x01b"), ("u\x01", "t"), ("u", "ä")]
)
def test_nothing_slips_into_the_forms(user: str, token: str) -> None:
    with pytest.raises(TransportError):
        xoauth2(user, token)
    with pytest.raises(TransportError):
        oauthbearer(user, token, "h", 1)
