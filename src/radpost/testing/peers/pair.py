"""The mail server of the field in one object: Postfix in front, Dovecot with the mailboxes behind."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from radpost.testing.peers.base import wait_until
from radpost.testing.peers.dovecot import Dovecot
from radpost.testing.peers.postfix import Postfix


class MailServer:
    """A mail server on loopback: SMTP, submission with sign-in, IMAP, POP3, each with TLS if wanted.

    >>> with MailServer({"a@klinik-a.example": "secret"}) as server:  # doctest: +SKIP
    ...     smtplib.SMTP("localhost", server.smtp_port)
    """

    def __init__(
        self,
        users: Mapping[str, str],
        *,
        message_size_limit: int = 50 * 1024 * 1024,
        tls: bool = True,
        quota: str | None = None,
        routes: Mapping[str, str] | None = None,
        reject_unknown: bool = False,
        fsync: str = "optimized",
        postfix_extra: Mapping[str, str] | None = None,
        dovecot_extra: str = "",
    ) -> None:
        """`reject_unknown`: unknown recipients get 550 at RCPT; otherwise they bounce with a DSN."""
        self.users = dict(users)
        self.dovecot = Dovecot(users, tls=tls, quota=quota, fsync=fsync, extra=dovecot_extra)
        self.host = "localhost"
        self._size_limit = message_size_limit
        self._routes = routes
        self._reject_unknown = reject_unknown
        self._postfix_extra = postfix_extra
        self._postfix: Postfix | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start both; ready for use when this returns."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.dovecot)
            self._postfix = self._make_postfix()
            stack.enter_context(self._postfix)
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """Stop both; mails and queue are removed."""
        self._stack.close()

    def restart_postfix(self) -> None:
        """Stop Postfix (its queue is lost) and start it again."""
        self.postfix.stop()
        self.postfix.start()

    def go_down(self) -> None:
        """Stop both when the queue is empty; the mailboxes stay for ``come_back``."""
        self.wait_delivered()
        self.postfix.stop()
        self.dovecot.pause()

    def come_back(self) -> None:
        """Start both again, on the ports that they had."""
        self.dovecot.resume()
        self.postfix.start()

    @property
    def postfix(self) -> Postfix:
        """The Postfix of the pair."""
        if self._postfix is None:
            raise RuntimeError("the mail server was not started")
        return self._postfix

    def _make_postfix(self) -> Postfix:
        tls = self.dovecot.directory / "tls"
        return Postfix(
            lmtp_port=self.dovecot.lmtp_port,
            auth_port=self.dovecot.auth_port,
            routes=self._routes,
            message_size_limit=self._size_limit,
            cert_file=tls / "server.pem" if self.dovecot.tls else None,
            key_file=tls / "server.key" if self.dovecot.tls else None,
            known=tuple(self.users) if self._reject_unknown else None,
            extra=self._postfix_extra,
        )

    @property
    def smtp_port(self) -> int:
        """SMTP without sign-in (STARTTLS offered): takes any recipient."""
        return self.postfix.smtp_port

    @property
    def submission_port(self) -> int:
        """Submission (RFC 6409): STARTTLS and sign-in are required when the server has TLS."""
        return self.postfix.submission_port

    @property
    def submissions_port(self) -> int:
        """Submission with implicit TLS (RFC 8314); 0 without TLS."""
        return self.postfix.submissions_port

    @property
    def imap_port(self) -> int:
        """IMAP, STARTTLS offered."""
        return self.dovecot.imap_port

    @property
    def imaps_port(self) -> int:
        """IMAP with implicit TLS; 0 without TLS."""
        return self.dovecot.imaps_port

    @property
    def pop3_port(self) -> int:
        """POP3, STLS offered."""
        return self.dovecot.pop3_port

    @property
    def pop3s_port(self) -> int:
        """POP3 with implicit TLS; 0 without TLS."""
        return self.dovecot.pop3s_port

    @property
    def lmtp_port(self) -> int:
        """LMTP straight into the mailboxes, past Postfix."""
        return self.dovecot.lmtp_port

    @property
    def ca_file(self) -> Path:
        """PEM file of the authority that signed the certificate (valid for localhost and 127.0.0.1)."""
        return self.dovecot.ca_file

    def maildir(self, user: str) -> Path:
        """Return the Maildir of a user."""
        return self.dovecot.maildir(user)

    def mails(self, user: str) -> list[Path]:
        """Return the files of the mails in a user's inbox."""
        return self.dovecot.mails(user)

    def wait_for_mails(self, user: str, count: int, timeout: float = 30.0) -> list[Path]:
        """Wait until at least so many mails lie in a user's inbox, and return their files."""
        wait_until(lambda: len(self.mails(user)) >= count, f"{count} mails in the inbox", timeout)
        return self.mails(user)

    def wait_delivered(self, timeout: float = 30.0) -> None:
        """Wait until Postfix's queue is empty."""
        self.postfix.wait_delivered(timeout)

    def log(self) -> str:
        """Return both logs."""
        return f"{self.postfix.log()}\n{self.dovecot.log()}"
