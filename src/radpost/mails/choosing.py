"""Which of the keys that were given is meant: the one of the address, else the only one there is."""

from collections.abc import Sequence
from datetime import datetime

from radpost.agit.writing import Keys
from radpost.errors import NO_USABLE_KEY, OWN_KEY_UNUSABLE, RadpostError, Reason
from radpost.mails.keys import OfflineKeys
from radpost.openpgp.values import CertInfo


def choose(keys: OfflineKeys, sender: str, recipient: str, now: datetime, *, sign: bool) -> Keys:
    """Return the recipient's key and, where mails are signed, ours.

    Raises:
        RadpostError: NO_USABLE_KEY, OWN_KEY_UNUSABLE; the detail says what is missing or ambiguous.
    """
    known = keys.describe(now)
    others = [cert for cert in known if cert.fingerprint in keys.others]
    own = [cert for cert in known if cert.fingerprint in keys.own]
    usable = [cert for cert in others if cert.can_encrypt]
    to = _one(usable, others, recipient, NO_USABLE_KEY, "--certs")
    signer = None
    if sign:
        signer = _one([cert for cert in own if cert.can_sign], own, sender, OWN_KEY_UNUSABLE, "--secret")
    return Keys((to,), signer)


def _one(
    usable: Sequence[CertInfo], all_of: Sequence[CertInfo], address: str, reason: Reason, option: str
) -> str:
    """Return the newest key of an address, or the only key."""
    if not usable:
        problems = [f"{cert.fingerprint[-16:]}: {', '.join(cert.problems)}" for cert in all_of]
        raise RadpostError(reason, "; ".join(problems) or f"{option} has no OpenPGP key for this")
    of_address = [cert for cert in usable if _names(cert, address)]
    if not of_address and len(usable) > 1:
        raise RadpostError(reason, f"{option} has {len(usable)} keys, and none of them names {address}")
    return max(of_address or usable, key=lambda cert: cert.created).fingerprint


def _names(cert: CertInfo, address: str) -> bool:
    wanted = address.lower()
    return any(
        user_id.strip().lower() == wanted or f"<{wanted}>" in user_id.lower() for user_id in cert.user_ids
    )
