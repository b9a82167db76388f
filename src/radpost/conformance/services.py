"""The DICOM part of the statement (PS3.2 A, in short), made of the tables that the services use."""

from dataclasses import dataclass, field
from typing import Final

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID

from radpost.conformance.clauses import Words
from radpost.dicom import codecs, meta, services
from radpost.dicom.connecting import plan_proposals
from radpost.dicom.retrieve import COMMON_CLASSES, SYNTAXES
from radpost.dicom.session import ServerConfig

_QUERY: Final = (services.IMPLICIT_LE,)


@dataclass(frozen=True, slots=True)
class Named:
    """A UID and its registered name."""

    uid: str
    name: str


@dataclass(frozen=True, slots=True)
class Service:
    """One service of an application entity: its role, classes and transfer syntaxes, and what else holds."""

    name: Words
    role: str
    classes: tuple[Named, ...]
    syntaxes: tuple[Named, ...]
    remark: Words = field(default_factory=Words)


@dataclass(frozen=True, slots=True)
class DicomStatement:
    """What a PACS administrator asks for."""

    implementation_class_uid: str
    implementation_version_name: str
    max_length: int
    max_associations: int
    max_associations_per_address: int
    accepting: tuple[Service, ...]
    requesting: tuple[Service, ...]
    converted: tuple[Named, ...]
    """Syntaxes whose pixels are decoded, without loss, for a destination that takes no other."""


def dicom_statement() -> DicomStatement:
    """Return the statement for the defaults of the configuration."""
    limits = ServerConfig()
    return DicomStatement(
        implementation_class_uid=meta.IMPLEMENTATION_CLASS_UID,
        implementation_version_name=meta.IMPLEMENTATION_VERSION_NAME,
        max_length=limits.max_pdu,
        max_associations=limits.max_associations,
        max_associations_per_address=limits.max_per_address,
        accepting=_accepting(),
        requesting=_requesting(),
        converted=tuple(one for one in _known("Transfer Syntax") if codecs.can_decode(one.uid)),
    )


def _accepting() -> tuple[Service, ...]:
    offered = _known("Transfer Syntax")
    return (
        Service(
            Words("Storage", "Storage"),
            "SCP",
            _storage_classes(),
            offered,
            Words(
                "classes of vendors and of years to come too: refused are known services that are not "
                "storage. Any transfer syntax is taken, the sender's first; only when nothing else is "
                "proposed: " + _names(_last(offered)),
                "auch Klassen von Herstellern und künftige: abgelehnt werden bekannte Dienste, die kein "
                "Storage sind. Jede Transfersyntax wird genommen, die erste des Senders; nur wenn sonst "
                "nichts angeboten ist: " + _names(_last(offered)),
            ),
        ),
        Service(
            Words("Verification", "Verification"),
            "SCP",
            (_named(services.VERIFICATION),),
            offered,
            Words("the sender's first transfer syntax", "die erste Transfersyntax des Senders"),
        ),
    )


def _requesting() -> tuple[Service, ...]:
    get = _named(services.STUDY_ROOT_GET)
    return (
        Service(
            Words("Storage", "Storage"),
            "SCU",
            _storage_classes(),
            _fallback(),
            Words(
                "each object in its own transfer syntax; the ones named here are proposed beside it, and "
                "used only where the receiver takes no other",
                "jedes Objekt in seiner eigenen Transfersyntax; die genannten werden daneben angeboten und "
                "nur benutzt, wo der Empfänger keine andere nimmt",
            ),
        ),
        Service(
            Words("Verification", "Verification"),
            "SCU",
            (_named(services.VERIFICATION),),
            tuple(map(_named, (services.IMPLICIT_LE, services.EXPLICIT_LE))),
        ),
        Service(
            Words("Query of one study", "Abfrage einer Studie"),
            "SCU",
            (_named(services.STUDY_ROOT_FIND),),
            tuple(map(_named, _QUERY)),
        ),
        Service(
            Words("Retrieval by C-MOVE", "Abruf durch C-MOVE"),
            "SCU",
            (_named(services.STUDY_ROOT_MOVE),),
            tuple(map(_named, _QUERY)),
            Words("to our own storage SCP", "an unseren eigenen Storage-SCP"),
        ),
        Service(Words("Retrieval by C-GET", "Abruf durch C-GET"), "SCU", (get,), tuple(map(_named, _QUERY))),
        Service(
            Words("Storage within C-GET", "Storage innerhalb von C-GET"),
            "SCP",
            tuple(map(_named, COMMON_CLASSES)),
            tuple(map(_named, SYNTAXES)),
            Words(
                "the classes of the study as the PACS names them; those named here where it does not say",
                "die Klassen der Studie, wie das PACS sie nennt; die genannten, wo es nichts sagt",
            ),
        ),
    )


def _storage_classes() -> tuple[Named, ...]:
    return tuple(one for one in _known("SOP Class") if services.is_storage(one.uid))


def _fallback() -> tuple[Named, ...]:
    """Return what is proposed beside an object's own syntax."""
    own = "1.2.840.10008.1.2.4.50"
    plan = plan_proposals([("1.2.840.10008.5.1.4.1.1.7", own)])
    found = (
        syntax for association in plan for proposal in association for syntax in proposal.transfer_syntaxes
    )
    return tuple(_named(syntax) for syntax in found if syntax != own)


def _last(offered: tuple[Named, ...]) -> tuple[Named, ...]:
    """Return the syntaxes that are taken only when nothing else is proposed."""
    other = services.IMPLICIT_LE
    return tuple(one for one in offered if services.choose_transfer_syntax((one.uid, other)) != one.uid)


def _known(kind: str) -> tuple[Named, ...]:
    """Return the registered UIDs of a kind, in their order."""
    return tuple(
        Named(uid, entry[0])
        for uid, entry in sorted(UID_dictionary.items(), key=lambda item: _order(item[0]))
        if entry[1] == kind
    )


def _named(uid: str) -> Named:
    return Named(uid, UID(uid).name)


def _names(found: tuple[Named, ...]) -> str:
    return ", ".join(one.name for one in found)


def _order(uid: str) -> tuple[int, ...]:
    return tuple(map(int, uid.split(".")))
