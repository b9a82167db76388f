"""radpost partner and radpost key: nothing is used that a person did not confirm."""

import stat
from pathlib import Path

import pytest

from radpost.gateway.site import Site
from radpost.openpgp import keys
from radpost.testing.calling import Run

NEW = ("partner", "add", "praxis-b", "--ae-title", "PRAXIS_B", "--address", "radpost@b.example")


def test_a_key_with_its_fingerprint_is_confirmed(
    run: Run, partner: str, fingerprint: str, site: Site
) -> None:
    (row,) = run("partner", "list", "--json").json
    assert (row["name"], row["key"]) == (partner, "confirmed")
    assert site.keys.ring().recipient(partner) == fingerprint


def test_a_wrong_fingerprint_changes_nothing(run: Run, their_public: Path) -> None:
    said = run(*NEW, "--key", their_public, "--fingerprint", "0123 4567 " * 5)
    assert said.code == 1
    assert "215 fingerprint-differs" in said.err
    assert run("partner", "list", "--json").json == []
    assert len(run("key", "show", "--json").json) == 1


def test_an_imported_key_is_not_used_before_it_is_confirmed(
    run: Run, their_public: Path, fingerprint: str, site: Site
) -> None:
    said = run(*NEW, "--key", their_public)
    assert said.code == 0
    assert "NOT used" in said.out
    assert site.keys.ring().by_partner == {}
    assert run("key", "confirm", fingerprint[-16:]).code == 1  # a short id can be forged
    assert run("key", "confirm", "F" * 40).code == 1
    grouped = " ".join(fingerprint[n : n + 4] for n in range(0, 40, 4)).lower()
    assert run("key", "confirm", grouped).code == 0
    site.keys.forget()
    assert site.keys.ring().recipient("praxis-b") == fingerprint


def test_a_key_has_one_owner(run: Run, partner: str, their_public: Path, home: Path) -> None:
    other = ("partner", "add", "other", "--ae-title", "OTHER", "--address", "x@c.example")
    said = run(*other, "--key", their_public)
    assert said.code == 1
    assert partner in said.err
    assert [row["name"] for row in run("partner", "list", "--json").json] == [partner]
    assert run("key", "export", "-o", home / "ours.asc").code == 0
    said = run(*other, "--key", home / "ours.asc")
    assert said.code == 1
    assert "belongs to us" in said.err


@pytest.mark.parametrize("data", [b"", b"no key", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n"])
def test_what_is_no_key_is_refused(run: Run, partner: str, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.asc"
    path.write_bytes(data)
    said = run("key", "import", path, "--partner", partner)
    assert said.code == 1
    assert "212 key-unreadable" in said.err


def test_a_missing_key_file_is_named(run: Run, partner: str) -> None:
    said = run("key", "import", "nothing.asc", "--partner", partner)
    assert said.code == 1
    assert "nothing.asc" in said.err


def test_a_secret_key_leaves_only_protected_and_comes_back(run: Run, home: Path, site: Site) -> None:
    phrase = home / "phrase"
    phrase.write_text("zwölf Boxkämpfer\n", "utf-8")
    assert run("key", "export", "--secret").code == 1  # nobody can be asked for a passphrase here
    out = home / "secret.asc"
    assert run("key", "export", "--secret", "-o", out, "--passphrase-file", phrase).code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    own = site.keys.ring().signer()
    assert "BEGIN PGP PRIVATE KEY" in out.read_text("ascii")
    with pytest.raises(Exception, match="passphrase"):
        keys.unlock(out.read_bytes())
    assert run("key", "import", out, "--secret").code == 1
    phrase.write_text("falsch\n", "utf-8")
    assert run("key", "import", out, "--secret", "--passphrase-file", phrase).code == 1
    phrase.write_text("zwölf Boxkämpfer\n", "utf-8")
    assert run("key", "import", out, "--secret", "--passphrase-file", phrase).code == 0
    site.keys.forget()
    assert site.keys.ring().signer() == own


def test_an_own_key_can_be_brought(run: Run, their_key: Path, fingerprint: str, site: Site) -> None:
    assert run("key", "import", their_key, "--secret").code == 0
    assert site.keys.ring().own[0] == fingerprint


def test_a_public_export_holds_no_secret(run: Run, their_key: Path) -> None:
    assert run("key", "import", their_key, "--secret").code == 0
    said = run("key", "export")
    assert "BEGIN PGP PUBLIC KEY" in said.out
    assert all(block.primary.secret is None for block in keys.read_blocks(said.out.encode()))


def test_an_export_overwrites_nothing(run: Run, home: Path) -> None:
    assert run("key", "export", "-o", home / "radpost.toml").code == 1
    assert (home / "radpost.toml").read_text("utf-8").startswith("# Radpost")


def test_partners_do_not_share_names_of_any_kind(run: Run, partner: str) -> None:
    add = ("partner", "add", "c")
    assert run(*add, "--ae-title", "PRAXIS_B", "--address", "x@c.example").code == 1
    assert run(*add, "--ae-title", "C", "--address", "RADPOST@b.example").code == 1
    assert run(*add, "--ae-title", "C", "--address", "radpost@A.example").code == 1  # our own
    assert run(*add, "--ae-title", "far too long a title", "--address", "x@c.example").code == 2
    assert run(*add, "--ae-title", "C", "--address", "x@c.example", "--destination", "nowhere").code == 1
    assert len(run("partner", "list", "--json").json) == 1


def test_a_partner_is_changed_by_what_is_given_and_nothing_else(run: Run, partner: str) -> None:
    assert (
        run("partner", "add", partner, "--title", "Praxis B GmbH", "--set", "max_mail_size=5000000").code == 0
    )
    shown = run("partner", "show", "PRAXIS_B", "--json").json
    assert shown["settings"]["title"] == "Praxis B GmbH"
    assert shown["settings"]["switches"]["max_mail_size"] == 5_000_000
    assert shown["settings"]["route"]["port"] == 9
    assert shown["address"] == "radpost@b.example"
    assert run("partner", "add", partner, "--route", "none").code == 0
    assert run("partner", "show", partner, "--json").json["settings"]["route"] is None


def test_a_switch_that_is_none_is_wrong_usage(run: Run, partner: str) -> None:
    said = run("partner", "add", partner, "--set", "colour=red")
    assert said.code == 2
    assert run("partner", "add", partner, "--set", "cipher=ROT13").code == 2
    assert run("partner", "add", partner, "--route", "mail.example:25:none").code == 2


def test_a_radpost_peer_must_sign(run: Run) -> None:
    assert run(*NEW, "--dialect", "radpost").code == 0
    settings = run("partner", "show", "praxis-b", "--json").json["settings"]
    assert settings["policy"] == "require"
    assert settings["switches"]["receipt_signed"] is True


def test_an_unknown_partner_says_where_to_look(run: Run) -> None:
    said = run("partner", "show", "nobody")
    assert said.code == 1
    assert "radpost partner list" in said.err


def test_listings_are_readable_without_json(run: Run, partner: str, fingerprint: str) -> None:
    assert "confirmed" in run("partner", "list").out
    assert partner in run("partner", "show", partner).out
    shown = run("key", "show", fingerprint[-12:]).out
    assert "Praxis B <radpost@b.example>" in shown
    assert run("key", "show", "0000000000").code == 1
