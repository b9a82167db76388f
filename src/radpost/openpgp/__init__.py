"""OpenPGP: keys, sign and encrypt, decrypt and verify behind one interface (DESIGN 6).

`CompositeEngine` over a `Keyring` is what the gateway uses; `keys` makes and reads certificates.
"""

from radpost.openpgp.deflate import measure_gain
from radpost.openpgp.engine import CompositeEngine, GnuPGEngine
from radpost.openpgp.keyring import Keyring
from radpost.openpgp.keys import (
    KeyKind,
    export_public,
    export_secret,
    generate,
    read_certs,
    split,
    unlock,
)
from radpost.openpgp.plaintext import Plaintext
from radpost.openpgp.values import (
    CertInfo,
    Chunk,
    Compression,
    Engine,
    Limits,
    Opened,
    Sealed,
    Signature,
)

__all__ = [
    "CertInfo",
    "Chunk",
    "CompositeEngine",
    "Compression",
    "Engine",
    "GnuPGEngine",
    "KeyKind",
    "Keyring",
    "Limits",
    "Opened",
    "Plaintext",
    "Sealed",
    "Signature",
    "export_public",
    "export_secret",
    "generate",
    "measure_gain",
    "read_certs",
    "split",
    "unlock",
]
