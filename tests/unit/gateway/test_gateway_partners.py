"""Partners: found by the right name, stored and read again."""

import msgspec
import pytest

from radpost.errors import CONFIG_INVALID, NOT_FOUND, RadpostError
from radpost.gateway.partners import (
    Partner,
    Route,
    Settings,
    Switches,
    decode,
    encode,
    refuse_contradictions,
    with_dialect,
)
from radpost.gateway.site import PartnerBook
from radpost.store import partners
from radpost.store.database import Database
from radpost.words import SignaturePolicy


def book(database: Database, *rows: tuple[str, str, str]) -> PartnerBook:
    with database.write() as connection:
        for name, ae_title, address in rows:
            partners.put(connection, partners.PartnerRow(name, ae_title, address, encode(Settings()), 1.0))
    return PartnerBook(database)


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return Database(tmp_path_factory.mktemp("book") / "radpost.db").ready()


def test_invariant_10_a_name_never_finds_another_partner_by_its_ae_title(database: Database) -> None:
    found = book(database, ("alpha", "beta", "a@alpha.example"), ("beta", "B", "b@beta.example"))
    assert found.by_name("beta").address == "b@beta.example"
    assert found.by_name("alpha").address == "a@alpha.example"
    assert found.by_name("B").name == "beta"
    assert found.by_name("A@ALPHA.example").name == "alpha"


def test_the_store_finds_by_the_same_order(database: Database) -> None:
    book(database, ("alpha", "beta", "a@alpha.example"), ("beta", "B", "b@beta.example"))
    with database.read() as connection:
        row = partners.get(connection, "beta")
    assert row is not None
    assert row.name == "beta"


def test_a_name_that_nobody_has_is_not_found(database: Database) -> None:
    with pytest.raises(RadpostError) as caught:
        book(database).by_name("nobody")
    assert caught.value.reason is NOT_FOUND
    assert "radpost partner list" in caught.value.detail


def test_settings_come_back_as_they_were_stored() -> None:
    settings = Settings(
        title="Praxis Süd",
        dialect="agit-1.1",
        policy=SignaturePolicy.ACCEPT,
        switches=Switches(objects_per_mail=7, max_mail_size=50_000, legacy=True, quiet_seconds=1.5),
        route=Route("mail.example", 25, "tls", "ca.pem"),
        destination=("pacs", "folder"),
    )
    assert decode("p", "AE", "a@b.example", encode(settings)) == Partner("p", "AE", "a@b.example", settings)


def test_settings_of_nothing_are_the_cautious_ones() -> None:
    settings = decode("p", "AE", "a@b.example", "{}").settings
    assert settings.policy is SignaturePolicy.REQUIRE
    assert settings.switches.objects_per_mail == 1
    assert not settings.switches.clear
    assert not settings.switches.legacy


@pytest.mark.parametrize(
    "text", ['{"switches": {"cipher": "CAST5"}}', '{"unknown": 1}', '{"switches": {"objects_per_mail": 0}}']
)
def test_settings_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode("p", "AE", "a@b.example", text)


def test_a_dialect_changes_what_depends_on_it_and_nothing_else() -> None:
    own = Switches(max_mail_size=50_000, teleradiology=True, objects_per_mail=7)
    radpost = with_dialect(own, "radpost")
    assert (radpost.inner_encoding, radpost.receipt_signed, radpost.receipts_per_object) == (
        "binary",
        True,
        True,
    )
    assert (radpost.max_mail_size, radpost.teleradiology) == (50_000, True)
    field = with_dialect(radpost, "agit-1.5")
    assert field == Switches(max_mail_size=50_000, teleradiology=True)
    first = with_dialect(field, "agit-1.1")
    assert not first.receipt, "@GIT 1.1r leaves receipts to a later version"
    assert with_dialect(first, "agit-1.5") == field


def test_a_list_of_objects_needs_a_signed_receipt() -> None:
    refuse_contradictions(Settings(switches=Switches(receipts_per_object=True, receipt_signed=True)))
    with pytest.raises(RadpostError, match="receipt_signed=true"):
        refuse_contradictions(Settings(switches=Switches(receipts_per_object=True)))


def test_what_a_dialect_cannot_write_is_refused() -> None:
    switches = Switches(receipt_mechanism="2")
    refuse_contradictions(Settings(dialect="agit-1.5", switches=switches))
    with pytest.raises(RadpostError) as caught:
        refuse_contradictions(Settings(dialect="agit-1.1", switches=switches))
    assert caught.value.reason is CONFIG_INVALID
