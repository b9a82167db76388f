"""The configuration: every fault names the key and the remedy (issue 2, "Bad configuration")."""

from pathlib import Path

import pytest

from radpost.errors import CONFIG_INVALID, RadpostError
from radpost.gateway.config import language_of, load, resolve_secret
from radpost.gateway.template import Answers, render

STATION = '[[dicom.stations]]\nae_title = "CT"\naddress = '
DESTINATION = '[[destination]]\nname = "x"\nkind = "dicom"\nhost = "h"\n'
SERVER = 'host = "mail.example"\nport = 25\nsecurity = '
HEAD = '[institution]\nname = "a"\naddress = "dicom@a.example"\n'

FAULTS = {
    "no TOML": ("[institution", "not valid TOML"),
    "unknown key": (HEAD + "colour = 1\n", "colour"),
    "unknown section": (HEAD + "[mailboxes]\n", "mailboxes"),
    "no institution": ("data = 'x'\n", "institution"),
    "no address": ('[institution]\nname = "a"\n', "address"),
    "address without domain": ('[institution]\nname = "a"\naddress = "a"\n', "institution.address"),
    "folder is ours": (HEAD.replace("[inst", 'folder = "/x"\n[inst'), "folder"),
    "port out of range": (HEAD + "[dicom]\nport = 70000\n", "dicom.port"),
    "port is a word": (HEAD + '[dicom]\nport = "x"\n', "dicom.port"),
    "station address": (HEAD + STATION + '"10.0.0.0/40"\n', "10.0.0.0/40"),
    "PACS address": (
        HEAD + '[pacs]\nae_title = "P"\nhost = "h"\nport = 104\naddresses = ["pacs.local"]\n',
        "pacs.local",
    ),
    "station host name": (HEAD + STATION + '"ct.local"\n', "ct.local"),
    "AE title too long": (HEAD + '[[dicom.stations]]\nae_title = "A23456789012345678"\n', "ae_title"),
    "AE title with backslash": (HEAD + "[[dicom.stations]]\nae_title = 'A\\B'\n", "ae_title"),
    "destination kind": (HEAD + '[[destination]]\nname = "x"\nkind = "ftp"\n', "kind"),
    "destination without host": (HEAD + DESTINATION.replace("host", "#"), "ae_title, host and port"),
    "folder without path": (HEAD + '[[destination]]\nname = "x"\nkind = "folder"\n', "needs path"),
    "program without command": (HEAD + '[[destination]]\nname = "x"\nkind = "program"\n', "needs command"),
    "destination AE title": (HEAD + DESTINATION + 'port = 1\nae_title = "A234567890123456789"\n', "ae_title"),
    "destination port": (HEAD + DESTINATION + 'port = 70000\nae_title = "A"\n', "port"),
    "two destinations": (
        HEAD + '[[destination]]\nname = "x"\nkind = "folder"\npath = "a"\n' * 2,
        "two destinations",
    ),
    "plain submission": (HEAD + "[submission]\n" + SERVER + '"none"\n', "loopback"),
    "plain mailbox": (HEAD + "[[mailbox]]\n" + SERVER + '"none"\n', "loopback"),
    "two mailboxes": (
        HEAD + '[[mailbox]]\nhost = "m.example"\nport = 993\nsecurity = "tls"\n' * 2,
        "two mailboxes",
    ),
    "receiver half TLS": (HEAD + '[[receiver]]\ncertificate = "c.pem"\n', "certificate and key"),
    "receiver TLS without": (HEAD + "[[receiver]]\nrequire_tls = true\n", "require_tls"),
    "negative limit": (HEAD + "[limits]\ndisk_reserve_bytes = -1\n", "disk_reserve_bytes"),
    "workers": (HEAD + "[limits]\nseal_workers = 0\n", "seal_workers"),
    "oauth without https": (
        HEAD + '[submission]\nhost = "m"\nport = 587\nsecurity = "tls"\nuser = "u"\n'
        '[submission.oauth]\ntoken_url = "http://x.example"\nclient_id = "c"\n',
        "token_url",
    ),
    "two ways to a secret": (
        HEAD + "[submission]\n" + SERVER + '"tls"\npassword = "x"\npassword_file = "y"\n',
        "password_file",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_names_the_key(tmp_path: Path, fault: str) -> None:
    text, names = FAULTS[fault]
    path = tmp_path / "radpost.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(RadpostError) as caught:
        load(path)
    assert caught.value.reason is CONFIG_INVALID
    assert names in caught.value.detail


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RadpostError) as caught:
        load(tmp_path / "nowhere.toml")
    assert "radpost init" in caught.value.detail


def test_good_networks_of_stations_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "radpost.toml"
    stations = "".join(
        f'[[dicom.stations]]\nae_title = "CT"\naddress = "{address}"\n'
        for address in ("", "10.1.2.3", "10.1.0.0/16", "fd00::/8", "10.1.2.3/16")
    )
    path.write_text(HEAD + stations, "utf-8")
    config = load(path)
    assert config.dicom is not None
    assert len(config.dicom.stations) == 5


def test_relative_paths_stand_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "radpost.toml"
    path.write_text(HEAD + "[limits]\n", "utf-8")
    config = load(path)
    assert config.data_path == (tmp_path / "data").resolve()
    assert config.path("/etc/x") == Path("/etc/x")


def test_secrets_come_from_the_file_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("from file\n", "utf-8")
    monkeypatch.setenv("RADPOST_TEST_SECRET", "from environment")
    assert resolve_secret("plain", "", "", tmp_path, "x") == "plain"
    assert resolve_secret("", "secret", "", tmp_path, "x") == "from file"
    assert resolve_secret("", "", "RADPOST_TEST_SECRET", tmp_path, "x") == "from environment"
    for file, env in (("nowhere", ""), ("", "RADPOST_NOT_SET")):
        with pytest.raises(RadpostError) as caught:
            resolve_secret("", file, env, tmp_path, "mail.example: password")
        assert "mail.example: password" in caught.value.detail


def test_the_template_is_a_valid_configuration(tmp_path: Path) -> None:
    path = tmp_path / "radpost.toml"
    path.write_text(render(Answers("Klinik A", "dicom@a.example", mail_host="mail.example")), "utf-8")
    assert load(path).institution.address == "dicom@a.example"


MACHINE = ("regex", "`", "Expected", "Object", "enum", "[0]", "{")


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("text", [text for text, _ in FAULTS.values()], ids=list(FAULTS))
def test_no_fault_is_told_in_the_words_of_a_program(tmp_path: Path, text: str, language: str) -> None:
    path = tmp_path / "radpost.toml"
    path.write_text(text.replace("[institution]", f'[institution]\nlanguage = "{language}"'), "utf-8")
    with pytest.raises(RadpostError) as caught:
        load(path)
    if "not valid TOML" not in caught.value.detail:  # that says line and column, which is the remedy
        assert [word for word in MACHINE if word in caught.value.detail] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "[dicom]\nport = 70000\n", "dicom.port: a whole number from 1 to 65535 is needed"),
        (
            HEAD + '[[mailbox]]\nkind = "exchange"\nhost = "m"\nport = 1\nsecurity = "tls"\n',
            "mailbox no. 1.kind: one of 'imap', 'pop3' is needed",
        ),
        (
            HEAD.replace("dicom@", "dicom at "),
            "institution.address: a mail address such as 'radiology@clinic.example' is needed",
        ),
        (HEAD + "[[destination]]\nname = 'Mein PACS'\nkind = 'dicom'\n", "a name has 1 to 40 small letters"),
        (HEAD + "[[destination]]\nname = 'x'\n", "destination no. 1: the key 'kind' is missing"),
        (HEAD + "[dicom]\nhots = 'x'\n", "dicom: the key 'hots' is not known here; there are host, port,"),
        (HEAD + "[mailbox]\nname = 'x'\n", "mailbox: a list is needed"),
        (HEAD + "[[dicom]]\nport = 1\n", "dicom: a section is needed, headed by its name in brackets"),
        (HEAD + "[limits]\nmax_ratio = 'x'\n", "limits.max_ratio: a whole number is needed, 0 or more"),
        (HEAD + "[dicom]\nquiet_seconds = 'x'\n", "dicom.quiet_seconds: a number is needed, 0 or more"),
        (HEAD + "[dicom]\nallow_any_station = 1\n", "dicom.allow_any_station: true or false is needed"),
        (HEAD + "[dicom]\nhost = 1\n", "dicom.host: text in quotation marks is needed"),
    ],
)
def test_a_fault_says_where_it_is_and_what_is_wanted(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "radpost.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(RadpostError) as caught:
        load(path)
    assert said in caught.value.detail


def test_a_german_configuration_is_corrected_in_german(tmp_path: Path) -> None:
    path = tmp_path / "radpost.toml"
    path.write_text(HEAD + "language = 'de'\n[dicom]\nport = 70000\n", "utf-8")
    assert language_of(path) == "de"
    assert language_of(tmp_path / "none.toml") == "en"
    with pytest.raises(RadpostError) as caught:
        load(path)
    assert "es muss eine ganze Zahl von 1 bis 65535 sein" in caught.value.detail
