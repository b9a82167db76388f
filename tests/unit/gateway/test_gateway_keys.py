"""The snapshot of usable keys: current, closed when nobody uses it, never silently old (DESIGN 3: 7)."""

import gc
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from radpost.errors import KEY_UNREADABLE, NO_USABLE_KEY, RadpostError
from radpost.gateway import keys as rooms
from radpost.openpgp.keyring import Keyring
from radpost.openpgp.keys import KeyKind, export_public, generate, read_certs
from radpost.store import partners
from radpost.testing.exchange import known_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from radpost.testing.house import House, Pair


def add_key(house: "House", fingerprint: str, data: bytes, *, at: float) -> None:
    row = partners.KeyRow(fingerprint, "b", False, data, at, at, "test")
    with house.site.database.write() as connection:
        partners.put_key(connection, row)
    house.site.keys.forget()


def test_the_snapshot_stays_while_nothing_changes(make_pair: "Callable[..., Pair]") -> None:
    keys = make_pair().a.site.keys
    first = keys.ring()
    keys.forget()
    assert keys.ring() is first


def test_a_replaced_engine_lives_for_its_user_and_is_closed_after_him(
    make_pair: "Callable[..., Pair]", monkeypatch: pytest.MonkeyPatch
) -> None:
    a = make_pair().a
    closed: list[Keyring] = []
    honest = Keyring.close

    def close(self: Keyring) -> None:
        closed.append(self)
        honest(self)

    monkeypatch.setattr(Keyring, "close", close)
    mine = a.site.keys.ring()
    key = known_key("later", "later@b.example")
    add_key(a, key.fingerprint, key.public, at=a.clock())
    assert a.site.keys.ring() is not mine
    assert closed == [], "somebody may be sealing with it"
    del mine
    gc.collect()
    assert len(closed) == 1


def test_invariant_7_a_key_that_cannot_be_loaded_does_not_leave_the_old_ones_in_use(
    make_pair: "Callable[..., Pair]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change may have been a revocation: better nothing than yesterday's keys."""
    a = make_pair().a
    assert a.site.keys.ring().recipient("b")
    key = known_key("later", "later@b.example")
    add_key(a, key.fingerprint, key.public, at=a.clock())

    def broken(*_: Any, **__: Any) -> Keyring:
        raise RadpostError(KEY_UNREADABLE)

    with monkeypatch.context() as patch:
        patch.setattr(rooms, "Keyring", broken)
        for _ in range(2):
            with pytest.raises(RadpostError):
                a.site.keys.ring()
    assert a.site.keys.ring().recipient("b") == key.fingerprint


def test_an_expired_key_gives_way_to_one_that_was_confirmed_before(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair().a
    old = a.site.keys.ring().recipient("b")
    secret = generate("b", "dicom@b.example", kind=KeyKind.CURVE25519, expires="seconds=1")
    (info,) = read_certs(secret, now=datetime.now(UTC))
    add_key(a, info.fingerprint, export_public(secret), at=a.clock() + 1)
    a.site.keys.ring()
    time.sleep(1.2)
    assert a.site.keys.ring().recipient("b") == old
    a.collect(study(1), "b")
    a.seal()
    assert [mail.state for mail in a.mails()] == ["sealed"]


def test_a_partner_without_a_key_gets_no_mail_and_the_alarm_names_him(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair(key=False).a
    a.collect(study(1), "b")
    a.seal()
    assert [(mail.state, mail.code) for mail in a.mails()] == [("failed", NO_USABLE_KEY.code)]
    assert [code for code, _ in a.alarms()] == [NO_USABLE_KEY.code]
