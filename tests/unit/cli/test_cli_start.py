"""radpost init, help, and what is said when the configuration is bad."""

import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from radpost.cli import COMMANDS
from radpost.gateway.site import Site
from radpost.testing.calling import Run, call


def test_init_writes_a_private_file_a_store_and_a_confirmed_key(made: Path) -> None:
    path = made / "radpost.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    values = tomllib.loads(path.read_text("utf-8"))
    assert values["institution"] == {"name": "Klinik A", "address": "radpost@a.example", "language": "en"}
    assert values["submission"]["host"] == "mail.a.example"
    assert stat.S_IMODE((made / "data").stat().st_mode) == 0o700
    (key,) = call("key", "show", "--json", "--config", path).json
    assert (key["owner"], key["state"], key["confirmed_how"]) == ("own", "confirmed", "made here")


def test_init_never_overwrites(made: Path) -> None:
    before = (made / "radpost.toml").read_bytes()
    said = call("init", made, "--name", "Other", "--address", "x@y.example", "--yes")
    assert said.code == 1
    assert "exists" in said.err
    assert (made / "radpost.toml").read_bytes() == before


def test_init_asks_nobody_where_there_is_no_terminal(tmp_path: Path) -> None:
    said = call("init", tmp_path / "new", "--address", "x@y.example")
    assert said.code == 2
    assert "--name" in said.err
    assert not (tmp_path / "new").exists()


def test_init_refuses_an_address_that_is_none(tmp_path: Path) -> None:
    said = call("init", tmp_path / "new", "--name", "N", "--address", "nobody", "--yes")
    assert said.code == 2
    assert not (tmp_path / "new/radpost.toml").exists()


def test_init_that_fails_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    said = call("init", tmp_path, "--name", "Bad <name>", "--address", "x@y.example", "--yes")
    assert said.code == 1
    assert "901" in said.err
    assert not (tmp_path / "radpost.toml").exists()


def test_a_key_is_made_once_although_the_file_was_removed(home: Path) -> None:
    (home / "radpost.toml").unlink()
    said = call("init", home, "--name", "Klinik A", "--address", "radpost@a.example", "--yes")
    assert said.code == 0
    assert len(call("key", "show", "--json", "--config", home / "radpost.toml").json) == 1


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("colour = 'red'\n", "colour"),
        ("[institution\n", "TOML"),
        ("[pacs]\nae_title = 'P'\nhost = 'h'\nport = 99999\n", "pacs.port"),
    ],
)
def test_bad_configuration_is_named_without_a_traceback(home: Path, run: Run, change: str, word: str) -> None:
    path = home / "radpost.toml"
    text = path.read_text("utf-8")
    path.write_text(text + "\n" + change if change.startswith("[") else change + text, "utf-8")
    said = run("status")
    assert said.code == 1
    assert word in said.err
    assert "901 config-invalid" in said.err


def test_no_configuration_says_how_to_make_one(tmp_path: Path) -> None:
    said = call("status", "--config", tmp_path / "none.toml")
    assert said.code == 1
    assert "radpost init" in said.err


def test_a_missing_data_directory_is_a_reason(home: Path, run: Run) -> None:
    (home / "data").rename(home / "elsewhere")
    said = run("status")
    assert said.code == 1
    assert "903" in said.err


def test_reasons_are_told_in_the_language_of_the_institution(home: Path, run: Run) -> None:
    path = home / "radpost.toml"
    path.write_text(path.read_text("utf-8").replace('language = "en"', 'language = "de"'), "utf-8")
    said = run("send", home / "radpost.toml", "--to", "niemand")
    assert said.code == 1
    assert "Unter diesem Namen gibt es nichts" in said.err


def test_help_reads_like_a_table_of_contents() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "radpost", "--help"], capture_output=True, text=True, check=True
    )
    places = [done.stdout.find(f" {name} ") for name in COMMANDS]
    assert -1 not in places
    assert places == sorted(places)


def test_an_unknown_command_is_wrong_usage() -> None:
    assert call("sendd").code == 2


ADD = ("partner", "add", "b", "--ae-title", "B", "--address", "x@y.example")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("partner", "add", "Größe B", *ADD[3:]), "a name has 1 to 40 small letters"),
        (("partner", "add", "b"), "is needed for a new partner"),
        ((*ADD, "--ae-title", "A234567890123456789"), "an AE title has 1 to 16 characters"),
        ((*ADD, "--ae-title", "A\\B"), "an AE title has 1 to 16 characters"),
        ((*ADD, "--address", "x at y"), "'x at y': a mail address such as"),
        ((*ADD, "--address", "B <x@y.example>"), "without a name or angle brackets"),
        ((*ADD, "--policy", "hard"), "'hard': one of 'require', 'accept', 'ignore' is needed"),
        ((*ADD, "--dialect", "qcit"), "one of 'agit-1.1', 'agit-1.5', 'radpost' is needed"),
        ((*ADD, "--set", "max_mail_size=5"), "max_mail_size: a whole number is needed, 20000 or more"),
        ((*ADD, "--set", "sign=ja"), "sign: true or false is needed"),
        ((*ADD, "--set", "inner_encoding=x"), "inner_encoding: one of 'base64', 'binary' is needed"),
        ((*ADD, "--route", "mail"), "'mail': a server is HOST:PORT"),
        ((*ADD, "--route", "mail:abc"), "a server is HOST:PORT"),
        ((*ADD, "--route", "mail:99999"), "a server is HOST:PORT"),
        ((*ADD, "--route", "mail:25:ssl"), "a server is HOST:PORT"),
        (("init", "x", "--name", "K", "--address", "kein at"), "'kein at': a mail address such as"),
    ],
)
def test_wrong_input_is_told_in_words_with_the_remedy(
    home: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    config = () if arguments[0] == "init" else ("--config", home / "radpost.toml")
    answer = call(*arguments, *config)
    assert answer.code == 2
    assert said in answer.err
    assert "regex" not in answer.err
    assert "`" not in answer.err


def test_a_route_may_be_an_ipv6_address(run: Run, site: Site) -> None:
    assert run(*ADD, "--route", "[::1]:2525:none").code == 0
    route = site.partners.by_name("b").settings.route
    assert route is not None
    assert (route.host, route.port, route.security) == ("::1", 2525, "none")
