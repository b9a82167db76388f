"""Keys of ours and of partners: made, imported, exported, confirmed by a person who compared fingerprints.

Trust stands in our store only (DESIGN 6): an imported key is not used before its fingerprint is confirmed.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NoReturn

from radpost.errors import (
    BAD_COMMAND,
    FINGERPRINT_DIFFERS,
    KEY_UNREADABLE,
    NOT_FOUND,
    OWN_KEY_UNUSABLE,
    RadpostError,
)
from radpost.gateway.site import Site
from radpost.openpgp import keys
from radpost.openpgp.keys import KeyKind
from radpost.openpgp.values import CertInfo, grouped
from radpost.store import partners as statements
from radpost.store.partners import KeyRow

MADE_HERE: Final = "made here"
COMPARED: Final = "fingerprint compared"
BROUGHT: Final = "secret key imported"
_BLANKS: Final = re.compile(r"[\s:]+")
_FINGERPRINT: Final = re.compile(r"[0-9A-F]{40}")
_SHORTEST_END: Final = 8
_LARGEST_FILE: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key of the store, as a person wants to see it."""

    fingerprint: str
    owner: str
    """Name of the partner, or ``own``."""
    user_ids: tuple[str, ...]
    algorithm: str
    created: str
    expires: str
    state: str
    """``confirmed``, ``not confirmed``, ``expired``, ``revoked`` or ``unusable``."""
    confirmed_how: str
    confirmed_at: float | None
    problems: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Tell whether mails can be sealed with it."""
        return self.state == "confirmed"


def generate(site: Site, kind: KeyKind = KeyKind.RSA3072) -> str:
    """Make the institution's key, confirmed as our own; return its fingerprint."""
    institution = site.config.institution
    armored = keys.generate(institution.name, institution.address, kind=kind)
    (fingerprint,) = keys.split(armored)
    now = site.clock()
    row = KeyRow(fingerprint, None, True, armored, now, now, MADE_HERE)
    with site.database.write() as connection:
        statements.put_key(connection, row)
    site.keys.forget()
    return fingerprint


def import_public(site: Site, path: Path, *, partner: str, fingerprint: str = "") -> KeyView:
    """Import a partner's public key; with its fingerprint, told by the partner another way, it is confirmed.

    Raises:
        RadpostError: KEY_UNREADABLE; FINGERPRINT_DIFFERS, then nothing is changed; BAD_COMMAND if the key
            belongs to somebody else.
    """
    fingerprint, armored, confirmed = check_public(site, path, partner=partner, fingerprint=fingerprint)
    now = site.clock()
    row = KeyRow(
        fingerprint, partner, False, armored, now, now if confirmed else None, COMPARED if confirmed else None
    )
    with site.database.write() as connection:
        statements.put_key(connection, row)
    site.keys.forget()
    return one(site, fingerprint)


def check_public(site: Site, path: Path, *, partner: str, fingerprint: str = "") -> tuple[str, bytes, bool]:
    """Return fingerprint, armored key and whether it is confirmed; raises what ``import_public`` raises."""
    data = _read(path)
    info = _chosen(keys.read_certs(data, now=_now(site)), fingerprint, path)
    with site.database.read() as connection:
        known = next((k for k in statements.keys(connection) if k.fingerprint == info.fingerprint), None)
    if known is not None and known.partner != partner:
        owner = f"partner {known.partner}" if known.partner else "us"
        raise RadpostError(BAD_COMMAND, f"{path.name}: this key belongs to {owner} already")
    return info.fingerprint, keys.export_public(keys.split(data)[info.fingerprint]), bool(fingerprint)


def import_secret(site: Site, path: Path, *, passphrase: str | None = None) -> KeyView:
    """Import a secret key as our own; who holds the secret needs no other confirmation.

    Raises:
        RadpostError: KEY_UNREADABLE; PASSPHRASE_WRONG, also where it is missing.
    """
    data = _read(path)
    unlocked = keys.unlock(data, passphrase)
    blocks = {fingerprint: block for fingerprint, block in keys.split(unlocked).items() if block}
    if len(blocks) != 1:
        raise RadpostError(KEY_UNREADABLE, f"{path.name} holds {len(blocks)} keys; export one alone")
    ((fingerprint, block),) = blocks.items()
    armored = keys.export_secret(block)
    now = site.clock()
    with site.database.write() as connection:
        known = next((k for k in statements.keys(connection) if k.fingerprint == fingerprint), None)
        if known is not None and known.partner is not None:
            raise RadpostError(BAD_COMMAND, f"{path.name}: this key belongs to partner {known.partner}")
        statements.put_key(
            connection,
            KeyRow(fingerprint, None, True, armored, now, now, BROUGHT),
        )
    site.keys.forget()
    return one(site, fingerprint)


def is_locked(path: Path) -> bool:
    """Tell whether a file holds a secret key that needs its passphrase."""
    try:
        keys.unlock(_read(path))
    except RadpostError as error:
        return "passphrase" in error.detail
    return False


def confirm(site: Site, fingerprint: str) -> KeyView:
    """Note that a person compared a fingerprint with its owner; all of it, not a short id.

    Raises:
        RadpostError: FINGERPRINT_DIFFERS if it is not a whole fingerprint, NOT_FOUND if no key has it.
    """
    wanted = normal(fingerprint)
    with site.database.write() as connection:
        known = next((row for row in statements.keys(connection) if row.fingerprint == wanted), None)
        if known is None:
            raise RadpostError(NOT_FOUND, f"key {wanted}; see 'radpost key show'")
        if known.confirmed_at is None:
            statements.confirm_key(connection, wanted, COMPARED, site.clock())
    site.keys.forget()
    return one(site, wanted)


def export_public(site: Site, fingerprint: str = "") -> bytes:
    """Return an armored public key: ours, or the one that the fingerprint (or its end) names."""
    return keys.export_public(_row(site, fingerprint).data)


def export_secret(site: Site, fingerprint: str = "", *, passphrase: str | None) -> bytes:
    """Return our armored secret key, protected by a passphrase if one is given."""
    row = _row(site, fingerprint)
    if row.partner is not None or not row.secret:
        raise RadpostError(NOT_FOUND, "we hold no secret key of a partner")
    return keys.export_secret(row.data, passphrase)


def listed(site: Site) -> list[KeyView]:
    """Return all keys, ours first."""
    with site.database.read() as connection:
        rows = statements.keys(connection)
    if not rows:
        return []
    now = _now(site)
    infos = {
        info.fingerprint: info
        for info in keys.read_certs(b"".join(keys.export_public(row.data) for row in rows), now=now)
    }
    return [_view(row, infos.get(row.fingerprint)) for row in rows]


def chosen(views: list[KeyView], name: str) -> list[KeyView]:
    """Return the keys whose fingerprint ends so.

    Raises:
        RadpostError: NOT_FOUND.
    """
    end = _BLANKS.sub("", name).upper().removeprefix("0X")
    found = [view for view in views if len(end) >= _SHORTEST_END and view.fingerprint.endswith(end)]
    if not found:
        raise RadpostError(NOT_FOUND, f"key {name}; see 'radpost key show'")
    return found


def one(site: Site, fingerprint: str) -> KeyView:
    """Return one key by its whole fingerprint."""
    with site.database.read() as connection:
        row = next((row for row in statements.keys(connection) if row.fingerprint == fingerprint), None)
    if row is None:
        raise RadpostError(NOT_FOUND, f"key {fingerprint}; see 'radpost key show'")
    infos = keys.read_certs(keys.export_public(row.data), now=_now(site))
    return _view(row, infos[0])


def state_of(views: list[KeyView], partner: str) -> str:
    """Return what can be said of a partner's keys in a word or two."""
    states = [view.state for view in views if view.owner == partner]
    if not states:
        return "none"
    return next((state for state in ("confirmed", "not confirmed") if state in states), states[0])


def normal(fingerprint: str) -> str:
    """Return a fingerprint as it is stored; blanks and colons of a listing may stand in it.

    Raises:
        RadpostError: FINGERPRINT_DIFFERS if it is not whole: short ids can be forged.
    """
    text = _BLANKS.sub("", fingerprint).upper().removeprefix("0X")
    if not _FINGERPRINT.fullmatch(text):
        raise RadpostError(FINGERPRINT_DIFFERS, "a whole fingerprint has 40 hexadecimal digits")
    return text


def soon_expired(view: KeyView, now: datetime, *, days: int = 30) -> bool:
    """Tell whether a key expires within some days."""
    return bool(view.expires) and datetime.fromisoformat(view.expires) - now < timedelta(days=days)


def _chosen(infos: tuple[CertInfo, ...], fingerprint: str, path: Path) -> CertInfo:
    if fingerprint:
        wanted = normal(fingerprint)
        found = next((info for info in infos if info.fingerprint == wanted), None)
        if found is None:
            has = ", ".join(grouped(info.fingerprint) for info in infos)
            raise RadpostError(FINGERPRINT_DIFFERS, f"{path.name} has {has}")
    elif len(infos) == 1:
        found = infos[0]
    else:
        raise RadpostError(KEY_UNREADABLE, f"{path.name} holds {len(infos)} keys; name one by --fingerprint")
    if found.revoked or not found.can_encrypt:
        why = ", ".join(found.problems) or "no encryption key"
        raise RadpostError(KEY_UNREADABLE, f"{path.name}: the key cannot be encrypted to ({why})")
    return found


def _row(site: Site, fingerprint: str) -> KeyRow:
    with site.database.read() as connection:
        rows = statements.keys(connection)
    if not fingerprint:
        own = [row for row in rows if row.partner is None and row.confirmed_at is not None]
        if not own:
            raise RadpostError(OWN_KEY_UNUSABLE)
        return max(own, key=lambda row: row.confirmed_at or 0.0)
    text = _BLANKS.sub("", fingerprint).upper().removeprefix("0X")
    found = [row for row in rows if len(text) >= _SHORTEST_END and row.fingerprint.endswith(text)]
    if len(found) != 1:
        raise RadpostError(NOT_FOUND, f"key {fingerprint}; see 'radpost key show'")
    return found[0]


def _view(row: KeyRow, info: CertInfo | None) -> KeyView:
    if info is None or "no-valid-self-signature" in info.problems:
        state = "unusable"
    elif info.revoked:
        state = "revoked"
    elif "expired" in info.problems:
        state = "expired"
    elif not info.can_encrypt or (row.partner is None and not info.can_sign):
        state = "unusable"
    else:
        state = "confirmed" if row.confirmed_at is not None else "not confirmed"
    return KeyView(
        fingerprint=row.fingerprint,
        owner=row.partner or "own",
        user_ids=info.user_ids if info else (),
        algorithm=_algorithm(info) if info else "",
        created=info.created.isoformat() if info else "",
        expires=info.expires.isoformat() if info and info.expires else "",
        state=state,
        confirmed_how=row.confirmed_how or "",
        confirmed_at=row.confirmed_at,
        problems=info.problems if info else ("no-valid-self-signature",),
    )


def _algorithm(info: CertInfo) -> str:
    return f"{info.algorithm}{info.bits}" if info.algorithm.lower() == "rsa" else info.algorithm


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            _unreadable(path, "it is far too large for a key")
        return path.read_bytes()
    except OSError as error:
        raise RadpostError(KEY_UNREADABLE, f"{path}: {error.strerror}") from error


def _unreadable(path: Path, why: str) -> NoReturn:
    raise RadpostError(KEY_UNREADABLE, f"{path}: {why}")


def _now(site: Site) -> datetime:
    return datetime.fromtimestamp(site.clock(), UTC)
