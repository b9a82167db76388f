"""OAuth 2 against Postfix and Dovecot: tokens over HTTPS, which Dovecot has judged by introspection."""

import contextlib
import http.server
import io
import json
import ssl
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs

import pytest

from radpost.errors import LOGIN_FAILED
from radpost.testing.peers.base import own
from radpost.testing.peers.pair import MailServer
from radpost.testing.peers.tls import TestAuthority
from radpost.transport.failure import TransportError
from radpost.transport.imap import ImapMailbox
from radpost.transport.oauth import EndpointTokens, OAuthConfig
from radpost.transport.pop3 import Pop3Mailbox
from radpost.transport.sasl import Bearer
from radpost.transport.smtp import Connection
from radpost.transport.smtp_reply import Kind
from radpost.transport.tls import Security, TlsOptions
from radpost.transport.wire import Endpoint

pytestmark = pytest.mark.peer("postfix", "dovecot")

ANNE = "anne@klinik-a.example"
MAIL = f"From: <{ANNE}>\r\nTo: <{ANNE}>\r\nMessage-ID: <1@a.example>\r\nSubject: x\r\n\r\nhello\r\n".encode()


class Authority:
    """Hands out tokens and judges them; ``revoke`` makes all given tokens worthless."""

    def __init__(self, folder: Path) -> None:
        self._tls = TestAuthority(folder)
        self._valid: set[str] = set()
        self._given = 0
        self._lock = threading.Lock()
        self._servers: list[http.server.ThreadingHTTPServer] = []
        self.token_url = self._serve(tls=True)
        self.introspection_url = self._serve(tls=False)

    @property
    def config(self) -> OAuthConfig:
        return OAuthConfig(
            self.token_url,
            "radpost",
            "refresh_token",
            refresh_token="refresh-1",
            tls=TlsOptions(ca_file=self._tls.directory / "ca.pem"),
        )

    def answer(self, path: str, form: dict[str, list[str]]) -> dict[str, object]:
        with self._lock:
            if path == "/token":
                assert form["refresh_token"] == ["refresh-1"]
                self._given += 1
                self._valid.add(f"token-{self._given}")
                return {"access_token": f"token-{self._given}", "expires_in": 3600}
            return {"active": form["token"][0] in self._valid, "username": ANNE}

    def revoke(self) -> None:
        with self._lock:
            self._valid.clear()

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _serve(self, *, tls: bool) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            authority: ClassVar[Authority] = self

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                body = json.dumps(self.authority.answer(self.path, parse_qs(form))).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            files = self._tls.issue()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(files.cert_file, files.key_file)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{server.server_address[1]}/{'token' if tls else 'introspect'}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    one = Authority(tmp_path_factory.mktemp("authority"))
    yield one
    one.stop()


@pytest.fixture(scope="module", params=["xoauth2", "xoauth2 oauthbearer"])
def server(request: pytest.FixtureRequest, authority: Authority) -> Iterator[MailServer]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oa")))
        settings = folder / "oauth2.conf"
        settings.write_text(
            f"introspection_mode = post\nintrospection_url = {authority.introspection_url}\n"
            "username_attribute = username\nactive_attribute = active\nactive_value = true\n"
        )
        extra = (
            f"auth_mechanisms = plain {request.param}\n"
            f"passdb {{\n  driver = oauth2\n  mechanisms = {request.param}\n  args = {settings}\n}}\n"
        )
        pair = MailServer({ANNE: "not-this-way"}, dovecot_extra=extra)
        own(folder, pair.dovecot.user)
        yield stack.enter_context(pair)


@pytest.fixture
def tokens(authority: Authority) -> EndpointTokens:
    return EndpointTokens(authority.config)


def where(server: MailServer, port: int, security: Security = Security.TLS) -> Endpoint:
    return Endpoint("localhost", port, security, TlsOptions(ca_file=server.ca_file))


def submit(server: MailServer, tokens: EndpointTokens) -> None:
    link = Connection(where(server, server.submission_port, Security.STARTTLS), Bearer(ANNE, tokens))
    with link:
        outcome = link.send(ANNE, ANNE, io.BytesIO(MAIL), size=len(MAIL))
        assert outcome.kind is Kind.ACCEPTED, outcome


def test_a_mail_is_submitted_and_fetched_with_tokens(server: MailServer, tokens: EndpointTokens) -> None:
    """RFC 7628 3.1, RFC 6749 6."""
    server.dovecot.wipe(ANNE)
    submit(server, tokens)
    server.wait_for_mails(ANNE, 1)
    with ImapMailbox(where(server, server.imaps_port), Bearer(ANNE, tokens)) as box:
        box.open()
        (uid,) = box.new_uids()
        got = io.BytesIO()
        assert [item.uid for item in box.fetch([uid], lambda _uid, _size: got)] == [uid]
        assert got.getvalue().endswith(b"\r\n\r\nhello\r\n")
    with Pop3Mailbox(where(server, server.pop3s_port), Bearer(ANNE, tokens)) as box:
        box.open()
        assert len(box.items()) == 1


def test_a_token_that_was_revoked_is_replaced(
    server: MailServer, authority: Authority, tokens: EndpointTokens
) -> None:
    first = tokens.token()
    authority.revoke()
    submit(server, tokens)
    assert tokens.token() != first
    authority.revoke()
    with ImapMailbox(where(server, server.imaps_port), Bearer(ANNE, tokens)) as box:
        box.open()


def test_a_token_that_is_refused_again_and_again_is_a_failed_sign_in(server: MailServer) -> None:
    """The reason names no token."""

    class Worthless:
        def token(self) -> str:
            return "worthless-token"

        def reject(self, token: str) -> bool:
            return token != "worthless-token"

    box = ImapMailbox(where(server, server.imaps_port), Bearer(ANNE, Worthless()))
    with box, pytest.raises(TransportError) as caught:
        box.open()
    assert caught.value.reason is LOGIN_FAILED
    assert "worthless-token" not in str(caught.value)
