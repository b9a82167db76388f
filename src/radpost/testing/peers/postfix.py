"""Postfix as an intermediate and submission server; mailboxes are elsewhere (LMTP, or `routes`).

The master needs root: it runs in `postfix_root`, directly or by ``sudo -n`` or by the helper
that ``make test`` starts as root (RADPOST_ROOT_HELPER), and ends with us.
"""

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from radpost.testing.peers.base import (
    Peer,
    PeerFailedError,
    answers,
    find_program,
    wait_until,
)

_HELPER = Path(__file__).resolve().parents[4] / "tools" / "root_helper.py"  # see make test
_SERVICES = """\
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       1       1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""


@dataclass(frozen=True, slots=True)
class SubmissionFiles:
    """What Postfix needs for TLS."""

    cert_file: Path
    key_file: Path


class Postfix(Peer):
    """A mail transfer agent on loopback with an SMTP port and, if asked, submission ports.

    `routes` maps an address or a domain to a next hop as ``transport(5)`` writes it, for example
    ``{"klinik-b.example": "smtp:[127.0.0.1]:2525"}``; everything else goes to `lmtp_port`.
    """

    needs = ("postfix",)

    def __init__(
        self,
        *,
        lmtp_port: int | None = None,
        routes: Mapping[str, str] | None = None,
        message_size_limit: int = 50 * 1024 * 1024,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        auth_port: int | None = None,
        known: tuple[str, ...] | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """`known`: addresses that exist (others get 550 at RCPT); None: all do. `extra`: more of main.cf."""
        super().__init__()
        self.message_size_limit = message_size_limit
        self.smtp_port = self.submission_port = self.submissions_port = 0
        self._lmtp_port = lmtp_port
        self._routes = dict(routes or {})
        self._cert_file, self._key_file = cert_file, key_file
        self._auth_port = auth_port
        self._known = known
        self._extra = dict(extra or {})
        self._lock = threading.Lock()
        self._last_log = ""

    @property
    def has_tls(self) -> bool:
        """True when a certificate was given."""
        return self._cert_file is not None

    def queue_length(self) -> int:
        """Count the mails that are neither delivered nor bounced yet."""
        return int(str(self._ask("queue")))

    def wait_delivered(self, timeout: float = 30.0) -> None:
        """Wait until the queue is empty: every mail was delivered or bounced."""
        wait_until(lambda: self.queue_length() == 0, "Postfix's queue is not empty", timeout)

    def flush(self) -> None:
        """Try deferred mails at once."""
        self._ask("flush")

    def log(self) -> str:
        """Return Postfix's log so far."""
        if self._processes and self._processes[0].poll() is None:
            self._last_log = str(self._ask("log"))
        return self._last_log

    def _launch(self) -> None:
        self._last_log = ""
        self.smtp_port = self._port("smtp")
        self.submission_port = self._port("submission") if self._auth_port else 0
        self.submissions_port = self._port("submissions") if self._auth_port and self.has_tls else 0
        argv = [sys.executable, "-m", "radpost.testing.peers.postfix_root"]
        helper = os.environ.get("RADPOST_ROOT_HELPER")
        if os.geteuid() != 0 and helper:
            argv = [sys.executable, str(_HELPER), "connect", helper, "postfix"]
        elif os.geteuid() != 0:
            argv = [find_program("sudo") or "sudo", "-n", *argv]
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.directory / "helper.log").open("wb"),
            cwd="/",
            start_new_session=True,
        )
        self._processes.append(process)
        spec = {"main": self._main(), "master": self._master(), "tables": self._tables()}
        reply = self._exchange(json.dumps(spec), timeout=60.0)
        if not isinstance(reply, dict) or "ready" not in reply:
            self._last_log = f"{reply}\n{(self.directory / 'helper.log').read_text('utf-8', 'replace')}"
            raise PeerFailedError(f"Postfix did not start: {self._last_log}")

    def stop(self) -> None:
        """Stop the instance in order; its queue is removed with it."""
        if self._processes and self._processes[0].poll() is None:
            try:
                self._ask("stop")
            except PeerFailedError:
                pass  # the helper is gone or stuck: the process is ended below
            else:
                self._processes[0].wait(10)
        super().stop()

    def _is_ready(self) -> bool:
        return answers(self.smtp_port, b"220") and (
            not self.submission_port or answers(self.submission_port, b"220")
        )

    def _ask(self, word: str) -> object:
        return self._exchange(word, timeout=30.0)

    def _exchange(self, line: str, timeout: float) -> object:
        process = self._processes[0] if self._processes else None
        if process is None or process.stdin is None or process.stdout is None:
            raise PeerFailedError("Postfix is not running")
        with self._lock:
            try:
                process.stdin.write(line.encode() + b"\n")
                process.stdin.flush()
                if not select.select([process.stdout], [], [], timeout)[0]:
                    raise PeerFailedError(f"Postfix's helper did not answer within {timeout:g} s")
                reply = process.stdout.readline()
            except OSError as error:
                raise PeerFailedError(f"Postfix's helper is gone: {error}") from error
        if not reply:
            raise PeerFailedError(
                f"Postfix's helper ended: {(self.directory / 'helper.log').read_text('utf-8', 'replace')}"
            )
        answer: object = json.loads(reply)
        return answer

    def _main(self) -> dict[str, str]:
        main = {
            "myhostname": "mail.radpost.example",
            "mydomain": "radpost.example",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "mynetworks": "127.0.0.0/8",
            "mydestination": "",
            "alias_maps": "",
            "local_recipient_maps": "",
            "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject",
            "message_size_limit": str(self.message_size_limit),
            "mailbox_size_limit": "0",
            "virtual_mailbox_limit": "0",
            "smtpd_client_connection_count_limit": "0",
            "smtpd_client_connection_rate_limit": "0",
            "smtpd_client_message_rate_limit": "0",
            "smtpd_client_recipient_rate_limit": "0",
            "smtpd_peername_lookup": "no",
            "smtpd_error_sleep_time": "0",
            "smtp_host_lookup": "native",
            # impatient, so that tests of 4xx replies see the second attempt
            "queue_run_delay": "1s",
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "2s",
            "smtp_destination_concurrency_failed_cohort_limit": "0",
            "lmtp_destination_concurrency_failed_cohort_limit": "0",
            "notify_classes": "",
        }
        if self._lmtp_port:
            main |= {
                "virtual_mailbox_domains": "static:all",
                "virtual_mailbox_maps": "static:all" if self._known is None else "texthash:@ETC@/known",
                "virtual_transport": f"lmtp:inet:127.0.0.1:{self._lmtp_port}",
            }
        if self._routes:
            main["transport_maps"] = "texthash:@ETC@/routes"
        if self.has_tls:
            main |= {
                "smtpd_tls_security_level": "may",
                "smtpd_tls_cert_file": str(self._cert_file),
                "smtpd_tls_key_file": str(self._key_file),
            }
        if self._auth_port:
            main |= {
                "smtpd_sasl_type": "dovecot",
                "smtpd_sasl_path": f"inet:127.0.0.1:{self._auth_port}",
                "smtpd_sasl_security_options": "noanonymous",
            }
        return {**main, **self._extra}

    def _master(self) -> str:
        def listen(port: int, *options: str) -> str:
            return f"127.0.0.1:{port} inet n - n - - smtpd\n" + "".join(f"  -o {o}\n" for o in options)

        # submission is for signed-in users only, even on loopback (RFC 6409 4.3)
        signed_in = (
            "smtpd_sasl_auth_enable=yes",
            "smtpd_recipient_restrictions=permit_sasl_authenticated,reject",
            "smtpd_relay_restrictions=permit_sasl_authenticated,reject",
        )
        text = listen(self.smtp_port)
        if self.submission_port:
            level = "encrypt" if self.has_tls else "none"
            text += listen(self.submission_port, f"smtpd_tls_security_level={level}", *signed_in)
        if self.submissions_port:
            text += listen(self.submissions_port, "smtpd_tls_wrappermode=yes", *signed_in)
        return text + _SERVICES

    def _tables(self) -> dict[str, str]:
        return {
            "routes": "".join(f"{pattern} {hop}\n" for pattern, hop in self._routes.items()),
            "known": "".join(f"{address} ok\n" for address in self._known or ()),
        }
