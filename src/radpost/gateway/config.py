"""The configuration: one commented TOML file, read once at the edge and handed down as frozen values.

Secrets may stand in the file, in a file of their own (``*_file``) or in the environment (``*_env``).
"""

import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn

import msgspec
from msgspec import Meta, Struct, field

from radpost.errors import CONFIG_INVALID, RadpostError
from radpost.gateway.faults import explain
from radpost.words import Language

_AE_TITLE: Final = r"^[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?$"
AeTitle = Annotated[
    str, Meta(min_length=1, max_length=16, pattern=_AE_TITLE, extra={"wants": "wants-ae-title"})
]
Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
Patience = Annotated[float, Meta(ge=1)]
Address = Annotated[str, Meta(pattern=r"^[^@\s<>\"]+@[^@\s<>\"]+$", extra={"wants": "wants-address"})]
SectionName = Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,40}$", extra={"wants": "wants-section-name"})]
Security = Literal["tls", "starttls", "none"]


class Institution(Struct, frozen=True, forbid_unknown_fields=True):
    """Who we are to the world: nothing else of us is ever named outside."""

    name: str
    address: Address
    language: Language = "en"


class Station(Struct, frozen=True, forbid_unknown_fields=True):
    """A station that may send to us; an empty address admits any, an address may be a network (CIDR)."""

    ae_title: AeTitle
    address: str = ""
    quiet_seconds: Seconds | None = None


class TlsFiles(Struct, frozen=True, forbid_unknown_fields=True):
    """Our own certificate and key (PEM), and the CA that peers are checked against."""

    certificate: str
    key: str
    ca: str = ""


class DicomIn(Struct, frozen=True, forbid_unknown_fields=True):
    """The storage SCP."""

    host: str = "127.0.0.1"
    port: Port = 11112
    stations: tuple[Station, ...] = ()
    allow_any_station: bool = False
    tls: TlsFiles | None = None
    quiet_seconds: Seconds = 30.0
    max_associations: Annotated[int, Meta(ge=1, le=500)] = 64
    max_object_bytes: Count = 8_000_000_000


class Pacs(Struct, frozen=True, forbid_unknown_fields=True):
    """The institution's own PACS, asked by C-FIND and C-MOVE or C-GET."""

    ae_title: AeTitle
    host: str
    port: Port
    our_ae_title: AeTitle = "RADPOST"
    retrieve: Literal["move", "get"] = "move"
    addresses: tuple[str, ...] = ()
    tls: TlsFiles | None = None


class Destination(Struct, frozen=True, forbid_unknown_fields=True):
    """Where received objects go; ``takes`` says which: DICOM objects, other documents, all, or the rest.

    The rest is what no other destination takes.
    """

    name: SectionName
    kind: Literal["dicom", "folder", "program"]
    takes: Literal["dicom", "other", "all", "rest"] = "dicom"
    ae_title: str = ""
    host: str = ""
    port: int = 0
    our_ae_title: AeTitle = "RADPOST"
    tls: TlsFiles | None = None
    path: str = ""
    command: tuple[str, ...] = ()
    versions: Literal["deliver", "hold"] = "deliver"
    timeout_seconds: Seconds = 60.0


class OAuth(Struct, frozen=True, forbid_unknown_fields=True):
    """OAuth 2 for sign-in at a mail server (XOAUTH2 or OAUTHBEARER)."""

    token_url: str
    client_id: str
    scope: str = ""
    client_secret: str = ""
    client_secret_file: str = ""
    client_secret_env: str = ""
    refresh_token: str = ""
    refresh_token_file: str = ""
    refresh_token_env: str = ""
    mechanism: Literal["auto", "XOAUTH2", "OAUTHBEARER"] = "auto"


class Account(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to reach a server and sign in."""

    host: str
    port: Port
    security: Security
    ca: str = ""
    user: str = ""
    password: str = ""
    password_file: str = ""
    password_env: str = ""
    oauth: OAuth | None = None
    timeout_seconds: Patience = 300.0

    def secret(self, folder: Path) -> str:
        """Return the password from wherever it stands."""
        return resolve_secret(
            self.password, self.password_file, self.password_env, folder, f"{self.host}: password"
        )

    def secrets(self, folder: Path) -> tuple[str, ...]:
        """Return all secrets of the account from wherever they stand."""
        oauth = self.oauth
        if oauth is None:
            return (self.secret(folder),)
        client = (oauth.client_secret, oauth.client_secret_file, oauth.client_secret_env)
        refresh = (oauth.refresh_token, oauth.refresh_token_file, oauth.refresh_token_env)
        return (
            self.secret(folder),
            resolve_secret(*client, folder, f"{self.host}: client_secret"),
            resolve_secret(*refresh, folder, f"{self.host}: refresh_token"),
        )


class Submission(Account, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The mail server that takes our mails."""

    connections: Annotated[int, Meta(ge=1, le=8)] = 2
    helo: str = ""
    max_mail_size: Count = 0
    null_sender: bool = True


class Mailbox(Account, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mailbox that is fetched by IMAP or POP3."""

    name: SectionName = "inbox"
    kind: Literal["imap", "pop3"] = "imap"
    folder: str = "INBOX"
    exclusive: bool = False
    foreign_folder: str = ""
    poll_seconds: Seconds = 30.0
    idle: bool = True


class Receiver(Struct, frozen=True, forbid_unknown_fields=True):
    """Direct reception by SMTP or LMTP; for institutions that are their own mail provider, and the demo."""

    protocol: Literal["smtp", "lmtp"] = "smtp"
    host: str = "127.0.0.1"
    port: Port = 2525
    name: str = "localhost"
    certificate: str = ""
    key: str = ""
    require_tls: bool = False
    max_mail_bytes: Count = 1_000_000_000


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds that keep one fault from taking the rest with it."""

    disk_reserve_bytes: Count = 1_000_000_000
    quarantine_bytes: Count = 20_000_000_000
    foreign_bytes: Count = 200_000_000
    foreign_days: Annotated[float, Meta(gt=0)] = 90.0
    max_open_bytes: Count = 8_000_000_000
    max_ratio: Count = 200
    receipt_overdue_seconds: Seconds = 3600.0
    incomplete_set_seconds: Seconds = 3600.0
    fragment_wait_seconds: Seconds = 259_200.0
    max_resends: Annotated[int, Meta(ge=0, le=20)] = 3
    seal_workers: Annotated[int, Meta(ge=1, le=16)] = 2
    open_workers: Annotated[int, Meta(ge=1, le=16)] = 2


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    institution: Institution
    data: str = "data"
    dicom: DicomIn | None = field(default_factory=DicomIn)
    pacs: Pacs | None = None
    destination: tuple[Destination, ...] = ()
    submission: Submission | None = None
    mailbox: tuple[Mailbox, ...] = ()
    receiver: tuple[Receiver, ...] = ()
    limits: Limits = field(default_factory=Limits)
    folder: str = ""
    """Set by ``load``: the folder of the file, against which relative paths are read."""

    def path(self, text: str) -> Path:
        """Return a path of the file as an absolute one."""
        return (Path(self.folder) / Path(text).expanduser()).resolve()

    @property
    def data_path(self) -> Path:
        """Return the data directory."""
        return self.path(self.data)


MAX_PORT: Final = 65_535


def language_of(path: Path) -> Language:
    """Return the language of a configuration that may have faults, English if it names none."""
    try:
        return _language(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return "en"


def load(path: Path) -> Config:
    """Read the configuration; every fault names the key and the remedy.

    Raises:
        RadpostError: CONFIG_INVALID.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        _invalid(f"{path} cannot be read ({error.strerror}); make one with 'radpost init'")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        _invalid(f"{path} is not valid TOML: {error}")
    if "folder" in raw:
        _invalid("unknown key 'folder'")
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        _invalid(f"{path.name}: {explain(error, Config, _language(raw))}")
    config = msgspec.structs.replace(config, folder=str(path.resolve().parent))
    _check(config)
    return config


def _language(raw: dict[str, object]) -> Language:
    institution = raw.get("institution")
    return "de" if isinstance(institution, dict) and institution.get("language") == "de" else "en"


def resolve_secret(value: str, file: str, env: str, folder: Path, what: str) -> str:
    """Return a secret given in the file, in a file of its own or in the environment."""
    if file:
        try:
            return (folder / Path(file).expanduser()).read_text(encoding="utf-8").strip("\r\n")
        except OSError as error:
            _invalid(f"{what}_file cannot be read ({error.strerror})")
    if env:
        if env not in os.environ:
            _invalid(f"{what}: the environment has no {env}")
        return os.environ[env]
    return value


def _check(config: Config) -> None:
    names = [destination.name for destination in config.destination]
    if len(names) != len(set(names)):
        _invalid("two destinations have the same name")
    _check_stations(config)
    boxes = [mailbox.name for mailbox in config.mailbox]
    if len(boxes) != len(set(boxes)):
        _invalid("two mailboxes have the same name")
    for destination in config.destination:
        _check_destination(destination)
    for account in (*config.mailbox, *((config.submission,) if config.submission else ())):
        if account.security == "none" and not is_loopback(account.host):
            _invalid(f"{account.host}: security 'none' is allowed on loopback only; use 'tls' or 'starttls'")
        _check_secrets(account)
    for receiver in config.receiver:
        if bool(receiver.certificate) != bool(receiver.key):
            _invalid("receiver: certificate and key belong together")
        if receiver.require_tls and not receiver.certificate:
            _invalid("receiver: require_tls needs certificate and key")


def _check_destination(destination: Destination) -> None:
    needs = {
        "dicom": bool(destination.ae_title and destination.host and destination.port),
        "folder": bool(destination.path),
        "program": bool(destination.command),
    }
    if not needs[destination.kind]:
        wants = {"dicom": "ae_title, host and port", "folder": "path", "program": "command"}[destination.kind]
        _invalid(f"destination {destination.name}: kind '{destination.kind}' needs {wants}")
    if destination.kind == "dicom":
        if not re.fullmatch(_AE_TITLE, destination.ae_title):
            _invalid(f"destination {destination.name}: ae_title has 1 to 16 printable characters")
        if not 1 <= destination.port <= MAX_PORT:
            _invalid(f"destination {destination.name}: port lies between 1 and {MAX_PORT}")


def _check_stations(config: Config) -> None:
    for address in config.pacs.addresses if config.pacs else ():
        try:
            ipaddress.ip_network(address, strict=False)
        except ValueError:
            _invalid(f"pacs.addresses: '{address}' is no IP address or network")
    for station in config.dicom.stations if config.dicom else ():
        try:
            ipaddress.ip_network(station.address or "::/0", strict=False)
        except ValueError:
            _invalid(
                f"dicom.stations: {station.ae_title}: address '{station.address}' is no IP address or "
                "network; leave it empty to admit any"
            )


def _check_secrets(account: Account) -> None:
    """Refuse two places for one secret: which one counts would be a guess."""
    oauth = account.oauth
    secrets = {"password": (account.password, account.password_file, account.password_env)}
    if oauth is not None:
        secrets["client_secret"] = (oauth.client_secret, oauth.client_secret_file, oauth.client_secret_env)
        secrets["refresh_token"] = (oauth.refresh_token, oauth.refresh_token_file, oauth.refresh_token_env)
        if not oauth.token_url.startswith("https://"):
            _invalid(f"{account.host}: oauth.token_url must be an https address")
    for name, places in secrets.items():
        if sum(bool(place) for place in places) > 1:
            _invalid(f"{account.host}: give {name}, {name}_file or {name}_env, not several of them")


def is_loopback(host: str) -> bool:
    """Tell whether a configured host is this machine itself."""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _invalid(detail: str) -> NoReturn:
    raise RadpostError(CONFIG_INVALID, detail)
