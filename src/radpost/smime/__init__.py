"""S/MIME: decrypt and verify CMS messages behind one interface (DESIGN 6, RFC 8551).

The room knows nothing of MIME: `radpost.mime.cms.find_smime` finds the messages in a mail and gives their
octets, and what comes out of `decrypt` and `verify` is again a MIME entity for `radpost.mime.reader`.

- `load(files, passphrases)`: keys, certificates and revocation lists out of the bytes of files. The result's
  ``certificates`` are known but not trusted; which of them are anchors is the caller's to say.
- `decrypt(message, credentials)`: the content of EnvelopedData (AES-CBC, 3DES under ``legacy``) or of
  AuthEnvelopedData (AES-GCM). If ``authenticated`` is false, the content may have been changed by anybody on
  the way: nothing of it may be shown or acted on before `verify` finds a signature that is ``intact`` over
  all of it, unless the caller's policy admits that with the warning ``no-integrity``. Then everything that
  fails inside of it must be told to the sender as TAMPERED, as `decrypt` does, or it is a padding oracle.
- `verify(message, trust, now, contents=...)`: the verdict over an opaque message, or over the ``contents`` of
  a multipart/signed. Whose address the certificate has is a value; whether it is the one in From is for the
  caller to say.
"""

from radpost.smime.certificates import Held, hold
from radpost.smime.chain import Trust
from radpost.smime.credentials import Credential, Loaded, load, looks_like_credentials
from radpost.smime.opening import decrypt
from radpost.smime.signatures import verify
from radpost.smime.values import Certificate, Decrypted, Limits, Signature, Verified, decisive

__all__ = [
    "Certificate",
    "Credential",
    "Decrypted",
    "Held",
    "Limits",
    "Loaded",
    "Signature",
    "Trust",
    "Verified",
    "decisive",
    "decrypt",
    "hold",
    "load",
    "looks_like_credentials",
    "verify",
]
