"""Plain GnuPG with a private home, as any other program on the way would use it: for cross checks."""

import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from radpost.testing.peers.base import Peer, PeerFailedError, find_program


@dataclass(frozen=True, slots=True)
class Decrypted:
    """What ``gpg --decrypt`` made of a message."""

    plaintext: bytes
    status: tuple[str, ...]
    returncode: int

    @property
    def good_signature(self) -> bool:
        """True when a signature was verified."""
        return any(line.startswith("GOODSIG ") for line in self.status)

    @property
    def intact(self) -> bool:
        """True when the integrity check passed."""
        return "GOODMDC" in self.status and "DECRYPTION_OKAY" in self.status

    @property
    def signer(self) -> str | None:
        """Primary fingerprint of the good signature's key."""
        for line in self.status:
            if line.startswith("VALIDSIG "):
                return line.split()[-1]
        return None


class GnuPG(Peer):
    """A GnuPG home of its own (mode 0700, short path) with its own agent; no keyserver, no prompts."""

    needs = ("gnupg",)

    def __init__(self, keys: Iterable[Path | bytes] = ()) -> None:
        """`keys`: key files, armored or binary, that are imported at start."""
        super().__init__()
        self._keys = tuple(keys)
        # a tool, not a server: it runs as the caller, who must be able to use the home

        self.user = replace(self.user, uid=os.geteuid(), gid=os.getegid())

    @property
    def home(self) -> Path:
        """The home directory."""
        return self.directory

    def _launch(self) -> None:
        (self.home / "gpg-agent.conf").write_text("auto-expand-secmem 0x30000\nallow-loopback-pinentry\n")
        for key in self._keys:
            self.import_key(key)

    def _is_ready(self) -> bool:
        return True

    def stop(self) -> None:
        """End this home's agent and remove the home."""
        if self.directory != Path():
            kill = find_program("gpgconf")
            if kill and self.directory.exists():
                subprocess.run(
                    [kill, "--homedir", str(self.home), "--kill", "gpg-agent"],
                    capture_output=True,
                    check=False,
                )
        super().stop()

    def run(
        self, *arguments: str, data: bytes = b"", check: bool = True, timeout: float = 120.0
    ) -> tuple[bytes, tuple[str, ...], int]:
        """Run gpg; return its output, its status lines (without the prefix) and its exit status."""
        done = subprocess.run(
            [
                find_program("gpg") or "gpg",
                "--homedir",
                str(self.home),
                "--batch",
                "--no-tty",
                "--no-auto-key-retrieve",
                "--pinentry-mode=loopback",
                "--passphrase=",
                "--trust-model=always",
                "--status-fd=2",
                *arguments,
            ],
            input=data,
            capture_output=True,
            check=False,
            timeout=timeout,
        )
        text = done.stderr.decode("latin-1")  # notations may hold any byte
        if check and done.returncode:
            raise PeerFailedError(f"gpg: status {done.returncode}\n{text[-3000:]}")
        status = tuple(
            line.removeprefix("[GNUPG:] ") for line in text.splitlines() if line.startswith("[GNUPG:] ")
        )
        return done.stdout, status, done.returncode

    def import_key(self, key: Path | bytes) -> None:
        """Import public or secret keys."""
        self.run("--import", data=key if isinstance(key, bytes) else key.read_bytes())

    def generate(self, user_id: str, algorithm: str = "ed25519/cv25519") -> str:
        """Make a key with separate signing and encryption subkeys; return its primary fingerprint."""
        sign, encrypt = algorithm.split("/") if "/" in algorithm else (algorithm, algorithm)
        _, status, _ = self.run("--quick-generate-key", user_id, sign, "cert", "never")
        fingerprint = next(line.split()[2] for line in status if line.startswith("KEY_CREATED "))
        self.run("--quick-add-key", fingerprint, sign, "sign", "never")
        self.run("--quick-add-key", fingerprint, encrypt, "encr", "never")
        return fingerprint

    def export(self, fingerprint: str, *, secret: bool = False) -> bytes:
        """Export a key, armored."""
        return self.run("--armor", "--export-secret-keys" if secret else "--export", fingerprint)[0]

    def seal(
        self,
        data: bytes,
        recipients: Sequence[str],
        *,
        signer: str | None = None,
        armor: bool = True,
        options: Sequence[str] = (),
    ) -> bytes:
        """Encrypt, and sign if a signer is named, as gpg does by default (compressed)."""
        words = [word for recipient in recipients for word in ("--recipient", recipient)]
        words += ["--armor"] if armor else []
        words += ["--local-user", signer, "--sign"] if signer else []
        return self.run(*options, *words, "--encrypt", data=data)[0]

    def open(self, message: bytes) -> Decrypted:
        """Decrypt and verify; look at the verdicts of the result."""
        plaintext, status, code = self.run("--decrypt", data=message, check=False)
        return Decrypted(plaintext, status, code)
