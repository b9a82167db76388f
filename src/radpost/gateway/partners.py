"""A partner as the gateway sees it: address, AE title, dialect and its switches (DESIGN 12)."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

from radpost.agit.dialect import DIALECTS, DialectName, Writing, contradiction
from radpost.errors import CONFIG_INVALID, RadpostError
from radpost.words import SignaturePolicy

PartnerName = Annotated[
    str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$", extra={"wants": "wants-partner-name"})
]


class Route(Struct, frozen=True, forbid_unknown_fields=True):
    """A mail server of the partner's own that takes mails directly (instead of our submission server)."""

    host: str
    port: int
    security: Literal["tls", "starttls", "none"] = "starttls"
    ca: str = ""


class Switches(Writing, frozen=True, forbid_unknown_fields=True):
    """All switches of a partner: how its mails are written, and how the gateway deals with it."""

    receipt_signed: bool = False
    receipts_per_object: bool = False
    trust_unsigned_receipts: bool = True
    bdat: bool = True
    legacy: bool = False
    clear: bool = False
    streaming: bool = False
    quiet_seconds: Annotated[float, Meta(ge=0)] | None = None
    teleradiology: bool = False


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """What is stored of a partner beside name, AE title and address."""

    title: str = ""
    dialect: DialectName = "agit-1.5"
    policy: SignaturePolicy = SignaturePolicy.REQUIRE
    switches: Switches = field(default_factory=Switches)
    route: Route | None = None
    destination: tuple[str, ...] = ()


class Partner(Struct, frozen=True):
    """A participant we have agreed to exchange with."""

    name: str
    ae_title: str
    address: str
    settings: Settings

    @property
    def switches(self) -> Switches:
        """Return the dialect's switches."""
        return self.settings.switches


RADPOST_PEER = Switches(
    objects_per_mail=10_000,
    inner_encoding="binary",
    receipt_signed=True,
    receipts_per_object=True,
    trust_unsigned_receipts=False,
    streaming=True,
)
"""The switches between two Radpost gateways: packed mails, lean inside, signed receipts per object."""

_PRESETS: Final = {
    **{name: Switches(**msgspec.structs.asdict(writing)) for name, writing in DIALECTS.items()},
    "radpost": RADPOST_PEER,
}
_OF_DIALECTS: Final = tuple(
    name
    for name in Switches.__struct_fields__
    if len({getattr(preset, name) for preset in _PRESETS.values()}) > 1
)
"""What depends on the dialect; all other switches stay when another is chosen."""


def with_dialect(switches: Switches, dialect: str) -> Switches:
    """Return a partner's switches under another dialect (``radpost``: agit-1.5 between Radpost gateways)."""
    preset = _PRESETS[dialect]
    return msgspec.structs.replace(switches, **{name: getattr(preset, name) for name in _OF_DIALECTS})


def refuse_contradictions(settings: Settings) -> None:
    """Refuse settings that cannot stand together.

    Raises:
        RadpostError: CONFIG_INVALID.
    """
    if refused := contradiction(settings.dialect, settings.switches):
        raise RadpostError(CONFIG_INVALID, refused)
    if settings.switches.receipts_per_object and not settings.switches.receipt_signed:
        raise RadpostError(
            CONFIG_INVALID,
            "receipts_per_object: the list travels in signed receipts only; set receipt_signed=true",
        )
    if not settings.switches.teleradiology:
        return
    if settings.switches.clear:
        raise RadpostError(CONFIG_INVALID, "teleradiology: nothing may come unencrypted; set clear=false")
    if settings.route is not None and settings.route.security == "none":
        raise RadpostError(
            CONFIG_INVALID, "teleradiology: the route must be encrypted; use 'tls' or 'starttls'"
        )


def encode(settings: Settings) -> str:
    """Return the stored form."""
    return msgspec.json.encode(settings).decode()


def decode(name: str, ae_title: str, address: str, settings: str) -> Partner:
    """Return a partner from its stored form."""
    return Partner(name, ae_title, address, msgspec.json.decode(settings, type=Settings))
