"""Dovecot 2.3 without root: IMAP, POP3 and LMTP over TCP, TLS, one Maildir per user.

It runs as the caller, or as ``nobody`` when the caller is root. `auth_port` speaks Dovecot's
authentication protocol for a Postfix beside it.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from radpost.testing.peers.base import Peer, answers, end, free_port, own, wait_until
from radpost.testing.peers.tls import TestAuthority

_CONFIG = """\
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/log
protocols = imap pop3 lmtp
listen = 127.0.0.1
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
mail_location = maildir:~/Maildir
mail_uid = {user}
mail_gid = {group}
first_valid_uid = 1
first_valid_gid = 1
mail_max_userip_connections = 1000
mail_fsync = {fsync}
disable_plaintext_auth = {plaintext_refused}
auth_mechanisms = plain login
auth_failure_delay = 0
hostname = mail.radpost.example
recipient_delimiter = +
ssl = {ssl}
{tls}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%Lu {dir}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%Lu {dir}/users
}}
namespace inbox {{
  inbox = yes
}}
service anvil {{
  chroot =
  # no growing delay after wrong passwords
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
service imap-login {{
  chroot =
  service_count = 0
  client_limit = 1000
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service pop3-login {{
  chroot =
  service_count = 0
  client_limit = 1000
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
service auth {{
  inet_listener {{
    port = {auth}
  }}
}}
{quota}
{extra}
"""

_QUOTA = """\
mail_plugins = quota
plugin {{
  quota = maildir:User quota
  quota_rule = *:storage={quota}
  quota_grace = 0
}}
protocol imap {{
  mail_plugins = quota imap_quota
}}
"""


class Dovecot(Peer):
    """A mailbox server with these users (address to password)."""

    needs = ("dovecot",)

    def __init__(
        self,
        users: Mapping[str, str],
        *,
        tls: bool = True,
        quota: str | None = None,
        plaintext_refused: bool = False,
        fsync: str = "optimized",
        extra: str = "",
    ) -> None:
        """`quota` is a size as Dovecot writes it (``10M``); `extra` is appended to its configuration."""
        super().__init__()
        self.users = dict(users)
        self.tls = tls
        self.authority: TestAuthority | None = None
        self._quota = quota
        self._plaintext_refused = plaintext_refused
        self._fsync = fsync
        self._extra = extra
        self.imap_port = self.imaps_port = self.pop3_port = self.pop3s_port = 0
        self.lmtp_port = self.auth_port = 0

    @property
    def ca_file(self) -> Path:
        """PEM file of the authority that signed the server's certificate."""
        return self.directory / "tls" / "ca.pem"

    def home(self, user: str) -> Path:
        """Return the home directory of a mailbox."""
        return self.directory / "home" / user

    def maildir(self, user: str) -> Path:
        """Return the Maildir of a mailbox (it exists once a mail was delivered or somebody logged in)."""
        return self.home(user) / "Maildir"

    def mails(self, user: str) -> list[Path]:
        """Return the files of the mails in the inbox, oldest first."""
        found = [path for part in ("cur", "new") for path in (self.maildir(user) / part).glob("*")]
        return sorted(found, key=lambda path: path.name)

    def wipe(self, user: str) -> None:
        """Remove all mails of a user at once, past the server: the mailbox is new afterwards."""
        shutil.rmtree(self.maildir(user), ignore_errors=True)

    def add_user(self, user: str, password: str) -> None:
        """Add a mailbox while the server runs."""
        self.users[user] = password
        self._write_users()

    def _write_users(self) -> None:
        lines = []
        for name, password in self.users.items():
            self.home(name).mkdir(parents=True, exist_ok=True)
            lines.append(f"{name.lower()}:{{PLAIN}}{password}:::: {self.home(name)}::".replace(" ", ""))
        fresh = self.directory / "users.new"
        fresh.write_text("".join(line + "\n" for line in lines), "utf-8")
        fresh.chmod(0o600)
        own(fresh, self.user)
        fresh.replace(self.directory / "users")
        own(self.directory / "home", self.user)

    def _launch(self) -> None:
        self.imap_port, self.pop3_port, self.lmtp_port, self.auth_port = (free_port() for _ in range(4))
        self.imaps_port, self.pop3s_port = (free_port(), free_port()) if self.tls else (0, 0)
        for part in ("run", "state", "tls", "home"):
            (self.directory / part).mkdir(mode=0o700)
        self._write_users()
        tls = ""
        if self.tls:
            self.authority = TestAuthority(self.directory / "tls")
            files = self.authority.issue()
            tls = f"ssl_cert = <{files.cert_file}\nssl_key = <{files.key_file}"
        config = self.directory / "dovecot.conf"
        config.write_text(
            _CONFIG.format(
                dir=self.directory,
                user=self.user.name,
                group=self.user.group,
                fsync=self._fsync,
                plaintext_refused="yes" if self._plaintext_refused else "no",
                ssl="yes" if self.tls else "no",
                tls=tls,
                imap=self.imap_port,
                imaps=self.imaps_port,
                pop3=self.pop3_port,
                pop3s=self.pop3s_port,
                lmtp=self.lmtp_port,
                auth=self.auth_port,
                quota=_QUOTA.format(quota=self._quota) if self._quota else "",
                extra=self._extra,
            ),
            "utf-8",
        )
        own(self.directory, self.user)
        self._run()

    def _run(self) -> None:
        self._spawn(["dovecot", "-F", "-c", str(self.directory / "dovecot.conf")])

    def pause(self) -> None:
        """End the server; mailboxes and ports stay for ``resume``."""
        while self._processes:
            end(self._processes.pop(), 10.0)

    def resume(self) -> None:
        """Start the paused server again."""
        self._run()
        wait_until(self._alive_and_ready, "Dovecot again", self.start_timeout)

    def _is_ready(self) -> bool:
        return (
            answers(self.imap_port, b"* OK")
            and answers(self.pop3_port, b"+OK")
            and answers(self.lmtp_port, b"220")
        )
