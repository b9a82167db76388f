"""Sign-in by OAuth 2: tokens live as long as the account, and a rotated refresh token survives a restart."""

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from radpost.gateway.accounts import endpoint_of, login_of
from radpost.gateway.config import Mailbox, OAuth, Submission
from radpost.transport.failure import TransportError
from radpost.transport.imap import ImapMailbox
from radpost.transport.pop3 import Pop3Mailbox
from radpost.transport.sasl import Bearer, Credentials, Password, choose
from radpost.transport.smtp import Connection
from radpost.transport.wire import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from radpost.gateway.site import Site
    from radpost.testing.house import Pair


class Authority:
    """An authorisation server that voids a refresh token at its first use (RFC 6749 6)."""

    def __init__(self) -> None:
        self.valid = "first"
        self.asked: list[str] = []

    def __call__(self, _url: str, form: bytes, _tls: object) -> tuple[int, bytes]:
        given = parse_qs(form.decode())["refresh_token"][0]
        self.asked.append(given)
        if given != self.valid:
            return 400, b'{"error": "invalid_grant"}'
        self.valid = f"refresh-{len(self.asked)}"
        answer = {
            "access_token": f"access-{len(self.asked)}",
            "expires_in": 3600,
            "refresh_token": self.valid,
        }
        return 200, json.dumps(answer).encode()


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch) -> Authority:
    made = Authority()
    monkeypatch.setattr("radpost.transport.oauth.post_form", made)
    return made


def account(**oauth: Any) -> Submission:
    settings = OAuth(token_url="https://login.example/token", client_id="radpost", **oauth)
    return Submission(host="mail.example", port=587, security="starttls", user="u@x.example", oauth=settings)


def token(login: Credentials | None) -> str:
    assert isinstance(login, Bearer)
    return login.tokens.token()


def renew(site: "Site", server: Submission | Mailbox) -> str:
    """Ask for a token, with the one that is kept refused by the server."""
    login = login_of(site, server)
    assert isinstance(login, Bearer)
    login.tokens.reject(login.tokens.token())
    return login.tokens.token()


def test_all_connections_of_an_account_share_their_tokens(
    make_pair: "Callable[..., Pair]", authority: Authority
) -> None:
    site = make_pair().a.site
    server = account(refresh_token="first")
    box = Mailbox(host="imap.example", port=993, security="tls", user="u@x.example", oauth=server.oauth)
    assert {token(login_of(site, one)) for one in (server, server, box)} == {"access-1"}
    assert authority.asked == ["first"]


def test_a_rotated_refresh_token_is_in_its_file_before_it_is_used(
    make_pair: "Callable[..., Pair]", authority: Authority
) -> None:
    house = make_pair().a
    file = Path(house.site.config.folder) / "refresh"
    file.write_text("first\n", "utf-8")
    server = account(refresh_token_file="refresh")
    assert token(login_of(house.site, server)) == "access-1"
    assert file.read_text("utf-8").strip() == authority.valid == "refresh-1"
    assert file.stat().st_mode & 0o777 == 0o600
    house.restart()
    assert renew(house.site, server) == "access-3"
    assert authority.asked == ["first", "refresh-1", "refresh-2"]


def test_a_token_that_a_person_put_into_the_file_is_used_at_once(
    make_pair: "Callable[..., Pair]", authority: Authority
) -> None:
    house = make_pair().a
    file = Path(house.site.config.folder) / "refresh"
    file.write_text("first", "utf-8")
    server = account(refresh_token_file="refresh")
    assert token(login_of(house.site, server)) == "access-1"
    authority.valid = "new consent"
    file.write_text("new consent", "utf-8")
    assert token(login_of(house.site, server)) == "access-2"


def test_a_token_of_the_configuration_is_kept_in_the_store_when_it_is_rotated(
    make_pair: "Callable[..., Pair]", authority: Authority
) -> None:
    house = make_pair().a
    server = account(refresh_token="first")
    assert token(login_of(house.site, server)) == "access-1"
    house.restart()
    assert token(login_of(house.site, server)) == "access-2"
    assert authority.asked == ["first", "refresh-1"]
    authority.valid = "another"
    assert token(login_of(house.site, account(refresh_token="another"))) == "access-3"


def test_the_mechanism_of_the_configuration_is_the_one_that_is_used(
    make_pair: "Callable[..., Pair]", authority: Authority
) -> None:
    site = make_pair().a.site
    used = {}
    for configured in ("auto", "XOAUTH2", "OAUTHBEARER"):
        login = login_of(site, account(refresh_token="first", mechanism=configured))
        assert login is not None
        used[configured] = choose({"OAUTHBEARER", "XOAUTH2", "PLAIN"}, login)
    assert used == {"auto": "OAUTHBEARER", "XOAUTH2": "XOAUTH2", "OAUTHBEARER": "OAUTHBEARER"}


@pytest.mark.timeout(60)
def test_a_server_may_be_silent_as_long_as_configured(make_pair: "Callable[..., Pair]") -> None:
    site = make_pair().a.site
    server: dict[str, Any] = {"host": "127.0.0.1", "security": "none"}

    def times(seconds: float) -> Timeouts:
        return endpoint_of(site, Submission(port=25, timeout_seconds=seconds, **server)).timeouts

    assert times(1.0) == Timeouts(connect=1.0, command=1.0, block=1.0, final=630.0)
    assert times(900.0) == Timeouts(connect=30.0, command=900.0, block=900.0, final=900.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(TransportError, match="no answer within 1 seconds"):
            Connection(endpoint_of(site, Submission(port=port, timeout_seconds=1.0, **server))).open()
        box = endpoint_of(site, Mailbox(port=port, timeout_seconds=1.0, user="u", **server))
        with pytest.raises(TransportError, match="no answer within 1 seconds"):
            ImapMailbox(box, Password("u", "p")).open()
        with pytest.raises(TransportError, match="no answer within 1 seconds"):
            Pop3Mailbox(box, Password("u", "p")).open()
