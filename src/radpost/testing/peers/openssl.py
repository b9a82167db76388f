"""``openssl cms``: an S/MIME program that has nothing of ours, for cross checks."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from radpost.testing.certificates import Issued
from radpost.testing.peers.base import PeerFailedError, find_program, require

WRITES = ("-outform", "DER")


def sign(
    content: bytes,
    *signers: Issued,
    chain: Sequence[Issued] = (),
    detached: bool = False,
    options: Sequence[str] = (),
) -> bytes:
    """Sign content as it is and return the CMS message in DER (BER with ``-stream``)."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["-sign", "-binary", *WRITES, *([] if detached else ["-nodetach"])]
        for number, signer in enumerate(signers):
            file = Path(folder) / f"signer{number}.pem"
            file.write_bytes(signer.pem + signer.key_pem)
            arguments += ["-signer", str(file)]
        if chain:
            file = Path(folder) / "chain.pem"
            file.write_bytes(b"".join(one.pem for one in chain))
            arguments += ["-certfile", str(file)]
        return cms([*arguments, *options], content)


def encrypt(content: bytes, *recipients: Issued, options: Sequence[str] = ("-aes-256-cbc",)) -> bytes:
    """Encrypt content as it is and return the CMS message in DER (BER with ``-stream``).

    Options of one recipient (``-keyopt``) hold for the last.
    """
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["-encrypt", "-binary", *WRITES]
        modes = [option for option in options if option.startswith("-") and option != "-keyopt"]
        keys = [option for option in options if option not in modes]
        arguments += modes
        for number, recipient in enumerate(recipients):
            file = Path(folder) / f"recipient{number}.pem"
            file.write_bytes(recipient.pem)
            arguments += ["-recip", str(file)]
        return cms([*arguments, *keys], content)


def cms(arguments: Sequence[str], content: bytes) -> bytes:
    """Run ``openssl cms`` and return what it wrote."""
    require("openssl")
    done = subprocess.run(
        [find_program("openssl") or "openssl", "cms", *arguments],
        input=content,
        capture_output=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        raise PeerFailedError(done.stderr.decode("utf-8", "replace"))
    return done.stdout
